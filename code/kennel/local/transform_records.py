"""Cuts the objects of a batch transform into records, and puts records together again to requests.

Objects are read a piece at a time: one of any size needs the memory of its largest request.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

MB: Final = 2**20
_PIECE: Final = 1 << 18
_RECORDIO_MAGIC: Final = 0xCED7230A


class RecordFault(Exception):
    """An object or a record of it cannot be used; the message says which and why."""


class Stream(Protocol):
    """What an object is read from."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Record:
    """One record. number: from 1 within its object. data: as the object has it. sent: as the server gets it."""

    number: int
    data: bytes
    sent: bytes


def read_records(stream: Stream, split_type: str, *, limit_bytes: int, is_framed: bool) -> Iterator[Record]:
    """The records of an object.

    split_type: None, Line, RecordIO or TFRecord. limit_bytes: of one record; 0 for no limit. is_framed: whether
    RecordIO's and TFRecord's own framing is part of a record's data. Raises RecordFault.
    """
    splitter = _SPLITTERS[split_type]
    for number, (data, framed) in enumerate(splitter(stream, limit_bytes or None), 1):
        record = framed if is_framed else data
        if limit_bytes and len(record) > limit_bytes:
            raise too_large(split_type, number, limit_bytes)
        yield Record(number, record, record)


def filtered(records: Iterable[Record], change: Callable[[Record], bytes]) -> Iterator[Record]:
    """The records with what is sent of them replaced."""
    for record in records:
        yield replace(record, sent=change(record))


def batches(records: Iterable[Record], strategy: str, *, limit_bytes: int) -> Iterator[tuple[Record, ...]]:
    """What goes into one request each: a record, or (MultiRecord) as many as fit into `limit_bytes`; 0 is no limit."""
    kept: list[Record] = []
    size = 0
    for record in records:
        is_full = strategy == "SingleRecord" or (limit_bytes and size + len(record.sent) > limit_bytes)
        if kept and is_full:
            yield tuple(kept)
            kept, size = [], 0
        kept.append(record)
        size += len(record.sent)
    if kept:
        yield tuple(kept)


def too_large(split_type: str, number: int, limit_bytes: int) -> RecordFault:
    """A record over the payload. The first sentence is AWS's."""
    what = "The object" if split_type == "None" else f"{'Line' if split_type == 'Line' else 'Record'} {number}"
    remedy = "raise MaxPayloadInMB" + (", or split it (SplitType)" if split_type == "None" else "")
    return RecordFault(
        f"Too much data for max payload size. {what} has more than {limit_bytes / MB:g} MB: {remedy}, or shrink it."
    )


def _whole(stream: Stream, limit: int | None) -> Iterator[tuple[bytes, bytes]]:
    pieces, size = [], 0
    while (limit is None or size <= limit) and (piece := stream.read(_PIECE)):
        pieces.append(piece)
        size += len(piece)
    data = b"".join(pieces)
    yield data, data


def _lines(stream: Stream, limit: int | None) -> Iterator[tuple[bytes, bytes]]:
    """Lines with their ends; empty ones are left out."""
    kept = b""
    number = 0
    while piece := stream.read(_PIECE):
        *lines, kept = (kept + piece).split(b"\n")
        for line in lines:
            number += 1
            if line.strip():
                yield line + b"\n", line + b"\n"
        if limit is not None and len(kept) > limit:
            raise too_large("Line", number + 1, limit)
    if kept.strip():
        yield kept, kept


def _recordio(stream: Stream, limit: int | None) -> Iterator[tuple[bytes, bytes]]:
    """MXNet's: magic number, length, data, padding to four bytes."""
    number = 0
    while head := _read_exactly(stream, 8, may_end=True):
        number += 1
        magic, length = struct.unpack("<II", head)
        if magic != _RECORDIO_MAGIC:
            raise RecordFault(f"Record {number} does not begin as one of RecordIO does. Is SplitType right?")
        if length >> 29:
            raise RecordFault(f"Record {number} is in several parts, which is not read here. Write it in one.")
        _check_length("RecordIO", number, length, limit)
        data = _read_exactly(stream, length)
        padding = _read_exactly(stream, -length % 4)
        yield data, head + data + padding


def _tfrecord(stream: Stream, limit: int | None) -> Iterator[tuple[bytes, bytes]]:
    """TensorFlow's: length, its checksum, data, its checksum. Checksums are passed on, not checked."""
    number = 0
    while head := _read_exactly(stream, 12, may_end=True):
        number += 1
        (length,) = struct.unpack("<Q", head[:8])
        _check_length("TFRecord", number, length, limit)
        data = _read_exactly(stream, length)
        yield data, head + data + _read_exactly(stream, 4)


def _check_length(split_type: str, number: int, length: int, limit: int | None) -> None:
    if length > (limit or 2**31):
        raise too_large(split_type, number, limit or 2**31)


def _read_exactly(stream: Stream, size: int, *, may_end: bool = False) -> bytes:
    data = b""
    while len(data) < size and (piece := stream.read(size - len(data))):
        data += piece
    if len(data) < size and not (may_end and not data):
        raise RecordFault("The object ends in the middle of a record. Is SplitType right, and the file whole?")
    return data


_SPLITTERS: Final[dict[str, Callable[[Stream, int | None], Iterator[tuple[bytes, bytes]]]]] = {
    "None": _whole,
    "Line": _lines,
    "RecordIO": _recordio,
    "TFRecord": _tfrecord,
}
