"""docker/smdebug/repack.py on a wheel made here: edits, refusals, RECORD, the same bytes every time."""

import base64
import csv
import dataclasses
import hashlib
import importlib.util
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "smdebug" / "repack.py"
PROTO = "tiny/proto/point.proto"
MODULE = "tiny/proto/point_pb2.py"


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("repack", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["repack"] = module  # dataclasses look there for the annotations
    spec.loader.exec_module(module)
    return module


repack = load_script()


def descriptor(name: str = PROTO) -> bytes:
    field = FieldDescriptorProto(
        name="x", number=1, type=FieldDescriptorProto.TYPE_INT32, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    message = DescriptorProto(name="TinyPoint", field=[field])
    return FileDescriptorProto(name=name, package="tiny", message_type=[message], syntax="proto3").SerializeToString()


def old_module(serialized: bytes) -> str:
    """As protoc 3.7 wrote it, in short."""
    return (
        "from google.protobuf import descriptor as _descriptor\n"
        f"DESCRIPTOR = _descriptor.FileDescriptor(name={PROTO!r}, package='tiny', serialized_pb={serialized!r})\n"
        "_TINYPOINT = _descriptor.Descriptor(name='TinyPoint')\n"
    )


def tiny_files() -> dict[str, str]:
    return {
        "tiny/__init__.py": "value = float(array)\n",
        MODULE: old_module(descriptor()),
        "tiny/untouched.py": "answer = 42\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/LICENSE": "Apache License\n",
        "tiny-1.0.dist-info/RECORD": "tiny/__init__.py,sha256=wrong,1\n",
    }


def zipped(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return stream.getvalue()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Repacks a wheel of `files` with the tiny recipe, or with that recipe changed."""

    def run(files: dict[str, str] | None = None, *, output: str = "out", **changes: object) -> Path:
        content = zipped(files or tiny_files())
        wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
        wheel.write_bytes(content)
        recipe = repack.Recipe(
            name="tiny",
            version="1.0",
            local_version="kennel.1",
            sha256=hashlib.sha256(content).hexdigest(),
            edits=(
                repack.Edit("tiny/__init__.py", "numpy 2", (("float(array)", "float(array.item())"),)),
                repack.Edit("tiny-1.0.dist-info/METADATA", "version", (("Version: 1.0\n", "Version: 1.0+kennel.1\n"),)),
            ),
            descriptors=(MODULE,),
        )
        return Path(repack.repack(wheel, tmp_path / output, dataclasses.replace(recipe, **changes)))

    return run


def test_edits_versions_and_notices_are_in_the_new_wheel(make: Callable[..., Path]) -> None:
    wheel = make()
    assert wheel.name == "tiny-1.0+kennel.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    notice = "# This file was changed by the Kennel project (tiny 1.0+kennel.1): numpy 2.\n"
    assert texts["tiny/__init__.py"] == f"{notice}value = float(array.item())\n"
    assert "changed by the Kennel project" in texts[MODULE]
    assert texts["tiny/untouched.py"] == "answer = 42\n"
    assert texts["tiny-1.0+kennel.1.dist-info/LICENSE"] == "Apache License\n"
    assert "\nVersion: 1.0+kennel.1\n" in texts["tiny-1.0+kennel.1.dist-info/METADATA"]
    assert not [name for name in texts if name.startswith("tiny-1.0.dist-info/")]


def test_record_lists_every_file_with_its_hash_and_size(make: Callable[..., Path]) -> None:
    with zipfile.ZipFile(make()) as archive:
        rows = list(csv.reader(archive.read("tiny-1.0+kennel.1.dist-info/RECORD").decode().splitlines()))
        assert [row[0] for row in rows] == archive.namelist()
        assert rows.pop() == ["tiny-1.0+kennel.1.dist-info/RECORD", "", ""]
        for path, digest, size in rows:
            content = archive.read(path)
            wanted = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert (digest, size) == (f"sha256={wanted}", str(len(content)))


def test_the_same_wheel_gives_the_same_bytes_whenever_it_is_made(make: Callable[..., Path]) -> None:
    first = make(output="first")
    assert make(output="second").read_bytes() == first.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_rebuilt_descriptor_makes_messages(make: Callable[..., Path]) -> None:
    wheel = make()
    check = "from tiny.proto.point_pb2 import TinyPoint as P; print(P.FromString(P(x=7).SerializeToString()).x)"
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(MODULE, wheel.parent)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", check], cwd=wheel.parent, capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == ("7\n", "")


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("tiny/__init__.py", "value = int(array)\n", r"tiny/__init__.py has 0 times 'float\(array\)'"),
        ("tiny/__init__.py", "float(array) + float(array)\n", r"tiny/__init__.py has 2 times 'float\(array\)'"),
        (MODULE, "DESCRIPTOR = None\n", "point_pb2.py has a DESCRIPTOR that is no call"),
        (MODULE, "pass\n", r"point_pb2.py has 0 times 'DESCRIPTOR = ...\(...\)'"),
        (MODULE, old_module(descriptor("tiny/proto/other.proto")), "no serialized descriptor of tiny/proto/point"),
        (MODULE, old_module(b""), "no serialized descriptor of tiny/proto/point"),
        ("tiny/proto/more_pb2.py", "", r"The wheel's \*_pb2.py are .*more_pb2.py"),
    ],
)
def test_what_upstream_did_not_write_so_is_refused(
    make: Callable[..., Path], tmp_path: Path, path: str, text: str, message: str
) -> None:
    with pytest.raises(repack.RepackError, match=message):
        make(tiny_files() | {path: text})
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_named(make: Callable[..., Path]) -> None:
    with pytest.raises(repack.RepackError, match="The wheel has no tiny/gone.py"):
        make(edits=(repack.Edit("tiny/gone.py", "gone", (("a", "b"),)),))


def test_another_wheel_than_the_one_known_is_refused_by_the_command(tmp_path: Path) -> None:
    wheel = tmp_path / "smdebug-1.0.34-py2.py3-none-any.whl"
    wheel.write_bytes(zipped(tiny_files()))
    run = subprocess.run([sys.executable, SCRIPT, wheel, tmp_path], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert f"not {repack.SMDEBUG.sha256} of smdebug 1.0.34" in run.stderr


def test_the_hash_that_pip_checks_is_the_one_the_script_wants() -> None:
    lock = (SCRIPT.parent / "requirements.txt").read_text()
    assert f"smdebug=={repack.SMDEBUG.version} \\\n    --hash=sha256:{repack.SMDEBUG.sha256}\n" in lock
