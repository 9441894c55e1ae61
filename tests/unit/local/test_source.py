"""Somebody's training script: refused where it cannot be run, and laid out where it can."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kennel.local.faults import ApiError
from kennel.local.ml_folder import bring_code
from kennel.local.restoring import MotoApp, RestoringS3
from kennel.local.source import check_source, check_source_here, check_ways_to_train, source_of
from kennel.local.storage import LocalS3, S3Address
from kennel.paths import MlPaths

NO_S3 = LocalS3("http://127.0.0.1:1", RestoringS3(MotoApp("s3")))


def request(program: str | None, directory: str | None, **more: str) -> dict[str, Any]:
    named = {"sagemaker_program": program, "sagemaker_submit_directory": directory}
    values = {name: f'"{value}"' for name, value in named.items() if value is not None}
    return {"HyperParameters": {**values, **more}}


def archive(folder: Path, files: dict[str, str]) -> str:
    path = folder / "sourcedir.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return path.as_uri()


def refused(asked: dict[str, Any], *, switch: str = "") -> str:
    with pytest.raises(ApiError) as caught:
        check_source_here(asked, NO_S3, switch=switch)
    return str(caught.value)


def test_a_job_without_a_script_of_its_own_runs_ours(tmp_path: Path) -> None:
    ml = MlPaths(tmp_path)
    assert source_of({}) is None and source_of({"HyperParameters": {"epochs": "1"}}) is None
    check_source_here({}, NO_S3, switch="")
    bring_code(ml, {}, NO_S3)
    assert (ml.code_dir / "train.py").resolve().parent.name == "code"


@pytest.mark.parametrize("program", ["train.py", "src/train.py", "run.sh", "bin/go"])
def test_an_archive_is_unpacked_for_the_program(tmp_path: Path, program: str) -> None:
    asked = request(program, archive(tmp_path, {f"./{program}": "pass", "other.py": "pass"}))
    check_source_here(asked, NO_S3, switch="")
    bring_code(MlPaths(tmp_path / "ml"), asked, NO_S3)
    found = [path for path in (tmp_path / "ml" / "code").rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(tmp_path / "ml" / "code")) for path in found) == sorted([program, "other.py"])


def test_a_folder_is_copied_but_for_what_is_no_source(tmp_path: Path) -> None:
    for name in ("src/train.py", "src/.git/config", "src/lib/__pycache__/a.pyc", "src/lib/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for directory in ((tmp_path / "src").as_uri(), str(tmp_path / "src")):
        asked = request("train.py", directory)
        check_source_here(asked, NO_S3, switch="")
    bring_code(MlPaths(tmp_path / "ml"), asked, NO_S3)
    found = sorted(path.name for path in (tmp_path / "ml" / "code").rglob("*") if path.is_file())
    assert found == ["a.py", "train.py"]


def test_source_that_the_sdk_put_into_a_channel_is_found(tmp_path: Path) -> None:
    asked = request("train.py", "/opt/ml/input/data/code/sourcedir.tar.gz")
    data = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/job/source/sourcedir.tar.gz"}}
    source = source_of({**asked, "InputDataConfig": [{"ChannelName": "code", "DataSource": data}]})
    assert source and source.address == S3Address("b", "job/source/sourcedir.tar.gz")


def test_kennels_own_training_is_named_by_its_own_image_alone() -> None:
    asked = request("train.py", None)
    check_source_here(asked, NO_S3, switch="")
    aws = {"AlgorithmSpecification": {"TrainingImage": "1.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.5"}}
    assert "no 'sagemaker_submit_directory' says where it is" in refused({**asked, **aws})


def test_what_is_wrong_with_a_source_is_named(tmp_path: Path) -> None:
    uri = archive(tmp_path, {"main.py": "", "lib/a.py": ""})
    assert (
        "has no 'train.py' ('sagemaker_program', the estimator's entry_point). It has: lib/a.py, main.py."
        in refused(request("train.py", uri))
    )
    (tmp_path / "no.tar.gz").write_text("<html>")
    assert "cannot be unpacked: " in refused(request("train.py", (tmp_path / "no.tar.gz").as_uri()))
    assert "There is nothing at 'file:///none.tar.gz'" in refused(request("train.py", "file:///none.tar.gz"))
    assert "cannot be unpacked: '../../train.py' would be extracted to" in refused(
        request("train.py", archive(tmp_path, {"../../train.py": ""}))
    )
    assert "names 'mine.py', and no 'sagemaker_submit_directory' says where it is" in refused(request("mine.py", None))
    assert "names '/opt/ml/code/none', and there is nothing" in refused(request("train.py", "/opt/ml/code/none"))
    assert "'https://x/y.tar.gz' is no address" in refused(request("train.py", "https://x/y.tar.gz"))


@pytest.mark.parametrize("program", ["../train.py", "/train.py", "-c", "my train.py", "a;b.py", "a/./b.py"])
def test_a_program_outside_the_source_is_refused(tmp_path: Path, program: str) -> None:
    assert f"'{program}' cannot be used as the program" in refused(request(program, tmp_path.as_uri()))


def test_requirements_are_looked_at_before_anything_runs(tmp_path: Path) -> None:
    uri = archive(tmp_path, {"train.py": "", "requirements.txt": "numpy\nno-such-thing==3\n"})
    said = refused(request("train.py", uri))
    assert "requirements.txt asks for what is not installed: no-such-thing==3. Set KENNEL_REQUIREMENTS=install" in said
    check_source_here(request("train.py", uri), NO_S3, switch="install")
    job_asks = {**request("train.py", uri), "Environment": {"KENNEL_REQUIREMENTS": "install"}}
    check_source_here(job_asks, NO_S3, switch="")
    check_source(request("train.py", uri), NO_S3)  # what an image holds is not known here
    wrong = {**job_asks, "Environment": {"KENNEL_REQUIREMENTS": "please"}}
    assert "KENNEL_REQUIREMENTS has value 'please'. Expected 'install'" in refused(wrong)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("sagemaker_mpi_enabled", "MPI"),
        ("sagemaker_parameter_server_enabled", "a parameter server"),
        ("sagemaker_distributed_dataparallel_enabled", "smdistributed"),
    ],
)
def test_ways_to_train_together_that_are_not_here_are_refused(name: str, what: str) -> None:
    with pytest.raises(ApiError, match=f"'{name}' asks for {what}, which is not among Kennel's packages"):
        check_ways_to_train({"HyperParameters": {name: "true"}})
    check_ways_to_train({"HyperParameters": {name: "false", "sagemaker_torch_distributed_enabled": "true"}})
