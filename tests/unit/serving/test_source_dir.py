import io
import tarfile
from pathlib import Path

import boto3
import pytest

from kennel.errors import ArchiveError, ContractError, UserError
from kennel.serving.source_dir import SourceDir, find_script


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize(
    ("names", "environ", "program"),
    [
        (["code/inference.py"], {}, "code/inference.py"),
        (["model.json", "code/inference.py"], {}, "code/inference.py"),
        (["code/inference.py"], {"SAGEMAKER_PROGRAM": "", "SAGEMAKER_SUBMIT_DIRECTORY": ""}, "code/inference.py"),
        (["code/serve.py"], {"SAGEMAKER_PROGRAM": "serve.py"}, "code/serve.py"),
        (["code/serve.py"], {"SAGEMAKER_PROGRAM": "serve"}, "code/serve.py"),
        (["code/inference/__init__.py"], {}, "code/inference/__init__.py"),
        (["code/deep/serve.py"], {"SAGEMAKER_PROGRAM": "deep/serve.py"}, "code/deep/serve.py"),
        (["code/inference.py"], {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}, "code/inference.py"),
        (["src/inference.py"], {"SAGEMAKER_SUBMIT_DIRECTORY": "file:///opt/ml/model/src"}, "src/inference.py"),
    ],
)
def test_the_script_is_where_the_environment_says(
    tmp_path: Path, names: list[str], environ: dict[str, str], program: str
) -> None:
    model_dir = fill(tmp_path, "model.pth", *names)
    found = find_script(model_dir, environ)
    folder = program.split("/")[0]
    assert found == SourceDir(model_dir / folder, model_dir / program)


def test_a_folder_of_ones_own_may_hold_the_script(tmp_path: Path) -> None:
    fill(tmp_path / "mine", "inference.py")
    environ = {"SAGEMAKER_SUBMIT_DIRECTORY": f"file://{tmp_path / 'mine'}"}
    found = find_script(fill(tmp_path / "model", "model.pth"), environ)
    assert found == SourceDir(tmp_path / "mine", tmp_path / "mine" / "inference.py")


@pytest.mark.parametrize("card", ["model.json", "run-1/model.json"])
@pytest.mark.parametrize("environ", [{}, {"SAGEMAKER_PROGRAM": "inference.py"}])
def test_a_kennel_archive_without_a_script_is_kennels(tmp_path: Path, card: str, environ: dict[str, str]) -> None:
    assert find_script(fill(tmp_path, card, "inference.py", "code/requirements.txt"), environ) is None


@pytest.mark.parametrize("names", [["net.pth"], ["net.pt", "labels.json"], ["model.pt", "other.pt"]])
def test_a_network_alone_needs_no_script(tmp_path: Path, names: list[str]) -> None:
    assert find_script(fill(tmp_path, *names), {}) == SourceDir(tmp_path / "code", None)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "has no model.json and no code/inference.py: it is empty. Expected a Kennel training's model.tar.gz, or"),
        (["a.pth", "b.pth"], "it holds a.pth, b.pth."),
        ([f"{number}.bin" for number in range(10)], "7.bin and 2 more."),
        (["x", "code/predict.py"], "If code/predict.py is that script, say so: SAGEMAKER_PROGRAM=predict.py."),
        (["inference.py"], "inference.py is at the top of the archive; it belongs into code/."),
        (["my/model.pth", "my/code/inference.py"], "my/code/inference.py is a folder too deep: pack from inside my/."),
    ],
)
def test_an_archive_that_nobody_can_serve_says_what_is_missing(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        find_script(fill(tmp_path, *names), {})
    assert message in str(caught.value)


def test_a_script_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "model.json", "code/train.py")
    with pytest.raises(
        UserError, match=r"SAGEMAKER_PROGRAM is 'serve.py', and .*/code has no such .*: it holds train.py"
    ):
        find_script(tmp_path, {"SAGEMAKER_PROGRAM": "serve.py"})
    with pytest.raises(UserError, match="SAGEMAKER_SUBMIT_DIRECTORY is '/nowhere', and /nowhere is not a folder"):
        find_script(tmp_path, {"SAGEMAKER_SUBMIT_DIRECTORY": "/nowhere"})


class FakeS3:
    """boto3's Session and its client, with one object."""

    content = b""

    def client(self, name: str) -> "FakeS3":
        return self

    def download_file(self, bucket: str, key: str, path: str) -> None:
        if (bucket, key) != ("bucket", "code/sourcedir.tar.gz"):
            raise ValueError("no such object")
        Path(path).write_bytes(self.content)


def packed(*names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeS3]:
    monkeypatch.setattr(boto3, "Session", FakeS3)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return FakeS3


SENT = {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://bucket/code/sourcedir.tar.gz"}


def test_a_script_in_s3_is_fetched(tmp_path: Path, s3: type[FakeS3], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "content", packed("inference.py", "lib/net.py"))
    found = find_script(fill(tmp_path / "model", "model.pth"), SENT)
    assert found is not None and found.program == found.folder / "inference.py"
    assert (found.folder / "lib" / "net.py").exists()
    assert sorted(path.name for path in found.folder.parent.iterdir()) == ["code"]


@pytest.mark.parametrize("content", [b"no archive", packed("../inference.py"), packed("/etc/inference.py")])
def test_what_is_no_archive_of_code_is_refused(
    tmp_path: Path, s3: type[FakeS3], monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(s3, "content", content)
    with pytest.raises(ContractError, match="sourcedir.tar.gz', which is no tar.gz of code"):
        find_script(fill(tmp_path / "model", "model.pth"), SENT)
    with pytest.raises(UserError, match="'s3://bucket/else', which cannot be read: no such object"):
        find_script(tmp_path / "model", {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://bucket/else"})
