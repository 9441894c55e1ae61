"""The log on disk: lines as printed, a time for each, readable while it grows."""

from pathlib import Path

from kennel.local.log_file import LONGEST_LINE, LogReader, LogWriter, read_events, tail, times_file


def test_lines_have_numbers_and_times_that_never_go_back(tmp_path: Path) -> None:
    times = iter([5.0, 4.0, 6.0, 7.0])
    writer = LogWriter(tmp_path / "log.txt", clock=lambda: next(times))
    writer.feed(b"one\ntw")
    writer.feed(b"o\r\n")
    writer.feed(b"\nthree")
    assert [event.message for event in read_events(tmp_path / "log.txt")] == ["one", "two", ""]
    writer.close()
    events = read_events(tmp_path / "log.txt")
    assert [(event.number, event.message) for event in events] == [(0, "one"), (1, "two"), (2, ""), (3, "three")]
    assert [event.time_ms for event in events][:2] == [5000, 5000]


def test_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    reader = LogReader(tmp_path / "log.txt")
    assert reader.new_events() == []
    writer = LogWriter(tmp_path / "log.txt")
    writer.feed(b"one\ntwo\nthr")
    assert [event.message for event in reader.new_events()] == ["one", "two"]
    writer.feed(b"ee\n")
    assert [(event.number, event.message) for event in reader.new_events()] == [(2, "three")]
    assert reader.new_events() == []
    writer.close()


def test_long_line_is_split_and_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.txt")
    writer.feed(b"x" * (LONGEST_LINE + 5) + b"\n\xff\xfe\n")
    writer.close()
    events = read_events(tmp_path / "log.txt")
    assert [len(event.message) for event in events] == [LONGEST_LINE, 5, 2]
    assert events[2].message == "\ufffd\ufffd"


def test_line_whose_time_was_not_written_takes_the_time_before(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.txt", clock=lambda: 7.0)
    writer.feed(b"one\n")
    writer.close()
    with (tmp_path / "log.txt").open("a") as stream:
        stream.write("two\n")
    assert [event.time_ms for event in read_events(tmp_path / "log.txt")] == [7000, 7000]
    times_file(tmp_path / "log.txt").unlink()
    assert [event.message for event in read_events(tmp_path / "log.txt")] == ["one", "two"]


def test_tail_is_the_last_lines_with_something_in_them(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.txt")
    writer.feed(b"1\n2\n\n3\n \n")
    writer.close()
    assert tail(tmp_path / "log.txt", lines=2) == "2\n3"
    assert tail(tmp_path / "none.txt") == ""
