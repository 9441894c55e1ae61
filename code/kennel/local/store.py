"""The records of the local SageMaker: in memory for speed, on disk so that they survive a restart.

One JSON file a record: {"request": what was asked for, "description": what Describe answers, "tags": [...]}, times in
ISO 8601. A file is replaced whole, so that a reader, also after a power cut, finds the old or the new one.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from botocore.model import Shape

from kennel.local.json_file import write_json
from kennel.local.validation import Json, from_iso, map_times, to_iso


@dataclass(frozen=True)
class Record:
    """One resource. description: as its Describe operation answers, times in seconds since 1970."""

    request: Json
    description: Json
    tags: tuple[Json, ...] = ()


class Store:
    """All records of one kind, by name."""

    def __init__(self, shape: Shape, file_of: Callable[[str], Path]) -> None:
        """shape: of the descriptions. file_of: where the record of a name is kept."""
        self._shape = shape
        self._file_of = file_of
        self._records: dict[str, Record] = {}
        self._lock = threading.RLock()

    def load(self, name_member: str, files: Iterable[Path]) -> None:
        """Reads the records in `files`. One that cannot be read is left alone and named on stderr."""
        for file in files:
            try:
                record = self._read(file)
                self._records[record.description[name_member]] = record
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                print(f"{file} cannot be read and is left out: {error!r}", file=sys.stderr, flush=True)

    def add(self, name: str, record: Record) -> bool:
        """Keeps a new record; False if the name is in use."""
        with self._lock:
            if name in self._records:
                return False
            self._write(name, record)
            self._records[name] = record
            return True

    def get(self, name: str) -> Record | None:
        """The record of a name, or None."""
        return self._records.get(name)

    def all(self) -> list[Record]:
        """Every record, oldest first."""
        with self._lock:
            return sorted(self._records.values(), key=lambda record: record.description["CreationTime"])

    def update(
        self, name: str, changes: Mapping[str, Any] | Callable[[Json], Mapping[str, Any]], *, drop: Iterable[str] = ()
    ) -> Json:
        """Changes members of a description, and LastModifiedTime; returns the new one.

        changes: the members, or a function from the old description to them (called once, under the lock).
        """
        with self._lock:
            record = self._records[name]
            old = {key: value for key, value in record.description.items() if key not in set(drop)}
            new = changes(record.description) if callable(changes) else changes
            description = {**old, **new, "LastModifiedTime": now()}
            self._replace(name, replace(record, description=description))
            return description

    def tag(self, name: str, change: Callable[[tuple[Json, ...]], tuple[Json, ...]]) -> tuple[Json, ...]:
        """Changes the tags of a record; returns the new ones."""
        with self._lock:
            record = self._records[name]
            self._replace(name, replace(record, tags=change(record.tags)))
            return self._records[name].tags

    def remove(self, name: str) -> None:
        """Forgets a record and its file."""
        with self._lock:
            self._records.pop(name, None)
            self._file_of(name).unlink(missing_ok=True)

    def _replace(self, name: str, record: Record) -> None:
        self._records[name] = record
        try:
            self._write(name, record)
        except OSError as error:  # a full disk must not freeze a job in its last state: memory still knows
            print(f"{self._file_of(name)} cannot be written: {error}", file=sys.stderr, flush=True)

    def _read(self, file: Path) -> Record:
        content = json.loads(file.read_text())
        description = map_times(self._shape, content["description"], from_iso)
        return Record(content["request"], description, tuple(content["tags"]))

    def _write(self, name: str, record: Record) -> None:
        content = {
            "request": record.request,
            "description": map_times(self._shape, record.description, to_iso),
            "tags": list(record.tags),
        }
        write_json(self._file_of(name), content)


def now() -> float:
    """Seconds since 1970, to the millisecond SageMaker keeps."""
    return round(time.time(), 3)
