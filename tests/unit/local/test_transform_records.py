"""Objects cut into records, records put into requests."""

import io
import struct
import tracemalloc

import pytest

from kennel.local.transform_records import MB, RecordFault, batches, filtered, read_records


def split(data: bytes, split_type: str, *, limit_bytes: int = MB, is_framed: bool = False) -> list[bytes]:
    stream = io.BytesIO(data)
    return [each.data for each in read_records(stream, split_type, limit_bytes=limit_bytes, is_framed=is_framed)]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"one", [b"one"]),
        (b"one\ntwo\n", [b"one\n", b"two\n"]),
        (b"one\r\n\r\ntwo", [b"one\r\n", b"two"]),
        ("ä\u2028b\nc".encode(), ["ä\u2028b\n".encode(), b"c"]),
    ],
)
def test_lines_end_at_newlines_and_empty_ones_are_left_out(data: bytes, lines: list[bytes]) -> None:
    assert split(data, "Line") == lines


def test_lines_longer_than_what_is_read_at_once_stay_whole() -> None:
    lines = [b"x" * size + b"\n" for size in (300_000, 1, 900_000)]
    assert split(b"".join(lines), "Line") == lines


def test_object_without_splitting_is_one_record_also_when_empty() -> None:
    assert split(b"a\nb", "None") == [b"a\nb"]
    assert split(b"", "None") == [b""]
    assert split(b"x" * (3 * MB), "None", limit_bytes=0) == [b"x" * (3 * MB)]


@pytest.mark.parametrize(("split_type", "what"), [("None", "The object"), ("Line", "Line 2")])
def test_record_over_the_limit_is_named_and_not_read_to_its_end(split_type: str, what: str) -> None:
    class Endless(io.RawIOBase):
        position = 0

        def read(self, size: int = -1, /) -> bytes:
            self.position += 1
            assert self.position < 50, "it reads on and on"
            return b"short\n" + b"x" * 100_000 if self.position == 1 else b"x" * 100_000

    with pytest.raises(RecordFault, match=f"Too much data for max payload size. {what} has more than 1 MB"):
        list(read_records(Endless(), split_type, limit_bytes=MB, is_framed=False))


def test_a_large_file_of_lines_needs_little_memory() -> None:
    data = (b"x" * 999 + b"\n") * 40_000  # 40 MB
    tracemalloc.start()
    count = sum(1 for _ in read_records(io.BytesIO(data), "Line", limit_bytes=MB, is_framed=False))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 40_000
    assert peak < 4 * MB


def record_io(data: bytes) -> bytes:
    return struct.pack("<II", 0xCED7230A, len(data)) + data + b"\0" * (-len(data) % 4)


def tf_record(data: bytes) -> bytes:
    return struct.pack("<QI", len(data), 1) + data + struct.pack("<I", 2)


@pytest.mark.parametrize(("split_type", "frame"), [("RecordIO", record_io), ("TFRecord", tf_record)])
def test_binary_records(split_type: str, frame: "type[bytes]") -> None:
    data = [b"", b"a", b"four", b"x" * 70_000]
    packed = b"".join(map(frame, data))
    assert split(packed, split_type) == data
    assert split(packed, split_type, is_framed=True) == [frame(each) for each in data]
    with pytest.raises(RecordFault, match="ends in the middle of a record"):
        split(packed[:-3], split_type)
    with pytest.raises(RecordFault, match="Record 1 has more than 0.0476837 MB"):
        split(frame(b"x" * 70_000), split_type, limit_bytes=50_000)


def test_record_io_of_another_kind_is_refused() -> None:
    with pytest.raises(RecordFault, match="Record 1 does not begin as one of RecordIO"):
        split(b"a line of text", "RecordIO")
    with pytest.raises(RecordFault, match="Record 1 is in several parts"):
        split(struct.pack("<II", 0xCED7230A, 1 << 29), "RecordIO")


def test_batches_are_filled_up_to_the_limit_by_what_is_sent() -> None:
    records = list(read_records(io.BytesIO(b"aaaa\n" * 5), "Line", limit_bytes=MB, is_framed=False))
    assert [len(batch) for batch in batches(records, "SingleRecord", limit_bytes=100)] == [1] * 5
    assert [len(batch) for batch in batches(records, "MultiRecord", limit_bytes=11)] == [2, 2, 1]
    assert [len(batch) for batch in batches(records, "MultiRecord", limit_bytes=0)] == [5]
    short = filtered(records, lambda record: record.data[:1])
    assert [len(batch) for batch in batches(short, "MultiRecord", limit_bytes=3)] == [3, 2]
