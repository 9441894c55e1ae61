"""The Udacity course's dog photos (dogImages.zip: 133 breeds, 1.1 GB), fetched and unpacked.

Nothing half done ever looks whole: bytes collect in `<archive>.part`, and the next call goes on from there;
pictures are unpacked beside their place and renamed into it. A second call finds them there.
`kennel data download dogs` calls this.
"""

import errno
import http.client
import re
import shutil
import stat
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from kennel.errors import DataError, KennelError, UserError

DOGS_URL: Final = "https://s3-us-west-1.amazonaws.com/udacity-aind/dog-project/dogImages.zip"
DOGS_BYTES: Final = 1_132_023_110
MAX_UNPACKED_BYTES: Final = 8 * 2**30
MAX_ENTRIES: Final = 200_000
ATTEMPTS: Final = 5  # in a row without a single new byte
_TIMEOUT_S: Final = 30.0  # without a byte
_CHUNK: Final = 2**18
_DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EFBIG, errno.EIO, errno.EISDIR)

Progress = Callable[[int, int], None]  # bytes here, bytes in all (0 if the server does not say)


class DownloadError(KennelError):
    """The network, the server or the disk: nothing is wrong with the request, and trying again goes on from there."""


def download_dogs(
    folder: Path,
    *,
    url: str = DOGS_URL,
    expected_bytes: int | None = DOGS_BYTES,
    progress: Progress | None = None,
    backoff_s: float = 1.0,
) -> Path:
    """The folder that holds train/, valid/ and test/: `folder`/dogImages, downloaded and unpacked if it is not there.

    expected_bytes: the archive's size; None trusts the server. backoff_s: pause after a broken connection, doubled each
    time in a row. Needs the archive's size and its content's free on disk; the archive is removed at the end.

    Raises UserError for an address that is not http(s), DownloadError when it cannot be fetched (call again to go on),
    DataError when what came is not the archive, or is one that would write outside `folder` or fill the disk.
    """
    _check_url(url)
    place = folder / "dogImages"
    if place.exists():
        return _complete(place)
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "dogImages.zip"
    fetch(url, archive, expected_bytes=expected_bytes, progress=progress, backoff_s=backoff_s)
    try:
        unpack(archive, place)
    except DataError:
        archive.unlink()  # so that the next call fetches it anew
        raise
    archive.unlink()
    return place


def _complete(place: Path) -> Path:
    if (place / "train").is_dir():
        return place
    raise DataError(f"{place} is there but has no train folder. Remove it, or name another folder.")


def fetch(
    url: str,
    archive: Path,
    *,
    expected_bytes: int | None = None,
    progress: Progress | None = None,
    backoff_s: float = 1.0,
) -> None:
    """`url` as the file `archive`; goes on from `<archive>.part` if one is there, and through broken connections."""
    if archive.exists() and expected_bytes in (None, archive.stat().st_size):
        return
    part = archive.with_name(archive.name + ".part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part, expected_bytes, progress)
            break
        except (OSError, http.client.HTTPException) as error:
            _raise_if_hopeless(error, url, part)
            failures = 1 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise DownloadError(
                    f"{url}: {failures} attempts in a row brought nothing ({str(error) or type(error).__name__}); "
                    f"{_size(part):,} bytes are kept in {part}. Check the connection and call again to go on."
                ) from error
            time.sleep(min(backoff_s * 2 ** (failures - 1), 60))
    _check_size(url, part, _size(part), expected_bytes)
    part.replace(archive)


def _receive(url: str, part: Path, expected_bytes: int | None, progress: Progress | None) -> None:
    """Appends to `part` what the server has beyond it; returns when the whole is there."""
    here = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "kennel"})  # noqa: S310  http(s) only: _check_url
    if here:
        request.add_header("Range", f"bytes={here}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310  as above
    except urllib.error.HTTPError as error:
        with closing(error):
            if error.code != 416:  # "range not satisfiable": nothing lies beyond what is here
                raise
            total = _total_of(error.headers.get("Content-Range"))
        if here and total == here and expected_bytes in (None, here):
            return
        part.unlink(missing_ok=True)
        raise ConnectionError(f"the server has no bytes beyond {here:,}; starting over") from None
    with closing(response):
        answer = _Answer.of(response, here)
        _check_size(url, part, answer.total, expected_bytes)
        _check_space(part.parent, answer.total - answer.start)
        _write(response, part, answer, progress)
    if answer.total and _size(part) != answer.total:
        raise ConnectionError(f"the connection ended at {_size(part):,} of {answer.total:,} bytes")


@dataclass(frozen=True)
class _Answer:
    """What the server is about to send: from byte `start` on, of `total` (0 if it does not say)."""

    start: int
    total: int

    @classmethod
    def of(cls, response: http.client.HTTPResponse, here: int) -> "_Answer":
        length = int(response.headers.get("Content-Length") or 0)
        if response.status != 206:  # Range is not known to this server: it sends everything
            return cls(0, length)
        content_range = response.headers.get("Content-Range") or ""
        if not content_range.startswith(f"bytes {here}-"):
            raise ConnectionError(f"asked for bytes from {here} on, the server sent '{content_range}'")
        return cls(here, _total_of(content_range) or (here + length if length else 0))


def _write(response: http.client.HTTPResponse, part: Path, answer: _Answer, progress: Progress | None) -> None:
    done = answer.start
    with part.open("ab" if answer.start else "wb") as file:
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, answer.total)


