"""Which pictures a rehearsal takes, and what it makes of the log of its training."""

import json
from collections import Counter
from pathlib import Path

import pytest

from kennel.dataset import folders
from kennel.errors import KennelError, UserError
from kennel.hyperparameters import read_hyperparameters
from kennel.images import decode
from kennel.launch.jobs import TrainingJob
from kennel.launch.preflight import rehearsal_pictures
from kennel.launch.preflight.rehearsal import Pace, _environment, read_pace, remember
from kennel.launch.preflight.rehearsal_pictures import Counts, Picture, Pictures, bring_file, find_pictures


def flat(classes: int, each: int, split: str = "") -> tuple[Picture, ...]:
    return tuple(Picture(split, f"c{c:03}", f"{n:03}.jpg", f"/{c}/{n}") for c in range(classes) for n in range(each))


def by_split(pictures: Pictures) -> Counter[str]:
    return Counter(each.split for each in pictures.pictures)


def test_names_are_read_as_a_training_reads_them() -> None:
    assert rehearsal_pictures.EXTENSIONS == decode.EXTENSIONS
    assert rehearsal_pictures.SPLITS == folders.SPLIT_NAMES
    assert rehearsal_pictures.HELD_OUT_SHARE == folders.HELD_OUT_SHARE


def test_pictures_are_found_in_either_layout(tmp_path: Path) -> None:
    for name in ("train/a/1.jpg", "val/a/2.PNG", "test/b/3.jpg", "train/.x/4.jpg", "train/a/no.txt", "note.jpg"):
        (tmp_path / "split" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "split" / name).touch()
    found = find_pictures({"data": (tmp_path / "split").as_uri(), "weights": "file:///none"}, None)
    assert [(each.split, each.label, each.name) for each in found.pictures] == [
        ("test", "b", "3.jpg"),
        ("train", "a", "1.jpg"),
        ("valid", "a", "2.PNG"),
    ]
    one = find_pictures({"validation": (tmp_path / "split" / "train").as_uri()}, None)
    assert [each.split for each in one.pictures] == ["valid"]
    with pytest.raises(UserError, match="There is no picture in class folders at file:///"):
        find_pictures({"data": (tmp_path / "none").as_uri()}, None)


def test_what_is_not_split_is_counted_as_a_training_splits_it() -> None:
    assert Pictures(flat(2, 50)).counts == Counts(80, 10, 10)
    assert Pictures((*flat(2, 50, "train"), *flat(2, 5, "test"))).counts == Counts(90, 10, 10)
    assert Pictures((*flat(2, 50, "train"), *flat(2, 5, "valid"))).counts == Counts(100, 10, 0)


def test_a_sample_has_every_class_and_the_wholes_shares() -> None:
    whole = Pictures((*flat(5, 80, "train"), *flat(5, 20, "valid"), *flat(5, 9, "test")))
    few = whole.sample(50)
    assert by_split(few) == {"train": 40, "valid": 10}
    assert len({each.label for each in few.pictures}) == 5
    assert len({each.source for each in few.pictures if each.split == "train"}) == 40


def test_a_sample_of_few_has_few_classes_and_each_can_be_trained_and_validated() -> None:
    few = Pictures(flat(120, 10)).sample(9)
    assert by_split(few) == {"train": 6, "valid": 3}
    assert [label for label, _ in Counter(each.label for each in few.pictures).items()] == ["c000", "c040", "c080"]
    everything = Pictures(flat(2, 4)).sample(1000)
    assert by_split(everything) == {"train": 6, "valid": 2}
    with pytest.raises(UserError, match="two classes with three pictures each"):
        Pictures((*flat(1, 9), *flat(2, 2))).sample(9)


