"""A folder is brought to S3: only what changed, resumed after interruptions, with a manifest at the end."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from account import UNAVAILABLE, Account, fault, open_account
from botocore.exceptions import ClientError

from kennel.aws.upload import Upload
from kennel.errors import ContractError, UserError

BUCKET = "pictures"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with open_account(tmp_path_factory.mktemp("upload") / "runs") as opened:
        yield opened


@pytest.fixture
def upload(account: Account, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Upload:
    for key, value in account.environ.items():
        monkeypatch.setenv(key, value)
    account.faults.clear()
    account.calls.clear()
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return Upload(client, BUCKET, f"kennel/data/{request.node.name.replace('[', '-').strip(']')}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(70):
        path = tmp_path / "pictures" / "train" / f"{number % 3}.a" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"picture {number}".encode())
    (tmp_path / "pictures" / ".hidden").write_text("left out")
    return tmp_path / "pictures"


def puts(account: Account, *, of: str = ".jpg") -> int:
    return sum(call.target.startswith("PUT ") and call.target.endswith(of) for call in account.calls)


def names(upload: Upload) -> list[str]:
    return sorted(dict(upload._objects()))


def test_only_what_changed_is_sent(upload: Upload, account: Account, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = upload.send(folder, digest="one", progress=lambda done, total: seen.append((done, total)))
    assert (first.sent, first.kept, first.deleted) == (70, 0, 0) and puts(account) == 70
    assert first.uri == f"s3://pictures/{upload.prefix}/"
    assert seen[-1][0] == seen[-1][1] == first.bytes and seen == sorted(seen)
    assert ".hidden" not in names(upload) and len(names(upload)) == 70
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest == "one" and set(manifest.files) == set(names(upload))

    account.calls.clear()
    again = upload.send(folder, digest="one")
    assert (again.sent, again.kept) == (0, 70) and puts(account, of="") == 0

    (folder / "train" / "0.a" / "0.jpg").write_bytes(b"another")
    (folder / "train" / "1.a" / "1.jpg").unlink()
    (folder / "train" / "2.a" / "new.jpg").write_bytes(b"new")
    account.calls.clear()
    changed = upload.send(folder, digest="two")
    assert (changed.sent, changed.kept, changed.deleted, puts(account)) == (2, 68, 1, 2)
    assert "train/1.a/1.jpg" not in names(upload)
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest == "two"


@pytest.mark.parametrize("is_manifest_lost", [False, True], ids=["told", "killed"])
def test_an_interrupted_upload_goes_on(
    upload: Upload, account: Account, folder: Path, monkeypatch: pytest.MonkeyPatch, is_manifest_lost: bool
) -> None:
    put, count = upload._put, [0]

    def interrupted(file: Any) -> Any:  # noqa: ANN401
        count[0] += 1
        if count[0] > 40:
            raise KeyboardInterrupt
        return put(file)

    monkeypatch.setattr(upload, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        upload.send(folder, digest="one")
    there = len(names(upload))
    manifest = upload.manifest()
    assert there == 40 and manifest is not None and manifest.digest is None and len(manifest.files) == 40
    if is_manifest_lost:
        upload.client.delete_object(Bucket=BUCKET, Key=upload.manifest_key)
    monkeypatch.setattr(upload, "_put", put)
    account.calls.clear()
    rest = upload.send(folder, digest="one")
    assert (rest.sent, rest.kept, puts(account)) == (30, 40, 30)
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest == "one" and len(manifest.files) == 70


def test_faults_are_retried_and_a_refusal_leaves_no_whole_manifest(
    upload: Upload, account: Account, folder: Path
) -> None:
    account.faults["*"] = [None, None, UNAVAILABLE, UNAVAILABLE]
    assert upload.send(folder, digest="one").sent == 70
    (folder / "train" / "0.a" / "0.jpg").write_bytes(b"another")
    key = f"PUT /{BUCKET}/{upload.prefix}/train/0.a/0.jpg"
    account.faults[key] = [fault("AccessDenied", "no", 403)]
    with pytest.raises(ClientError):
        upload.send(folder, digest="two")
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest is None


def test_what_cannot_be_uploaded_is_named(upload: Upload, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none is no folder"):
        upload.send(tmp_path / "none", digest="x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty has no files to upload"):
        upload.send(tmp_path / "empty", digest="x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "is no manifest of Kennel's"),
        (json.dumps({"format": 9}).encode(), "is of format 9; this version reads 1"),
    ],
)
def test_a_manifest_that_is_none_is_told(upload: Upload, folder: Path, content: bytes, message: str) -> None:
    upload.client.put_object(Bucket=BUCKET, Key=upload.manifest_key, Body=content)
    with pytest.raises(ContractError, match=message):
        upload.send(folder, digest="one")