def _total_of(content_range: str | None) -> int:
    """1234 of `bytes 0-99/1234` or `bytes */1234`; 0 if it is not said."""
    total = (content_range or "").rpartition("/")[2]
    return int(total) if total.isdigit() else 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


# --- Unpacking ----------------------------------------------------------------------------------------------------


def unpack(archive: Path, place: Path, *, max_bytes: int = MAX_UNPACKED_BYTES) -> None:
    """The folder in a zip file that holds train/, as `place`; it appears there only when it is whole.

    Every file's checksum is verified. macOS's litter stays out.
    Raises DataError for an archive that is damaged, has no train/, holds links or names that lead outside,
    or unpacks to more than `max_bytes`; DownloadError if the disk is too small.
    """
    unfinished = place.with_name(f".{place.name}.unpacking")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a call that was killed
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, max_bytes)
            _check_space(archive.parent, sum(member.file_size for member in members))
            for member in members:
                target = unfinished / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
        _train_parent(archive, unfinished).replace(place)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{archive} is damaged ({error}). Download it again.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _members(opened: zipfile.ZipFile, max_bytes: int) -> list[zipfile.ZipInfo]:
    """The files to unpack; DataError if one of them must not be."""
    members = [info for info in opened.infolist() if not info.is_dir() and not _is_litter(info.filename)]
    for info in members:
        if not _is_safe(info):
            raise DataError(
                f"{opened.filename} holds '{info.filename}', a link or a name that leads outside the folder, or one "
                f"that is locked. Nothing was unpacked; do not trust this archive."
            )
    # zipfile stops a file at its declared size, so the declared sizes are what can reach the disk.
    total = sum(info.file_size for info in members)
    if total > max_bytes or len(members) > MAX_ENTRIES:
        raise DataError(
            f"{opened.filename} unpacks to {total:,} bytes in {len(members):,} files; at most {max_bytes:,} in "
            f"{MAX_ENTRIES:,} are accepted. Nothing was unpacked."
        )
    return members


def _is_safe(info: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(info.filename).parts
    mode = info.external_attr >> 16  # Unix: type and permissions; 0 from other systems
    is_plain = stat.S_IFMT(mode) in (0, stat.S_IFREG)
    is_inside = bool(parts) and parts[0] != "/" and ".." not in parts
    return is_plain and is_inside and not re.search(r"[\\:\0]", info.filename) and not info.flag_bits & 0x1


def _is_litter(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or parts[-1:] == (".DS_Store",)


def _train_parent(archive: Path, unpacked: Path) -> Path:
    inner = sorted(unpacked.iterdir()) if unpacked.is_dir() else []
    for folder in (unpacked, *inner):
        if (folder / "train").is_dir():
            return folder
    raise DataError(f"{archive} holds no train folder. Expected dogImages/train/<class>/<image>.jpg.")


# --- What is refused ----------------------------------------------------------------------------------------------


def _check_url(url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"'{url}' is no address to download from. Expected https://... or http://...")


def _check_size(url: str, part: Path, total: int, expected_bytes: int | None) -> None:
    if expected_bytes is None or total in (0, expected_bytes):  # 0: the server does not say
        return
    part.unlink(missing_ok=True)  # of another file, or of another version of this one
    raise DataError(
        f"{url} has {total:,} bytes, expected {expected_bytes:,}. It is not the archive this program knows; "
        f"download and unpack it yourself if you trust it."
    )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed. Free some, or name another."
        )


def _raise_if_hopeless(error: Exception, url: str, part: Path) -> None:
    """Errors that another attempt would meet again."""
    if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429):
        raise DownloadError(f"{url}: the server answers {error.code} {error.reason}. Check the address.") from error
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        raise DownloadError(f"{part} cannot be written: {error.strerror}. What is there is kept.") from error
