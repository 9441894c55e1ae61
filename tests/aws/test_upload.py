"""A folder is brought to S3: only what changed, resumed after interruptions, with a manifest at the end."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from account import UNAVAILABLE, Account, Answer, fault, open_account
from botocore.exceptions import ClientError

from kennel.aws.upload import CLIENT, Progress, Sent, Upload
from kennel.errors import ContractError, KennelError, UserError

BUCKET = "pictures"
SLOW_DOWN: Answer = (503, {}, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
ODD = (
    "two words.jpg",
    "a+b.jpg",
    "Käsehündchen.jpg",
    "日本.jpg",
    "100%.jpg",
    "a&b<c>.jpg",
    "?x=1#y.jpg",
    "1.30\u202fPM.jpg",
)


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
    account.admin("s3").create_bucket(Bucket=BUCKET)
    return Upload(
        boto3.client("s3", config=CLIENT), BUCKET, f"kennel/data/{request.node.name.replace('[', '-').strip(']')}"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(70):
        path = tmp_path / "pictures" / "train" / f"{number % 3}.a" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"picture {number}".encode())
    (tmp_path / "pictures" / ".hidden").write_text("left out")
    return tmp_path / "pictures"


def send(upload: Upload, folder: Path, *, digest: str, progress: Progress | None = None) -> Sent:
    plan = upload.compare(folder)
    upload.check(plan)
    return upload.send(plan, digest=digest, progress=progress)


def puts(account: Account, *, of: str = ".jpg") -> int:
    return sum(call.target.startswith("PUT ") and call.target.endswith(of) for call in account.calls)


def names(upload: Upload) -> list[str]:
    return sorted(dict(upload._objects()))


def test_only_what_changed_is_sent(upload: Upload, account: Account, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = send(upload, folder, digest="one", progress=lambda done, total: seen.append((done, total)))
    assert (first.sent, first.kept, first.deleted) == (70, 0, 0) and puts(account) == 70
    assert first.uri == f"s3://pictures/{upload.prefix}/"
    assert seen[-1][0] == seen[-1][1] == first.bytes and seen == sorted(seen)
    assert ".hidden" not in names(upload) and len(names(upload)) == 70
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest == "one" and set(manifest.files) == set(names(upload))

    account.calls.clear()
    again = send(upload, folder, digest="one")
    assert (again.sent, again.kept) == (0, 70) and puts(account, of="") == 0

    (folder / "train" / "0.a" / "0.jpg").write_bytes(b"another")
    (folder / "train" / "1.a" / "1.jpg").unlink()
    (folder / "train" / "2.a" / "new.jpg").write_bytes(b"new")
    account.calls.clear()
    changed = send(upload, folder, digest="two")
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
        send(upload, folder, digest="one")
    there = len(names(upload))
    manifest = upload.manifest()
    assert there == upload.there == 40 and manifest is not None
    assert manifest.digest is None and len(manifest.files) == 70, "what may be there is named before it is"
    if is_manifest_lost:
        account.admin("s3").delete_object(Bucket=BUCKET, Key=upload.manifest_key)
    monkeypatch.setattr(upload, "_put", put)
    account.calls.clear()
    rest = send(upload, folder, digest="one")
    assert (rest.sent, rest.kept, puts(account)) == (30, 40, 30)
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest == "one" and len(manifest.files) == 70


def test_faults_are_retried_and_a_refusal_leaves_no_whole_manifest(
    upload: Upload, account: Account, folder: Path
) -> None:
    account.faults["*"] = [None, None, None, UNAVAILABLE, SLOW_DOWN, UNAVAILABLE]
    assert send(upload, folder, digest="one").sent == 70
    (folder / "train" / "0.a" / "0.jpg").write_bytes(b"another")
    key = f"PUT /{BUCKET}/{upload.prefix}/train/0.a/0.jpg"
    account.faults[key] = [fault("AccessDenied", "no", 403)]
    with pytest.raises(ClientError):
        send(upload, folder, digest="two")
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest is None


def test_what_cannot_be_uploaded_is_named(upload: Upload, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none is no folder"):
        upload.compare(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty has no files to upload"):
        upload.compare(tmp_path / "empty")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "is no manifest of Kennel's"),
        (json.dumps({"format": 9}).encode(), "is of format 9; this version reads 1"),
    ],
)
def test_a_manifest_that_is_none_is_told(
    upload: Upload, account: Account, folder: Path, content: bytes, message: str
) -> None:
    account.admin("s3").put_object(Bucket=BUCKET, Key=upload.manifest_key, Body=content)
    with pytest.raises(ContractError, match=message):
        send(upload, folder, digest="one")


def test_names_with_odd_characters_come_back_as_they_are(upload: Upload, account: Account, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for name in ODD:
        (folder / "a class" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "a class" / name).write_text(name)
    (folder / "a class" / ".cache").mkdir()
    (folder / "a class" / ".cache" / "x.jpg").write_text("left out")
    (folder / "empty.jpg").touch()
    assert send(upload, folder, digest="one").sent == len(ODD) + 1
    assert names(upload) == sorted([*(f"a class/{name}" for name in ODD), "empty.jpg"])
    assert send(upload, folder, digest="one").kept == len(ODD) + 1
    (folder / "a class" / ODD[-1]).unlink()
    assert send(upload, folder, digest="two").deleted == 1


def test_links_are_read_as_if_what_they_lead_to_lay_there(upload: Upload, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.jpg").write_text("b")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "train" / "b.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    (folder / "train" / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    send(upload, folder, digest="one")
    assert {"linked/b.jpg", "train/b.jpg"} <= set(names(upload)) and "train/broken.jpg" not in names(upload)
    (folder / "train" / "loop").symlink_to(folder)
    with pytest.raises(UserError, match="loop is a link to a folder that it lies in"):
        upload.compare(folder)


def test_files_that_s3_cannot_have_are_named(upload: Upload, tmp_path: Path) -> None:
    for name, message in (("/proc/self/mem", "cannot be read"), ("x" * 200, "is too long: S3's names have at most")):
        folder = tmp_path / message[:3]
        folder.mkdir()
        if name.startswith("/"):
            (folder / "a.jpg").symlink_to(name)
        else:
            deep = folder.joinpath(*[name] * 5)
            deep.mkdir(parents=True)
            (deep / "a.jpg").touch()
        with pytest.raises(UserError, match=message):
            upload.compare(folder)
    (tmp_path / "latin").mkdir()
    Path(os.fsdecode(bytes(tmp_path / "latin") + b"/K\xe4se.jpg")).touch()
    with pytest.raises(UserError, match="is no text in UTF-8"):
        upload.compare(tmp_path / "latin")
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "new\nline.jpg").touch()
    with pytest.raises(UserError, match=r"'new.nline.jpg' in .* has a control character"):
        upload.compare(tmp_path / "control")


def test_what_others_have_put_there_is_not_deleted_unasked(upload: Upload, account: Account, folder: Path) -> None:
    admin = account.admin("s3")
    for name in ("notes.txt", "a/", "b/"):
        admin.put_object(Bucket=BUCKET, Key=f"{upload.prefix}/{name}", Body=b"")
    plan = upload.compare(folder)
    assert plan.strangers == ("notes.txt",), "a console's folders are no files"
    with pytest.raises(UserError, match=r"holds 1 objects that kennel upload has not put there \(notes.txt\)"):
        upload.check(plan)
    assert names(upload) == ["notes.txt"]
    assert upload.send(plan, digest="one").deleted == 1 and "notes.txt" not in names(upload)


def test_another_data_set_does_not_take_the_place_of_the_first(upload: Upload, folder: Path, tmp_path: Path) -> None:
    send(upload, folder, digest="one")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").write_text("a")
    with pytest.raises(UserError, match="an earlier upload of 70 files, and this folder lacks 70 of them"):
        upload.check(upload.compare(tmp_path / "other"))
    assert len(names(upload)) == 70


def test_of_two_uploads_at_once_the_first_is_told(upload: Upload, folder: Path) -> None:
    second = Upload(upload.client, BUCKET, upload.prefix)
    put = upload._put

    def overtaken(file: Any) -> Any:  # noqa: ANN401
        if not second.there:
            (folder / "train" / "0.a" / "0.jpg").write_bytes(b"by the second")
            send(second, folder, digest="two")
        return put(file)

    plan = upload.compare(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kennel.aws.upload.CONNECTIONS", 1)
        patch.setattr(upload, "_put", overtaken)
        with pytest.raises(KennelError, match=r"has changed while|Another upload writes s3://pictures/.*manifest.json"):
            upload.send(plan, digest="one")
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest == "two"
    assert send(upload, folder, digest="two").sent == 0, "what is there is what the manifest says"


def test_what_is_written_there_meanwhile_is_noticed(upload: Upload, account: Account, folder: Path) -> None:
    put = upload._put

    def beside(file: Any) -> Any:  # noqa: ANN401
        account.admin("s3").put_object(Bucket=BUCKET, Key=f"{upload.prefix}/stranger.jpg", Body=b"")
        return put(file)

    plan = upload.compare(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upload, "_put", beside)
        with pytest.raises(KennelError, match="Something else writes to .*, such as stranger.jpg"):
            upload.send(plan, digest="one")
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest is None


def test_a_manifest_whose_answer_was_lost_counts(upload: Upload, account: Account, folder: Path) -> None:
    """botocore sends it again, and S3 refuses the second: it is no longer the one that was read."""
    write = upload._manifest.client.put_object
    lost: list[str] = []

    def twice(**given: Any) -> Any:  # noqa: ANN401
        answer = write(**given)
        if given["Key"] != upload.manifest_key or lost:
            return answer
        lost.append(given["Key"])
        return write(**given)

    client = _Client(upload.client, twice)
    upload._manifest.client = client
    assert send(upload, folder, digest="one").sent == 70 and lost
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest == "one"


class _Client:
    """boto3's, but for PutObject."""

    def __init__(self, client: Any, put_object: Any) -> None:  # noqa: ANN401
        self._client, self.put_object = client, put_object

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._client, name)


def test_what_s3_does_not_delete_is_said(upload: Upload, account: Account, folder: Path) -> None:
    send(upload, folder, digest="one")
    (folder / "train" / "0.a" / "0.jpg").unlink()
    denied = (
        "<DeleteResult><Error><Key>k/0.jpg</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    )
    account.faults[f"POST /{BUCKET}"] = [(200, {"Content-Type": "application/xml"}, denied)]
    with pytest.raises(UserError, match="S3 did not delete 1 of 1 objects, the first: k/0.jpg: AccessDenied no"):
        send(upload, folder, digest="two")
    manifest = upload.manifest()
    assert manifest is not None and manifest.digest is None
    assert send(upload, folder, digest="two").deleted == 1
