"""kennel.local.nursery: which tuning jobs get a process that their trials are forked from, and what it is told."""

from pathlib import Path
from typing import Any

import pytest

from kennel.local.nursery import Nursery
from kennel.local.places import place_tag
from kennel.local.processes import Program
from kennel.local.service import Service
from kennel.local.settings import Layout, Settings


class _Running:
    program = None


def _started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: dict[str, Any], settings: Settings) -> list[Any]:
    machine = Service(Layout(tmp_path), settings, "http://127.0.0.1:1").machine
    programs: list[Program] = []
    monkeypatch.setattr(machine.processes, "start", lambda program: programs.append(program) or _Running())
    monkeypatch.setattr(machine.processes, "end", lambda running: programs.append(running))
    nursery = Nursery(request, machine)
    nursery.start()
    nursery.stop()
    nursery.stop()  # once is enough
    return programs


def _search(*, trials: int = 20, tags: tuple[dict[str, str], ...] = (), **definition: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "HyperParameterTuningJobName": "search",
        "HyperParameterTuningJobConfig": {"ResourceLimits": {"MaxNumberOfTrainingJobs": trials}},
        "TrainingJobDefinition": definition,
        "Tags": list(tags),
    }


def test_a_search_gets_a_nursery_in_its_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = _search(Environment={"OMP_NUM_THREADS": "1"})
    program, ended = _started(tmp_path, monkeypatch, request, Settings())
    assert program.owner == "hyper-parameter-tuning-jobs/search"
    assert program.command[-2:] == ("kennel.training.nursery", str(tmp_path / "search" / "shared"))
    assert program.environ["OMP_NUM_THREADS"] == "1"
    assert isinstance(ended, _Running)


@pytest.mark.parametrize(
    "request_",
    [
        _search(trials=1),
        _search(tags=(place_tag("docker"),)),
        _search(StaticHyperParameters={"sagemaker_program": "mine.py"}),
        _search(Environment={"KENNEL_SHARED_DIR": ""}),
    ],
    ids=["one trial", "containers", "somebody's script", "nothing shared"],
)
def test_a_search_without_use_for_a_nursery_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: dict[str, Any]
) -> None:
    assert _started(tmp_path, monkeypatch, request_, Settings()) == []


def test_other_programs_than_kennels_have_no_nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _started(tmp_path, monkeypatch, _search(), Settings(train_command=("stand-in",))) == []
