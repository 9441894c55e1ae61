import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest

from kennel import job_output
from kennel.errors import ContractError, UserError
from kennel.report import sources
from kennel.report.sources import open_run
from made_run import make_run


def as_sagemaker_leaves_it(run: Path, target: Path) -> Path:
    """A job's folder below its S3OutputPath."""
    (target / "output").mkdir(parents=True)
    for name, source in (("output", "ml/output/data"), ("model", "ml/model")):
        with tarfile.open(target / "output" / f"{name}.tar.gz", "w:gz") as tar:
            for entry in (run / source).iterdir():
                tar.add(entry, arcname=entry.name)
    shutil.copytree(run / "ml/output/tensors", target / "debug-output")
    shutil.copytree(run / "ml/output/profiler", target / "profiler-output")
    for rule in (run / "rules").iterdir():
        shutil.copytree(run / "rules", target / "rule-output" / rule.stem, dirs_exist_ok=True)
    return target


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return as_sagemaker_leaves_it(make_run(tmp_path / "run"), tmp_path / "job-1")


def pack(path: Path, members: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content) if kind == tarfile.REGTYPE else 0, kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(content))
    return path


def test_a_run_is_found_by_its_name_and_by_its_folder(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs" / "first")
    for source in ("first", str(folder), f"file://{folder}"):
        with open_run(source, runs=tmp_path / "runs") as record:
            assert (record.name, record.source) == ("first", str(folder))


def test_an_unknown_name_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no run 'nope' in"), open_run("nope", runs=tmp_path):
        pass


def test_a_sagemaker_jobs_output_is_read_from_its_archives(job: Path, tmp_path: Path) -> None:
    with open_run(str(job), runs=tmp_path) as record:
        assert record.evaluation is not None
        assert record.card is not None
        assert len(record.rules) == 3
        assert record.timeline["readers"] == 2
        assert record.system["samples"] == 320
        assert record.facts["version"] == 1
        assert record.status == "Unknown"


def test_only_what_is_read_is_unpacked(tmp_path: Path) -> None:
    archive = pack(tmp_path / "model.tar.gz", {"model.json": b"{}", "model.safetensors": b"x", "golden/0.jpg": b"x"})
    job_output.unpack(archive, tmp_path / "out", ("model.json",))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.json"]


@pytest.mark.parametrize("name", ["../evil.json", "/tmp/evil.json", "a/../../evil.json"])
def test_a_member_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "output.tar.gz", {name: b"{}"})
    with pytest.raises(ContractError, match="a link or a name outside"):
        job_output.unpack(archive, tmp_path / "out", ("*.json",))
    assert not (tmp_path / "evil.json").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = pack(tmp_path / "output.tar.gz", {"history.json": b""}, kind=kind)
    with pytest.raises(ContractError, match="a link or a name outside"):
        job_output.unpack(archive, tmp_path / "out", ("*.json",))


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_output, "MAX_FILE_BYTES", 1000)
    archive = pack(tmp_path / "output.tar.gz", {"history.json": bytes(1001)})
    with pytest.raises(ContractError, match="unpacks to more than"):
        job_output.unpack(archive, tmp_path / "out", ("*.json",))


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "output.tar.gz").write_bytes(b"hello")
    with pytest.raises(ContractError, match=r"output.tar.gz cannot be unpacked as a .tar.gz"):
        job_output.unpack(tmp_path / "output.tar.gz", tmp_path / "out", ("*.json",))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for key, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{key}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    with urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST"), timeout=10):
        pass  # what moto holds is the whole process's
    yield f"http://{host}:{port}"
    server.stop()


def test_a_job_in_s3_is_downloaded_and_read(job: Path, tmp_path: Path, s3: str) -> None:
    client = boto3.client("s3")
    client.create_bucket(Bucket="results")
    for path in job.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "results", f"prefix/job-1/{path.relative_to(job)}")
    client.put_object(Bucket="results", Key="prefix/job-10/output/model.tar.gz", Body=b"another job's")
    with open_run("s3://results/prefix/job-1/", runs=tmp_path) as record:
        assert (record.name, record.source) == ("job-1", "s3://results/prefix/job-1/")
        assert record.evaluation is not None
        assert len(record.rules) == 3
        assert record.timeline["readers"] == 2
        assert record.status == "Unknown"


@pytest.mark.parametrize(("path", "status"), [("s3://results/prefix/", "Stopped"), ("s3://results/other", "Unknown")])
def test_sagemaker_is_asked_for_the_jobs_state_and_believed_if_it_means_this_output(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, status: str
) -> None:
    class Client:
        def describe_training_job(self, **request: str) -> dict[str, Any]:
            assert request == {"TrainingJobName": "job-1"}
            return {"TrainingJobStatus": "Stopped", "OutputDataConfig": {"S3OutputPath": path}}

    monkeypatch.setattr(boto3, "client", lambda *args, **options: Client())
    monkeypatch.setattr(sources, "_download", lambda address, folder, local_s3: shutil.copytree(job, folder))
    with open_run("s3://results/prefix/job-1", runs=tmp_path) as record:
        assert record.status == status


@pytest.mark.parametrize("address", ["s3://", "s3://results", "s3://results/"])
def test_an_address_without_a_job_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match="names no job"), open_run(address, runs=tmp_path):
        pass


def test_an_empty_place_in_s3_is_refused(tmp_path: Path, s3: str) -> None:
    boto3.client("s3").create_bucket(Bucket="empty")
    with pytest.raises(UserError, match="holds no job's output"), open_run("s3://empty/job", runs=tmp_path):
        pass
    with pytest.raises(UserError, match="cannot be read"), open_run("s3://no-such-bucket/job", runs=tmp_path):
        pass
