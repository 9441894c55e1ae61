"""kill -9 of each part in turn: whatever dies, nothing is left running or listening, and the API tells the truth."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from kennel.local import daemon
from kennel.local.remains import holders
from local_service import Client, all_of, is_gone, left_of, wait_until

Start = Callable[[], Client]


def wait_for_the_end_of(family: list[psutil.Process]) -> None:
    wait_until(lambda: all(is_gone(each) for each in family), what=f"the end of {family}")


def parts_of(client: Client, owner: str) -> dict[str, psutil.Process]:
    """The guard of a program, the program itself, and everything under the guard."""
    program = next(
        each for each in holders(lambda marker: marker == f"{client.runs}:{owner}") if "-m" in each.cmdline()
    )
    [script] = [each for each in program.children() if "stand_in" in " ".join(each.cmdline())]
    return {"guard": program, "program": script}


def deployed(client: Client, folder: Path, name: str) -> None:
    (folder / "model.txt").write_text("model")
    client.deploy(name, folder.as_uri(), environment={"FAMILY": "1"})
    assert client.settled_endpoint(name)["EndpointStatus"] == "InService"


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("guard", "the guard process of the job was killed, and the job with it"),
        ("program", "ended by signal 9"),
    ],
)
def test_job_whose_part_is_killed_fails_and_leaves_nothing(client: Client, part: str, reason: str) -> None:
    name, before = f"{part}-killed", {each.pid for each in all_of(client)}
    client.train(name, steps=1000, orders={"step-s": "0.1", "family": "1"})
    client.wait_for_line(name, "step=1")
    family = [each for each in all_of(client) if each.pid not in before]
    assert len(family) >= 5
    parts_of(client, f"training-jobs/{name}")[part].kill()
    job = client.finished_job(name)
    assert job["TrainingJobStatus"] == "Failed"
    assert reason in job["FailureReason"]
    wait_for_the_end_of(family)
    assert {each.pid for each in all_of(client)} <= before


def test_endpoint_whose_guard_is_killed_fails_and_leaves_nothing(client: Client, tmp_path: Path) -> None:
    before = {each.pid for each in all_of(client)}
    deployed(client, tmp_path, "guard-killed")
    family = [each for each in all_of(client) if each.pid not in before]
    assert len(family) >= 3
    parts_of(client, "endpoints/guard-killed/1")["guard"].kill()
    wait_until(lambda: client.endpoint("guard-killed")["EndpointStatus"] == "Failed", what="the endpoint to fail")
    wait_for_the_end_of(family)
    client.sagemaker.delete_endpoint(EndpointName="guard-killed")


def test_service_killed_takes_its_job_and_its_endpoint_along(start: Start, own_runs: Path, tmp_path: Path) -> None:
    client = start()
    deployed(client, tmp_path, "up")
    client.train("job", steps=1000, orders={"step-s": "0.1", "family": "1", "on-sigterm": "ignore"})
    client.wait_for_line("job", "step=1")
    family = all_of(client)
    os.kill(client.state.pid, signal.SIGKILL)
    wait_for_the_end_of(family)
    assert not left_of(own_runs)
    ports = [each.laddr.port for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert client.state.port not in ports


def test_service_and_guard_killed_together_are_cleared_up_by_the_next_service(start: Start, own_runs: Path) -> None:
    client = start()
    client.train("job", steps=1000, orders={"step-s": "0.1", "family": "1"})
    client.wait_for_line("job", "step=1")
    family = [psutil.Process(client.state.pid), *left_of(own_runs)]  # one that cleared its environment is beyond reach
    guard = parts_of(client, "training-jobs/job")["guard"]
    os.kill(client.state.pid, signal.SIGSTOP)  # so that it sees nothing of what happens to the guard
    guard.kill()
    os.kill(client.state.pid, signal.SIGKILL)
    assert daemon.ensure(own_runs).pid != client.state.pid
    wait_for_the_end_of(family)
