"""The real `train` with somebody's own script in place of train.py: which runs, how, and what is said of its end."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

TRAIN = Path(sys.executable).with_name("train")
Starter = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "ml"
    for name in ("input/config", "input/data", "model", "output/data", "code"):
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture
def start(base: Path) -> Starter:
    """Starts `train` on a source folder; the image has a train.py of its own, as Kennel's has."""

    def starter(
        files: dict[str, str], program: str, *, place: bool = True, environ: dict[str, str] | None = None, **hps: object
    ) -> "subprocess.Popen[str]":
        source = base.parent / "source.tar.gz"
        with tarfile.open(source, "w:gz") as tar:
            for name, text in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
                if place:  # as the local SageMaker does; AWS leaves it to `train`
                    (base / "code" / name).parent.mkdir(parents=True, exist_ok=True)
                    (base / "code" / name).write_text(text)
        values = {"sagemaker_program": program, "sagemaker_submit_directory": f"file://{source}", **hps}
        config = base / "input" / "config"
        config.joinpath("hyperparameters.json").write_text(
            json.dumps({name: json.dumps(value) for name, value in values.items()})
        )
        config.joinpath("inputdataconfig.json").write_text("{}")
        config.joinpath("resourceconfig.json").write_text(
            json.dumps({"current_host": "localhost", "hosts": ["localhost"], "network_interface_name": "lo"})
        )
        told = {
            **os.environ,
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_PROGRAM": "train.py",
            "SAGEMAKER_TRAINING_MODULE": "kennel.training.toolkit:main",
            **(environ or {}),
        }
        return subprocess.Popen(
            [TRAIN], env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    return starter


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


@pytest.mark.parametrize("place", [True, False], ids=["placed", "fetched"])
def test_the_jobs_script_wins_over_the_images(start: Starter, place: bool) -> None:
    files = {
        "src/mine.py": "import sys\nimport sibling\nimport lib.deep\nprint('mine', sys.argv[1:])",
        "src/sibling.py": "",
        "lib/__init__.py": "",
        "lib/deep.py": "",
    }
    status, output = ended(start(files, "src/mine.py", place=place, epochs=3, flag=True, x="a;b"))
    assert status == 0, output
    assert "mine ['--epochs', '3', '--flag', 'True', '-x', 'a;b']" in output


def test_a_source_with_a_setup_is_a_module_and_nothing_is_installed(start: Starter) -> None:
    files = {
        "setup.py": "raise SystemExit('never run')",
        "src/pkg/__init__.py": "NAME = 'from src'",
        "go.py": "import sys, pkg; print(pkg.NAME, sys.argv[1:])",
    }
    status, output = ended(start(files, "go.py", epochs=1))
    assert status == 0, output
    assert "from src ['--epochs', '1']" in output


def test_one_process_is_started_unless_torchrun_is_asked_for(start: Starter) -> None:
    script = "import os\nprint('rank', os.environ.get('RANK'), os.environ['MASTER_ADDR'], os.environ['SM_HOSTS'])"
    status, output = ended(start({"a.py": script}, "a.py", environ={"CUDA_VISIBLE_DEVICES": ""}))
    assert status == 0 and 'rank None localhost ["localhost"]' in output, output


def test_torchrun_starts_one_process_where_it_is_asked_for(start: Starter) -> None:
    script = "import os\nprint('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])"
    asked = {"sagemaker_torch_distributed_enabled": True}
    status, output = ended(start({"a.py": script}, "a.py", environ={"CUDA_VISIBLE_DEVICES": ""}, **asked))
    assert status == 0 and "rank 0 of 1" in output, output


def test_the_last_error_and_the_status_are_told(start: Starter, base: Path) -> None:
    script = (
        "import sys\ndef f():\n    raise ValueError('no dogs')\ntry:\n    f()\nexcept ValueError:\n    import traceback"
    )
    script += "\n    traceback.print_exc()\n    sys.exit(7)"
    status, output = ended(start({"a.py": script}, "a.py", epochs=1))
    assert status == 7, output
    failure = (base / "output" / "failure").read_text()
    assert failure.startswith('ExecuteUserScriptError:\nExitCode 7\nErrorMessage "ValueError: no dogs (a.py:3 in f)"')
    assert 'a.py --epochs 1"' in failure


@pytest.mark.parametrize(
    ("files", "program", "hps", "words"),
    [
        ({"b.py": ""}, "a.py", {}, "There is no 'a.py' ('sagemaker_program') in "),
        (
            {"a.py": "", "requirements.txt": "no-such-thing\n"},
            "a.py",
            {},
            "not installed: no-such-thing. Set KENNEL_REQ",
        ),
        ({"a.py": ""}, "a.py", {"sagemaker_mpi_enabled": True}, "asks for MPI"),
    ],
    ids=["no program", "requirements", "mpi"],
)
def test_what_cannot_run_is_said_in_words(
    start: Starter, base: Path, files: dict[str, str], program: str, hps: dict[str, object], words: str
) -> None:
    status, output = ended(start(files, program, **hps))
    assert status == 2, output
    assert words in (base / "output" / "failure").read_text() and "Traceback" not in output


def test_requirements_are_installed_for_the_job_alone_where_that_is_asked_for(start: Starter, base: Path) -> None:
    info = "kenneltest_pkg-1.0.dist-info"
    with zipfile.ZipFile(base.parent / "kenneltest_pkg-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("kenneltest_pkg.py", "NAME = 'installed'")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: kenneltest_pkg\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    lines = f"--no-index\n--find-links {base.parent}\nkenneltest-pkg==1.0\nnumpy\n"
    files = {"a.py": "import kenneltest_pkg; print(kenneltest_pkg.NAME)", "requirements.txt": lines}
    status, output = ended(start(files, "a.py", environ={"KENNEL_REQUIREMENTS": "install"}))
    assert status == 0 and "\ninstalled\n" in output, output
    assert "requirements.txt: installed for this job alone" in output
    assert (base / "packages" / "kenneltest_pkg.py").exists()


def test_opt_ml_is_the_jobs_folder_for_its_script(start: Starter, base: Path) -> None:
    status, output = ended(start({"a.py": "print('saved', open('/opt/ml/model/m.txt', 'w').write('x'))"}, "a.py"))
    if "/opt/ml cannot stand for" in output:
        pytest.skip("this machine lets nobody have mounts of his own")
    assert status == 0 and (base / "model" / "m.txt").read_text() == "x", output


def test_a_shell_scripts_program_hears_of_a_stop(start: Starter, base: Path) -> None:
    program = (
        "import os, pathlib, signal, sys, time\n"
        "def stop(*_):\n"
        "    pathlib.Path(os.environ['SM_MODEL_DIR'], 'saved').touch()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path(os.environ['SM_MODEL_DIR'], 'ready').touch()\n"
        "time.sleep(300)\n"
    )
    process = start({"run.sh": '#!/bin/bash\npython3 inner.py "$@"\necho after $?\n', "inner.py": program}, "run.sh")
    deadline = time.monotonic() + 60
    while not (base / "model" / "ready").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    status, output = ended(process)
    assert (base / "model" / "saved").exists() and "after 0" in output and status == 0, output
