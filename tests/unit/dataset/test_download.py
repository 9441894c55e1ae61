"""The download against a server on loopback that knows Range, breaks off, lies and refuses as told."""

import http.server
import io
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kennel.dataset import download
from kennel.dataset.download import DownloadError, download_dogs, unpack
from kennel.errors import DataError, UserError

FILES = {
    "dogImages/train/001.Affenpinscher/1.jpg": b"one" * 4000,
    "dogImages/valid/001.Affenpinscher/2.jpg": b"two" * 10,
    "dogImages/test/001.Affenpinscher/3.jpg": b"three",
}


def make_zip(files: dict[str, bytes] = FILES, *, modes: dict[str, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Sends `body`; what it does beside that is set by the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = make_zip()
        self.knows_range = True
        self.says_length = True
        self.break_after: list[int] = []  # bytes sent before each of the next connections breaks
        self.statuses: list[int] = []  # answers to the next requests instead of the body
        self.requests: list[str] = []  # the Range header of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/dog-project/dogImages.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.requests.append(wanted)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        start = int(wanted[6:-1]) if wanted and self.server.knows_range else 0
        total = len(self.server.body)
        if start and start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if self.server.says_length:
            self.send_header("Content-Length", str(total - start))
        self.end_headers()
        end = start + self.server.break_after.pop(0) if self.server.break_after else total
        self.wfile.write(self.server.body[start:end])

    def log_message(self, *_: object) -> None:
        """Nothing: tests read `requests`."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server: Server, folder: Path, **options: Any) -> Path:  # noqa: ANN401  as download_dogs
    options.setdefault("expected_bytes", len(server.body))
    return download_dogs(folder, url=server.url, backoff_s=0, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_download_gives_the_folder_with_the_splits(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    folder = fetch(server, tmp_path / "data", progress=lambda done, total: seen.append((done, total)))

    assert folder == tmp_path / "data" / "dogImages"
    for name, content in FILES.items():
        assert (tmp_path / "data" / name).read_bytes() == content
    assert names(tmp_path / "data") == ["dogImages"]
    assert seen[-1] == (len(server.body), len(server.body))


def test_download_asks_nothing_when_the_folder_is_there(server: Server, tmp_path: Path) -> None:
    first = fetch(server, tmp_path)

    assert fetch(server, tmp_path) == first
    assert server.requests == [""]


def test_download_goes_on_through_broken_connections(server: Server, tmp_path: Path) -> None:
    server.break_after = [1000, 2000, 0]

    assert fetch(server, tmp_path).is_dir()
    assert server.requests == ["", "bytes=1000-", "bytes=3000-", "bytes=3000-"]


def test_download_goes_on_where_an_earlier_call_stopped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "dogImages.zip.part").write_bytes(server.body[:5000])

    assert fetch(server, tmp_path).is_dir()
    assert server.requests == ["bytes=5000-"]


def test_download_starts_over_when_the_server_ignores_range(server: Server, tmp_path: Path) -> None:
    server.knows_range = False
    (tmp_path / "dogImages.zip.part").write_bytes(b"x" * 5000)

    assert fetch(server, tmp_path).is_dir()


def test_download_takes_a_part_that_is_already_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / "dogImages.zip.part").write_bytes(server.body)

    assert fetch(server, tmp_path).is_dir()


def test_download_starts_over_when_the_part_is_longer_than_the_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "dogImages.zip.part").write_bytes(server.body + b"more")

    assert fetch(server, tmp_path).is_dir()
    assert server.requests[-1] == ""


def test_download_unpacks_an_archive_that_is_already_there(server: Server, tmp_path: Path) -> None:
    (tmp_path / "dogImages.zip").write_bytes(server.body)

    assert fetch(server, tmp_path).is_dir()
    assert server.requests == []


def test_download_tries_again_after_a_server_error(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 500, 429]

    assert fetch(server, tmp_path).is_dir()


def test_download_gives_up_after_attempts_that_bring_nothing_and_keeps_the_part(server: Server, tmp_path: Path) -> None:
    server.break_after = [1000] + [0] * 20

    with pytest.raises(
        DownloadError, match="5 attempts in a row brought nothing.*1,000 bytes are kept in .*call again"
    ):
        fetch(server, tmp_path)
    assert names(tmp_path) == ["dogImages.zip.part"]
    server.break_after = []
    assert fetch(server, tmp_path).is_dir()
    assert server.requests[-1] == "bytes=1000-"


def test_download_says_when_nobody_answers(server: Server, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()

    with pytest.raises(DownloadError, match="Connection refused.*Check the connection"):
        fetch(server, tmp_path)


def test_download_does_not_repeat_a_request_that_is_wrong(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]

    with pytest.raises(DownloadError, match="the server answers 404 Not Found. Check the address"):
        fetch(server, tmp_path)
    assert len(server.requests) == 1


def test_download_refuses_an_archive_of_another_size(server: Server, tmp_path: Path) -> None:
    for server.says_length in (True, False):
        with pytest.raises(DataError, match="bytes, expected 1,132,023,110. It is not the archive"):
            fetch(server, tmp_path, expected_bytes=download.DOGS_BYTES)
        assert names(tmp_path) == []


def test_download_trusts_the_server_without_an_expected_size(server: Server, tmp_path: Path) -> None:
    server.break_after = [4000]

    assert fetch(server, tmp_path, expected_bytes=None).is_dir()


def test_download_looks_at_the_free_space_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))

    with pytest.raises(DownloadError, match="0.0 GB free, 0.0 GB are needed. Free some"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []


def test_download_says_when_the_folder_may_not_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "dogImages.zip.part").mkdir()

    with pytest.raises(DownloadError, match="dogImages.zip.part cannot be written: Is a directory"):
        fetch(server, tmp_path)


def test_download_refuses_an_address_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'file:///etc/passwd' is no address to download from"):
        download_dogs(tmp_path, url="file:///etc/passwd")


def test_download_refuses_a_folder_that_is_something_else(server: Server, tmp_path: Path) -> None:
    (tmp_path / "dogImages").mkdir()

    with pytest.raises(DataError, match="is there but has no train folder. Remove it"):
        fetch(server, tmp_path)
    assert server.requests == []


def test_download_drops_a_damaged_archive_so_that_the_next_call_fetches_it_anew(server: Server, tmp_path: Path) -> None:
    whole = server.body
    server.body = whole.replace(b"oneone", b"oNeone", 1)

    with pytest.raises(DataError, match="dogImages.zip is damaged .Bad CRC-32.*Download it again"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []
    server.body = whole
    assert fetch(server, tmp_path).is_dir()


# --- Unpacking ----------------------------------------------------------------------------------------------------


def unpack_bytes(content: bytes, folder: Path, **options: Any) -> Path:  # noqa: ANN401  as download_dogs
    (folder / "a.zip").write_bytes(content)
    unpack(folder / "a.zip", folder / "place", **options)
    return folder / "place"


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jpg",
        "dogImages/../../outside.jpg",
        "/etc/outside.jpg",
        "C:/outside.jpg",
        "dogImages\\..\\outside.jpg",
    ],
)
def test_unpack_refuses_names_that_lead_outside(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()

    with pytest.raises(DataError, match="a name that leads outside the folder.*Nothing was unpacked"):
        unpack_bytes(make_zip({**FILES, name: b"x"}), folder)
    assert names(tmp_path) == ["inner"]
    assert names(folder) == ["a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_unpack_refuses_links_and_devices(tmp_path: Path, kind: int) -> None:
    name = "dogImages/train/link"

    with pytest.raises(DataError, match="'dogImages/train/link', a link or"):
        unpack_bytes(make_zip({**FILES, name: b"/etc/passwd"}, modes={name: kind | 0o777}), tmp_path)
    assert names(tmp_path) == ["a.zip"]


def test_unpack_refuses_more_bytes_than_the_limit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpacks to 12,035 bytes in 3 files; at most 12,034 in 200,000"):
        unpack_bytes(make_zip(), tmp_path, max_bytes=12_034)
    assert names(tmp_path) == ["a.zip"]


def test_unpack_refuses_more_files_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_ENTRIES", 2)

    with pytest.raises(DataError, match="in 3 files; at most .* in 2 are accepted"):
        unpack_bytes(make_zip(), tmp_path)


def test_unpack_writes_no_more_than_a_file_says_it_holds(tmp_path: Path) -> None:
    """A bomb that understates its size in the directory is cut there, and its checksum gives it away."""
    content = make_zip({"dogImages/train/a/1.jpg": b"x" * 5000})
    small = (10).to_bytes(4, "little")
    lying = content.replace((5000).to_bytes(4, "little"), small)

    with pytest.raises(DataError, match="is damaged"):
        unpack_bytes(lying, tmp_path)
    assert names(tmp_path) == ["a.zip"]


def test_unpack_refuses_what_is_no_zip(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a.zip is damaged .File is not a zip file"):
        unpack_bytes(b"<html>Service unavailable</html>", tmp_path)


def test_unpack_refuses_an_archive_without_train(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no train folder. Expected dogImages/train"):
        unpack_bytes(make_zip({"other/1.jpg": b"x"}), tmp_path)
    assert names(tmp_path) == ["a.zip"]


def test_unpack_leaves_out_what_macos_adds(tmp_path: Path) -> None:
    litter = {"__MACOSX/dogImages/train/._1.jpg": b"x", "dogImages/train/.DS_Store": b"x"}

    place = unpack_bytes(make_zip({**FILES, **litter}), tmp_path)

    assert sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()) == [
        "test/001.Affenpinscher/3.jpg",
        "train/001.Affenpinscher/1.jpg",
        "valid/001.Affenpinscher/2.jpg",
    ]


def test_unpack_takes_an_archive_without_a_top_folder(tmp_path: Path) -> None:
    files = {name.removeprefix("dogImages/"): content for name, content in FILES.items()}

    assert names(unpack_bytes(make_zip(files), tmp_path)) == ["test", "train", "valid"]


def test_unpack_clears_what_a_killed_call_left(tmp_path: Path) -> None:
    left = tmp_path / ".place.unpacking" / "train" / "002.Stray"
    left.mkdir(parents=True)

    place = unpack_bytes(make_zip(), tmp_path)

    assert names(place / "train") == ["001.Affenpinscher"]
    assert names(tmp_path) == ["a.zip", "place"]
