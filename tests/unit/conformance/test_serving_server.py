"""What is read from a container: processes, listening addresses, the reason in a log; and what follows from them."""

import pytest

from kennel.conformance.findings import Verdict
from kennel.conformance.serving_life import _bad_archive, _victims, start_limit_s
from kennel.conformance.serving_probe import Answer, Sample
from kennel.conformance.serving_server import (
    Launch,
    Process,
    _is_loopback_only,
    family,
    parse_listening,
    parse_processes,
    reason_in,
)

TAIL = "1 1 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 {started} 1 2"


def stat(pid: int, parent: int, name: str = "python3", *, state: str = "S", started: int = 0) -> str:
    """A line of /proc/<pid>/stat."""
    return f"{pid} ({name}) {state} {parent} " + TAIL.format(started=started)


def test_processes_are_read_whatever_their_names_hold() -> None:
    text = "\n".join([stat(1, 0, "serve", started=100), stat(7, 1, "a) S 9 (b", started=120), "garbage"])
    assert parse_processes(text) == [Process(1, 0, 100, "serve"), Process(7, 1, 120, "a) S 9 (b")]


def test_what_has_ended_or_came_by_docker_exec_is_not_of_the_family() -> None:
    lines = [stat(1, 0), stat(7, 1), stat(9, 7), stat(8, 1, state="Z"), stat(30, 0, "sh"), stat(31, 30, "cat")]
    assert [each.pid for each in family(parse_processes("\n".join(lines)))] == [1, 7, 9]


def test_victims_are_the_youngest_leaf_and_who_started_it() -> None:
    serve, java, parent = Process(1, 0, 10, "serve"), Process(5, 1, 30, "java"), Process(4, 1, 20, "python")
    workers = [Process(6, 4, 40, "python"), Process(7, 4, 40, "python")]
    assert _victims([serve, java, parent, *workers]) == [workers[1], parent]
    assert _victims([serve, java]) == [java]


NET = """  sl  local_address rem_address   st tx_queue
   0: {address}:1F90 00000000:0000 0A 00000000:00000000
   1: 0B00007F:89BB 00000000:0000 0A 00000000:00000000
   2: 020012AC:1F90 010012AC:A8EA 06 00000000:00000000
"""


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [
        ("0100007F", True),
        ("00000000", False),
        ("020012AC", False),
        ("00000000000000000000000001000000", True),
        ("0000000000000000FFFF00000100007F", True),
        ("00000000000000000000000000000000", False),
    ],
)
def test_the_kernel_tells_who_can_reach_a_port(address: str, is_loopback: bool) -> None:
    addresses = parse_listening(NET.format(address=address), 8080)
    assert addresses == [address]
    assert _is_loopback_only(addresses) is is_loopback


def test_one_open_address_is_enough_and_none_is_no_loopback() -> None:
    assert not _is_loopback_only(["0100007F", "00000000"])
    assert not _is_loopback_only(parse_listening(NET.format(address="0100007F"), 9090))


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("loading\nERROR ArchiveError: no model.json\nbye\n", "ERROR ArchiveError: no model.json"),
        ("ValueError: bad magic\nWARNING something failed later\n", "ValueError: bad magic"),
        ("model could not be read\nended\n", "model could not be read"),
        ("INFO listening\n", ""),
        ("", ""),
    ],
)
def test_the_reason_is_the_line_that_speaks_of_a_failure(log: str, reason: str) -> None:
    assert reason_in(log) == reason


SAMPLE = Sample(b"", "image/jpeg")


@pytest.mark.parametrize(
    ("launch", "log", "verdict"),
    [
        (Launch(None, "ended"), "ERROR cannot be read", Verdict.PASS),
        (Launch(None, "ended"), "bye", Verdict.WARN),
        (Launch(1.0, first=Answer(500), last=Answer(500)), "", Verdict.FAIL),
        (Launch(1.0, first=Answer(200), last=Answer(200)), "", Verdict.WARN),
    ],
)
def test_a_bad_archive_must_not_be_healthy(launch: Launch, log: str, verdict: Verdict) -> None:
    assert _bad_archive("garbage", launch, log, 10.0, SAMPLE).verdict is verdict


def test_without_a_known_request_a_healthy_server_with_a_bad_archive_is_a_warning() -> None:
    assert _bad_archive("empty", Launch(1.0), "", 10.0, None).verdict is Verdict.WARN


def test_a_start_that_may_fail_is_not_waited_for_four_minutes() -> None:
    assert start_limit_s(Launch(5.0)) == 25.0
