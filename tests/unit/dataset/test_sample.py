"""The drawn data set: the same for the same seed, whole or not there, and not to be guessed from colours."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.dataset import sample
from kennel.dataset.check import check_folder
from kennel.dataset.folders import find_folder
from kennel.dataset.sample import COATS, make_sample
from kennel.errors import DataError, UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("sample") / "coats", images_per_class=20, size_px=48)


def test_sample_is_a_sound_data_set_of_eight_coats(made: Path) -> None:
    report = check_folder(made)

    assert report.findings == ()
    assert report.dataset is not None
    assert report.dataset.layout == "split"
    assert tuple(each.label for each in report.dataset.classes) == COATS
    assert all(by_split == {"train": 16, "valid": 2, "test": 2} for by_split in report.counts.values())


def test_sample_has_pictures_of_the_size_asked_for(made: Path) -> None:
    with Image.open(made / "train" / "001.Solid" / "solid_00010.jpg") as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (48, 48))


def test_sample_is_the_same_for_the_same_seed_only(tmp_path: Path) -> None:
    digests = [
        find_folder(make_sample(tmp_path / name, images_per_class=3, size_px=32, seed=seed), seed=0).digest()
        for name, seed in (("one", 1), ("same", 1), ("two", 2))
    ]

    assert digests[0] == digests[1] != digests[2]


def test_sample_keeps_its_first_pictures_when_there_are_more(tmp_path: Path) -> None:
    few = make_sample(tmp_path / "few", images_per_class=3, size_px=32)
    many = make_sample(tmp_path / "many", images_per_class=4, size_px=32)

    name = Path("train", "004.Merle", "merle_00002.jpg")
    assert (few / name).read_bytes() == (many / name).read_bytes()


def test_sample_leaves_its_own_folder_alone(tmp_path: Path) -> None:
    folder = make_sample(tmp_path / "coats", images_per_class=3, size_px=32)
    path = folder / "train" / "001.Solid" / "solid_00002.jpg"
    before = path.stat().st_mtime_ns

    assert make_sample(folder, images_per_class=3, size_px=32) == folder
    assert path.stat().st_mtime_ns == before


def test_sample_reports_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    make_sample(
        tmp_path / "coats", images_per_class=3, size_px=32, progress=lambda done, total: seen.append((done, total))
    )

    assert seen == [(number, 24) for number in range(1, 25)]


def test_sample_fills_an_empty_folder(tmp_path: Path) -> None:
    assert (make_sample(tmp_path, images_per_class=3, size_px=32) / "test" / "008.Harlequin").is_dir()


@pytest.mark.parametrize("other", ["photo.jpg", "sample.json"])
def test_sample_refuses_a_folder_with_something_else(tmp_path: Path, other: str) -> None:
    (tmp_path / other).write_text("{}")

    with pytest.raises(DataError, match="is not this sample. Name another folder"):
        make_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [other]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"images_per_class": 2}, "2 images per class: expected 3"),
        ({"size_px": 16}, "Pictures of 16 px: expected 32 to 1024"),
        ({"seed": -1}, "Seed -1 is negative"),
    ],
)
def test_sample_refuses_what_cannot_be_drawn(tmp_path: Path, request_: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_sample(tmp_path / "coats", **request_)
    assert not (tmp_path / "coats").exists()


def test_sample_leaves_nothing_behind_when_drawing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(coat: str, *_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "draw_dog", fail)

    with pytest.raises(OSError, match="No space left"):
        make_sample(tmp_path / "coats", images_per_class=3, size_px=32)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def drawn(made: Path) -> tuple[np.ndarray, np.ndarray]:
    """20 pictures of each coat, (160, 48, 48, 3), and their targets."""
    paths = sorted(made.glob("*/*/*.jpg"), key=lambda path: (path.parent.name, path.name))
    images = np.stack([np.asarray(Image.open(path), dtype=np.float64) / 255 for path in paths])
    return images, np.repeat(np.arange(len(COATS)), 20)


def nearest_class_mean_accuracy(features: np.ndarray, targets: np.ndarray) -> float:
    """Learned from every second picture, measured on the others; chance is 1 in 8."""
    known, asked = slice(0, None, 2), slice(1, None, 2)
    features = (features - features[known].mean(0)) / (features[known].std(0) + 1e-9)
    means = np.stack([features[known][targets[known] == target].mean(0) for target in range(len(COATS))])
    distances = np.linalg.norm(features[asked][:, None] - means, axis=-1)
    return float((distances.argmin(1) == targets[asked]).mean())


def test_sample_is_not_given_away_by_colour_or_place(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    images, targets = drawn
    flat = images.reshape(len(images), -1, 3)
    histograms = np.stack([np.histogramdd(image, bins=4, range=[(0, 1)] * 3)[0].ravel() for image in flat])
    shortcuts = {
        "mean colour": flat.mean(1),
        "colour histogram": histograms,
        "thumbnail": images.reshape(len(images), 6, 8, 6, 8, 3).mean((2, 4)).reshape(len(images), -1),
        "background": images[:, :6].reshape(len(images), -1),
    }

    accuracies = {name: nearest_class_mean_accuracy(features, targets) for name, features in shortcuts.items()}

    assert max(accuracies.values()) < 0.4, accuracies


def test_sample_coats_differ_in_more_than_chance(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """Even a crude measure of texture tells coats apart far above 1 in 8, so there is something to learn."""
    images, targets = drawn
    centre = images[:, 12:36, 12:36].mean(-1)
    textures = np.stack(
        [np.abs(np.diff(centre[:, ::step, ::step], axis=axis)).mean((1, 2)) for step in (1, 2, 4) for axis in (1, 2)],
        -1,
    )

    assert nearest_class_mean_accuracy(np.log(textures), targets) > 0.25
