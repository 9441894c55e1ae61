"""The data check: each thing that can be wrong, with its message, and what is left to train on."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.dataset.check import CheckReport, check_dataset, check_folder, without
from kennel.dataset.folders import find_folder

MakeFolder = Callable[..., Path]
RED = "001.Red"


def kinds(report: CheckReport) -> list[tuple[str, str]]:
    return [(finding.severity, finding.kind) for finding in report.findings]


def picture(seed: int, side_px: int = 24) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def folder(make_folder: MakeFolder) -> Path:
    """12 train, 4 valid and 4 test pictures in each of three classes, nothing wrong with them."""
    return make_folder()


def test_check_finds_nothing_in_a_good_folder(folder: Path) -> None:
    report = check_folder(folder)

    assert report.findings == ()
    assert report.is_fit
    assert report.counts[RED] == {"train": 12, "valid": 4, "test": 4}
    assert report.table().endswith("Fit for training (0 warnings).")


def test_check_finds_a_text_file_named_jpg(folder: Path) -> None:
    path = folder / "train" / RED / "notes.jpg"
    path.write_text("not a picture at all")

    report = check_folder(folder)

    assert kinds(report) == [("error", "not_an_image")]
    assert report.findings[0].paths == report.skippable == (path,)
    assert str(path) in report.findings[0].message
    assert "is not an image" in report.findings[0].message


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_check_finds_a_truncated_jpeg(folder: Path, share: float) -> None:
    path = folder / "valid" / RED / "red_000.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])

    report = check_folder(folder)

    assert kinds(report) == [("error", "truncated")]
    assert f"{path} is cut short or damaged" in report.findings[0].message


def test_check_finds_a_file_of_no_bytes(folder: Path) -> None:
    path = folder / "train" / RED / "red_000.jpg"
    path.write_bytes(b"")

    for report in (check_folder(folder), check_dataset(find_folder(folder, seed=0), decode=False)):
        assert kinds(report) == [("error", "broken")]
        assert f"{path} is empty (0 bytes)" in report.findings[0].message


def test_check_finds_a_format_that_is_not_read(folder: Path) -> None:
    (folder / "train" / RED / "drawing.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'></svg>")

    report = check_folder(folder)

    assert kinds(report) == [("error", "not_an_image")]
    assert "Convert it to" in report.findings[0].message


def test_check_finds_a_picture_of_too_many_pixels(folder: Path) -> None:
    Image.new("1", (8000, 8000)).save(folder / "train" / RED / "huge.png")

    report = check_folder(folder)

    assert kinds(report) == [("error", "too_large")]
    assert "8000 x 8000" in report.findings[0].message


@pytest.mark.parametrize("decode", [True, False])
def test_check_finds_a_file_that_vanished_or_may_not_be_read(folder: Path, decode: bool) -> None:
    dataset = find_folder(folder, seed=0)
    path = folder / "train" / RED / "red_000.jpg"
    path.unlink()

    report = check_dataset(dataset, decode=decode)

    assert kinds(report) == [("error", "broken")]
    assert report.findings[0].message.startswith(f"{path} cannot be read (No such file or directory).")


def test_check_finds_a_leak_between_splits(folder: Path) -> None:
    source = folder / "test" / RED / "red_000.jpg"
    copy = folder / "train" / RED / "copy.jpg"
    shutil.copy(source, copy)

    report = check_folder(folder)

    assert kinds(report) == [("error", "leak")]
    assert report.findings[0].paths == (copy,)
    assert report.findings[0].others == (source,)
    assert f"{copy} (train) is the same picture as {source} (test)" in report.findings[0].message


def test_check_finds_the_same_pixels_in_another_format_only_when_it_decodes(folder: Path) -> None:
    picture(0).save(folder / "train" / RED / "one.png")
    picture(0).save(folder / "valid" / RED / "two.bmp")

    assert kinds(check_folder(folder)) == [("error", "leak")]
    assert check_dataset(find_folder(folder, seed=0), decode=False).findings == ()


def test_check_finds_byte_identical_copies_without_decoding(folder: Path) -> None:
    shutil.copy(folder / "valid" / RED / "red_000.jpg", folder / "train" / RED / "copy.jpg")

    assert kinds(check_dataset(find_folder(folder, seed=0), decode=False)) == [("error", "leak")]


def test_check_tells_pictures_of_the_same_bytes_in_another_shape_apart(folder: Path) -> None:
    Image.new("RGB", (20, 10)).save(folder / "train" / RED / "wide.png")
    Image.new("RGB", (10, 20)).save(folder / "train" / RED / "tall.png")

    assert check_folder(folder).findings == ()


def test_check_warns_of_a_duplicate_within_a_split(folder: Path) -> None:
    shutil.copy(folder / "train" / RED / "red_000.jpg", folder / "train" / RED / "red_000_copy.jpg")

    report = check_folder(folder)

    assert kinds(report) == [("warning", "duplicate")]
    assert report.is_fit
    assert report.skippable == ()
    assert report.findings[0].message.endswith("both in train. Remove one of them.")


def test_check_says_when_a_duplicate_is_in_two_classes(folder: Path) -> None:
    shutil.copy(folder / "train" / RED / "red_000.jpg", folder / "train" / "002.Green" / "copy.jpg")

    report = check_folder(folder)

    assert kinds(report) == [("warning", "duplicate")]
    assert "in another class of train. Remove the wrong one." in report.findings[0].message


def test_check_warns_of_a_class_missing_in_test(folder: Path) -> None:
    shutil.rmtree(folder / "test" / RED)

    report = check_folder(folder)

    assert kinds(report) == [("warning", "missing_class")]
    assert "Class '001.Red' is missing in test" in report.findings[0].message


def test_check_says_nothing_of_classes_when_there_is_no_test(folder: Path) -> None:
    shutil.rmtree(folder / "test")

    assert check_folder(folder).findings == ()


def test_check_refuses_a_class_without_training_pictures(folder: Path) -> None:
    shutil.rmtree(folder / "train" / RED)

    report = check_folder(folder)

    assert kinds(report) == [("error", "missing_class")]
    assert report.dataset is None
    assert "in valid but not in train" in report.table()


def test_check_warns_of_a_class_under_ten_training_pictures(make_folder: MakeFolder) -> None:
    report = check_folder(make_folder(images={"train": 9, "valid": 1}))

    assert kinds(report) == [("warning", "small_class")] * 3
    assert "Class '001.Red' has 9 training pictures, under 10" in report.findings[0].message


def test_check_warns_of_files_that_are_not_used(folder: Path) -> None:
    (folder / "train" / RED / "notes.txt").write_text("about")
    (folder / "train" / RED / "more").mkdir()

    report = check_folder(folder)

    assert kinds(report) == [("warning", "ignored")] * 2
    assert "what is in it is not used. Move its pictures up." in report.findings[0].message
    assert "'.txt' is none of .jpg" in report.findings[1].message


@pytest.mark.parametrize(("classes", "kind"), [((), "empty"), (("001.Red",), "one_class")])
def test_check_reports_folders_that_are_no_data_set(
    make_folder: MakeFolder, classes: tuple[str, ...], kind: str
) -> None:
    folder = make_folder(classes=classes)
    folder.mkdir(exist_ok=True)

    report = check_folder(folder)

    assert kinds(report) == [("error", kind)]
    assert report.table().endswith(f"Not fit for training: 1 {kind}; 0 warnings. Mend what is named above.")


def test_check_reports_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    report = check_folder(tmp_path / "nowhere")

    assert not report.is_fit
    assert "nowhere does not exist. Check the path" in report.table()


def spoil(folder: Path) -> set[Path]:
    """Adds a text, a truncated JPEG, and a picture that is in all splits; the files to leave out."""
    train = folder / "train" / RED
    (train / "notes.jpg").write_text("not a picture")
    encoded = io.BytesIO()
    picture(1).save(encoded, "JPEG")
    (train / "cut.jpg").write_bytes(encoded.getvalue()[:-200])
    for split in ("train", "valid", "test"):
        picture(2).save(folder / split / RED / "everywhere.png")
    return {train / "notes.jpg", train / "cut.jpg", train / "everywhere.png", folder / "valid" / RED / "everywhere.png"}


def test_skipping_leaves_a_data_set_without_errors(folder: Path) -> None:
    bad = spoil(folder)
    report = check_folder(folder)
    assert report.dataset is not None

    rest = without(report.dataset, report.skippable)

    assert set(report.skippable) == bad
    assert check_dataset(rest, decode=True).findings == ()
    assert folder / "test" / RED / "everywhere.png" in {example.path for example in rest.splits["test"]}


def test_check_reports_a_class_that_skipping_emptied(folder: Path) -> None:
    for path in (folder / "train" / RED).iterdir():
        path.write_bytes(b"")
    report = check_folder(folder)
    assert report.dataset is not None

    rest = check_dataset(without(report.dataset, report.skippable), decode=False)

    assert kinds(rest) == [("error", "missing_class")]
    assert "Class '001.Red' has no training picture" in rest.findings[0].message


def test_check_does_not_depend_on_the_number_of_workers(folder: Path) -> None:
    spoil(folder)

    assert check_folder(folder, workers=1) == check_folder(folder, workers=7)


def test_check_reports_progress_for_every_file(folder: Path) -> None:
    seen: list[tuple[int, int]] = []

    check_folder(folder, progress=lambda done, total: seen.append((done, total)))

    assert seen == [(number, 60) for number in range(1, 61)]


def test_table_shows_counts_findings_and_remedy(folder: Path) -> None:
    spoil(folder)

    lines = check_folder(folder).table().splitlines()

    assert lines[0].split() == ["class", "train", "valid", "test"]
    assert lines[1].split() == ["001.Red", "15", "5", "5"]
    assert lines[4].split() == ["total", "39", "13", "13"]
    assert "error: leak (1)" in lines
    assert lines[-1] == (
        "Not fit for training: 1 truncated, 1 not_an_image, 1 leak; 0 warnings. "
        "Mend what is named above, or train without these 4 pictures: -p bad-data=skip."
    )


def test_table_names_three_examples_of_many(folder: Path) -> None:
    for number in range(5):
        (folder / "train" / RED / f"note_{number}.jpg").write_text("text")

    table = check_folder(folder).table()

    assert table.count("is not an image") == 3
    assert "... and 2 more" in table


def test_table_sums_up_many_classes(make_folder: MakeFolder) -> None:
    folder = make_folder(
        classes=tuple(f"{n:03}.Breed{n}" for n in range(31)), images={"train": 10, "valid": 1}, size_px=8
    )

    assert check_folder(folder).table().splitlines()[:4] == [
        "31 classes",
        "  train      310 pictures, 10 to 10 a class",
        "  valid       31 pictures, 1 to 1 a class",
        "  test         0 pictures",
    ]


def test_table_says_what_the_seed_split_off(folder: Path) -> None:
    assert "split off train with seed 4" in check_folder(folder / "train", seed=4).table()


def test_report_is_json(folder: Path) -> None:
    spoil(folder)
    report = check_folder(folder)

    read = json.loads(json.dumps(report.to_json()))

    assert read["is_fit"] is False
    assert read["counts"][RED]["train"] == 15
    assert {finding["kind"] for finding in read["findings"]} == {"truncated", "not_an_image", "leak"}
