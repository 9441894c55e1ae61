"""A batch transform planned from a folder, and what is shown of its outputs."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kennel.errors import DataError, KennelError
from kennel.launch.places import Place
from kennel.launch.resources import Resources
from kennel.launch.transform import Choices, concurrent, plan_transform
from kennel.launch.transform_command import answers_table, follow_transform
from kennel.launch.transform_files import Folder


def folder_of(path: Path, *names: str) -> Folder:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("x")
    return Folder(path)


@pytest.mark.parametrize(
    ("names", "content_type", "split_type", "strategy"),
    [
        (("a.jpg", "b.JPEG", "sub/c.jpg", ".DS_Store", ".cache/x.txt"), "image/jpeg", "None", None),
        (("a.jpg", "b.png"), "application/x-image", "None", None),
        (("a.jsonl", "b.ndjson"), "application/json", "Line", "SingleRecord"),
        (("a.json",), "application/json", "None", None),
        (("a.csv",), "text/csv", "Line", "SingleRecord"),
    ],
)
def test_format_is_found_by_the_names(
    tmp_path: Path, names: tuple[str, ...], content_type: str, split_type: str, strategy: str | None
) -> None:
    plan = plan_transform("first", folder_of(tmp_path / "in", *names), Folder(tmp_path / "out"))
    assert (plan.content_type, plan.split_type, plan.strategy) == (content_type, split_type, strategy)
    assert plan.accept == ("text/csv" if content_type == "text/csv" else "application/jsonlines")
    assert plan.files == len([name for name in names if not name.startswith(".")])
    assert plan.name.startswith("first-batch-")


def test_what_is_asked_for_counts(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", "a.txt", "b.jpg")
    choices = Choices(
        name="mine",
        content_type="text/plain",
        accept="x/y",
        split_type="Line",
        strategy="MultiRecord",
        max_payload_mb=60,
        is_joined=True,
    )
    plan = plan_transform("first", source, Folder(tmp_path / "out"), choices)
    assert concurrent(plan, Place("local", "role", "train", "serve", "ml.m5.large"), Resources("ml.m5.large")) == 1
    assert (plan.name, plan.content_type, plan.accept, plan.split_type) == ("mine", "text/plain", "x/y", "Line")
    assert (plan.strategy, plan.is_joined) == ("MultiRecord", True)


def test_requests_are_as_many_as_keep_the_cores_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    source, target = folder_of(tmp_path / "in", "a.jpg"), Folder(tmp_path / "out")
    here, there = (Place(name, "role", "train", "serve", "ml.m5.large") for name in ("local", "aws"))

    def at_once(place: Place, instance: str = "ml.c7i.4xlarge", **choices: Any) -> int:  # noqa: ANN401
        return concurrent(plan_transform("first", source, target, Choices(**choices)), place, Resources(instance))

    assert at_once(here) == 64 and at_once(here, max_payload_mb=10) == 10 and at_once(here, max_concurrent=7) == 7
    assert at_once(there) == 16 and at_once(there, max_payload_mb=10) == 10 and at_once(there, max_concurrent=7) == 7
    sizes = {"ml.c7i.large": 2, "ml.c7i.xlarge": 4, "ml.c7i.2xlarge": 8, "ml.c7i.metal-48xl": 1}
    assert {size: at_once(there, size) for size in sizes} == sizes


@pytest.mark.parametrize(
    ("names", "target", "choices", "message"),
    [
        ((), "out", {}, "There is no folder .*in. --input names a folder"),
        ((".hidden",), "out", {}, "has no files"),
        (("a.jpg",), "in/out", {}, "is inside --input .*: the next transform would read its outputs"),
        (("a.jpg",), "in", {}, "is inside --input"),
        (("a.jpg",), "full", {}, "is there already and not empty. Name another folder, or delete it first"),
        (("a.jpg",), "file", {}, "file is a file. Name a folder"),
        (("a.jpg", "notes.txt"), "out", {}, "notes.txt is of no kind that is known by its name"),
        (("a.jpg", "b.jsonl"), "out", {}, "b.jsonl is application/json and .*a.jpg is image/jpeg: .* one content type"),
        (("a.jpg",), "out", {"max_concurrent": 0}, "--max-concurrent 0: at least 1"),
        (("a.jpg",), "out", {"max_payload_mb": 101}, "--max-payload 101: expected 1 to 100 MB, or 0"),
        (("a.jpg",), "out", {"name": "no_name"}, "Transform job name 'no_name' is not one SageMaker takes"),
    ],
)
def test_folders_that_cannot_be_used_are_refused(
    tmp_path: Path, names: tuple[str, ...], target: str, choices: dict[str, Any], message: str
) -> None:
    folder_of(tmp_path / "full", "old.out")
    (tmp_path / "file").touch()
    folder_of(tmp_path / "in", *names)
    with pytest.raises(KennelError, match=message):
        plan_transform("first", Folder(tmp_path / "in"), Folder(tmp_path / target), Choices(**choices))


def test_missing_input_is_the_datas_fault(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        plan_transform("first", Folder(tmp_path / "none"), Folder(tmp_path / "out"))


def test_answers_are_shown_in_short(tmp_path: Path) -> None:
    prediction = {"label": "Pug", "probability": 0.987, "abstain": False}
    unsure = {"label": "Cat", "probability": 0.3, "abstain": True}
    answers = {
        "a.jpg.out": json.dumps(prediction) + "\n",
        "b.jpg.out": json.dumps({"predictions": [unsure], "model": {}}),
        "c.jsonl.out": json.dumps({"id": 1, "SageMakerOutput": prediction}),
        "d.csv.out": "1,2,3\n4,5,6\n",
        "e.bin.out": "x" * 200,
        "f.jpg.out": "not shown",
    }
    for name, text in answers.items():
        (tmp_path / name).write_text(text)
    assert answers_table(Folder(tmp_path)).splitlines() == [
        "  a.jpg    Pug  98.7%",
        "  b.jpg    Cat?  30.0%",
        "  c.jsonl  Pug  98.7%",
        "  d.csv    1,2,3",
        f"  e.bin    {'x' * 60}...",
    ]


class StoppableSageMaker:
    """A transform job that runs until it is stopped."""

    def __init__(self) -> None:
        self.status = "InProgress"

    def describe_transform_job(self, **named: str) -> dict[str, Any]:
        return {"TransformJobStatus": self.status, **named}

    def stop_transform_job(self, **named: str) -> None:
        self.status = "Stopped"


def test_ctrl_c_stops_the_job_and_waits_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_transform("first", folder_of(tmp_path / "in", "a.jpg"), Folder(tmp_path / "out"), Choices(name="mine"))
    sagemaker = StoppableSageMaker()
    place = Place("local", "role", "train", "serve", "ml.m5.large")
    place.__dict__["sagemaker"] = sagemaker  # a cached property

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kennel.launch.transform_command.time.sleep", interrupted)
    description = follow_transform(plan, place)
    assert description == {"TransformJobStatus": "Stopped", "TransformJobName": "mine"}
    assert "stopping mine (again Ctrl-C leaves it running)" in capsys.readouterr().err