def test_the_files_are_copied_into_splits(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    pictures = Pictures(
        (Picture("train", "x", "1.jpg", str(tmp_path / "a")), Picture("valid", "x", "2.jpg", str(tmp_path / "b")))
    )
    pictures.bring(tmp_path / "few", None)
    assert (tmp_path / "few/train/x/1.jpg").read_text() == "a" and (tmp_path / "few/valid/x/2.jpg").read_text() == "b"
    assert bring_file((tmp_path / "a").as_uri(), tmp_path, None) == tmp_path / "a"


def made_run(folder: Path, *lines: str, seconds: int = 30) -> Path:
    (folder / "log.txt").write_text("\n".join(lines))
    (folder / "job.json").write_text(json.dumps({"description": {"TrainingTimeInSeconds": seconds}}))
    return folder


DATA = "data classes=20 train=800 valid=200 test=0 layout=split split-seed=None digest=a7bd"
EPOCH = "epoch=2/2 train_loss=1 train_accuracy=0.9 valid_loss=1 valid_accuracy=0.8 valid_top5=1"


def test_the_pace_is_that_of_the_last_epoch(tmp_path: Path) -> None:
    first = EPOCH.replace("epoch=2", "epoch=1")
    run = made_run(
        tmp_path,
        "device=cpu threads=2 readers=2",
        DATA,
        f"{first} images_per_s=50 seconds=20",
        f"{EPOCH} images_per_s=200 seconds=5",
    )
    pace = read_pace(run)
    assert pace == Pace(5.0, 0.0, 0.005, 0.005, "device=cpu threads=2 readers=2")
    settings = read_hyperparameters({"epochs": "10", "trainable": "all"})
    assert pace.expected_s(Counts(8000, 1000, 1000), settings) == pytest.approx(5 + 10 * 45 + 5)


def test_features_of_a_frozen_backbone_are_made_once_a_view(tmp_path: Path) -> None:
    run = made_run(
        tmp_path, DATA, "features pictures=1000 took_s=10.0 shared=off", f"{EPOCH} images_per_s=80000 seconds=0.01"
    )
    pace = read_pace(run)
    assert pace.once_s == 0.01 and pace.start_s == pytest.approx(19.99)
    settings = read_hyperparameters({"epochs": "10", "views": "4"})
    assert pace.expected_s(Counts(8000, 1000, 1000), settings) == pytest.approx(20 + 0.01 * 34000 + 1, abs=0.1)


def test_a_log_that_does_not_say_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(KennelError, match="log.txt does not say how fast the training was"):
        read_pace(made_run(tmp_path, DATA))


def test_nothing_of_aws_reaches_the_rehearsal() -> None:
    given = {"AWS_ENDPOINT_URL": "http://x", "AWS_PROFILE": "me", "KENNEL_RUNS": "/r", "PATH": "/bin"}
    assert _environment(given) == {"KENNEL_RUNS": "/r", "PATH": "/bin"}


def test_an_earlier_training_on_the_same_pictures_says_how_long_it_takes(tmp_path: Path) -> None:
    def ran(name: str, *, digest: str = "a7bd", status: str = "Completed", more: str = "", **settings: str) -> None:
        told = " ".join(f"{key}={value}" for key, value in read_hyperparameters(settings).to_mapping().items())
        data = DATA.replace("digest=a7bd", f"digest={digest}")
        (tmp_path / name).mkdir()
        made_run(tmp_path / name, f"settings {told}", data, more, f"{EPOCH} images_per_s=200 seconds=5", seconds=15)
        content = {"description": {"TrainingTimeInSeconds": 15, "TrainingJobStatus": status}}
        (tmp_path / name / "job.json").write_text(json.dumps(content))

    def found(**settings: str) -> str | None:
        known = remember(TrainingJob("new", {}, settings), digest="a7bd" + "0" * 60, runs=tmp_path)
        return known.name if known else None

    digest = ("a7bd" + "0" * 60)[:16]
    assert found() is None
    ran("others", digest="ffff")
    ran("stopped", digest=digest, status="Stopped")
    ran("shared", digest=digest, more="features pictures=1000 took_s=0.1 shared=read")
    assert found() is None
    ran("first", digest=digest, epochs="2")
    assert found(epochs="10") == "first" and found(backbone="resnet34") is None
    known = remember(TrainingJob("new", {}, {"epochs": "10"}), digest=digest, runs=tmp_path)
    assert known is not None and known.expected_s == pytest.approx(10 + 10 * 5)
    assert known.lines[0] == "time: as first took on these pictures, on this machine"
