"""The programs that start an image's container, and what the image's user may do with its files."""

import posixpath
from collections.abc import Iterator, Mapping
from tarfile import TarInfo
from typing import Any, Final

from kennel.conformance.checks import Subject
from kennel.conformance.image_files import DEFAULT_PATH, ImageFiles, find_program

INITS: Final = ("tini", "dumb-init", "catatonit")
_STANDARD_FOLDERS: Final = ("/", "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt")


def environment_of(config: Mapping[str, Any]) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in config.get("Env") or [])


def search_path(config: Mapping[str, Any]) -> str:
    return environment_of(config).get("PATH") or DEFAULT_PATH


def own_entrypoint(config: Mapping[str, Any]) -> str | None:
    """The entrypoint, if it is a program that can understand the word; an init or a shell cannot."""
    parts = list(config.get("Entrypoint") or [])
    rest = [part for part in parts[1:] if not part.startswith("-")]
    if not parts or (posixpath.basename(parts[0]) in INITS and not rest):
        return None
    return " ".join(parts)


def programs(subject: Subject) -> list[tuple[str, TarInfo]]:
    """Path and entry of every program that starts the container: the entrypoint's, and the words'."""
    files = ImageFiles(subject)
    names = [*(subject.config.get("Entrypoint") or [])[:1], *sorted(subject.kinds - {"image"})]
    paths = [name if name.startswith("/") else find_program(files, subject.config, name) for name in names]
    found = [(path, files.find(path)) for path in paths if path]
    return [(path, entry) for path, entry in found if entry is not None]


def head(subject: Subject, path: str) -> bytes:
    return ImageFiles(subject).read(path, limit=2**16)


def interpreter_fault(subject: Subject, head: bytes) -> str | None:
    """What is wrong with a script's first line; None if its interpreter is in the image."""
    if not head.startswith(b"#!"):
        return "neither an ELF program nor a script with a #! line"
    words = head[2:].split(b"\n")[0].decode(errors="replace").split()
    files = ImageFiles(subject)
    if not words or files.find(words[0]) is None:
        return f"#! names {words[0] if words else 'nothing'}, which is not in the image"
    if posixpath.basename(words[0]) == "env":
        names = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        if not names or find_program(files, subject.config, names[0]) is None:
            return f"#! asks env for {names[0] if names else 'nothing'}, which is not on PATH"
    return None


def user_name(subject: Subject) -> str:
    return subject.config.get("User") or "root"


def _identity(subject: Subject) -> tuple[int, set[int]]:
    """Number and groups of the image's USER; 0 for root. Unknown names count as nobody."""
    name, _, group = user_name(subject).partition(":")
    passwd = _colon_lines(subject, "/etc/passwd")
    row = next((row for row in passwd if len(row) > 3 and name in (row[0], row[2])), None)
    number = int(name) if name.isdigit() else int(row[2]) if row else 65534
    groups = {int(row[3])} if row else set()
    for entry in _colon_lines(subject, "/etc/group"):
        if len(entry) > 3 and (group in (entry[0], entry[2]) or (row and row[0] in entry[3].split(","))):
            groups.add(int(entry[2]))
    return number, groups | ({int(group)} if group.isdigit() else set())


def _colon_lines(subject: Subject, path: str) -> list[list[str]]:
    return [line.split(":") for line in ImageFiles(subject).read(path).decode(errors="replace").splitlines()]


def _allows(entry: TarInfo, identity: tuple[int, set[int]], bit: int) -> bool:
    """Whether an owner, group or other bit (4 read, 2 write, 1 execute) holds for somebody; root reads everything."""
    number, groups = identity
    if number == 0:
        return bit != 1 or bool(entry.mode & 0o111) or entry.isdir()
    shift = 6 if entry.uid == number else 3 if entry.gid in groups else 0
    return bool(entry.mode >> shift & bit)


def may(subject: Subject, path: str, entry: TarInfo, bit: int) -> bool:
    """As `_allows`, the folders on the way to the file's real place included."""
    identity = _identity(subject)
    folders = _parents(entry.name) | _parents(path)
    ways = [found for folder in folders if (found := ImageFiles(subject).find(folder)) is not None]
    return _allows(entry, identity, bit) and all(_allows(way, identity, 1) for way in ways)


def _parents(path: str) -> set[str]:
    parents = set()
    while path not in ("/", ""):
        path = posixpath.dirname(path)
        parents.add(path)
    return parents - {"/", ""}


def unreadable(subject: Subject) -> Iterator[str]:
    """Files beside the program, in WORKDIR and in /opt/ml/code that the image's USER may not read."""
    identity = _identity(subject)
    folders = {subject.config.get("WorkingDir") or "/", "/opt/ml/code"}
    folders |= {posixpath.dirname(entry.name) for _, entry in programs(subject)}
    for folder in sorted(folders - set(_STANDARD_FOLDERS)):
        for member in ImageFiles(subject).members(folder):
            if not member.issym() and not _allows(member, identity, 5 if member.isdir() else 4):
                yield member.name
