"""Folders and channels as data sets: layouts, names, the split by a seed, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel.dataset.folders import ClassName, Dataset, find_dataset, find_folder, without
from kennel.errors import DataError

BREEDS = ("001.Affenpinscher", "002.Afghan_hound")


def write(folder: Path, *names: str) -> Path:
    """Files that are pictures by name; nothing here decodes them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(f"{folder.name}/{name}".encode())
    return folder


def make_split(root: Path, **counts: int) -> Path:
    for split, count in counts.items():
        for breed in BREEDS:
            write(root / split / breed, *(f"{split}_{number}.jpg" for number in range(count)))
    return root


def make_flat(root: Path, *counts: int) -> Path:
    for breed, count in zip(BREEDS, counts, strict=True):
        write(root / breed, *(f"{number:03}.jpg" for number in range(count)))
    return root


def sizes(dataset: Dataset) -> dict[str, int]:
    return {split: len(examples) for split, examples in dataset.splits.items()}


def test_class_name_drops_the_number_and_keeps_the_rest() -> None:
    assert ClassName.of("001.Afghan_hound").label == "Afghan_hound"
    assert ClassName.of("Pug").label == "Pug"
    assert ClassName.of("7.").label == "7."
    assert ClassName.of("v1.2.mixed").label == "v1.2.mixed"


@pytest.mark.parametrize("valid", ["valid", "val", "validation", "Validation"])
def test_find_folder_reads_splits_under_every_usual_name(tmp_path: Path, valid: str) -> None:
    dataset = find_folder(make_split(tmp_path, train=3, test=1, **{valid: 2}), seed=0)

    assert [each.label for each in dataset.classes] == ["Affenpinscher", "Afghan_hound"]
    assert sizes(dataset) == {"train": 6, "valid": 4, "test": 2}
    assert (dataset.layout, dataset.seed) == ("split", None)
    assert {example.target for example in dataset.splits["valid"]} == {0, 1}
    assert dataset.splits["train"][-1].path == tmp_path / "train" / BREEDS[1] / "train_2.jpg"


def test_find_folder_leaves_test_empty_when_only_train_and_valid_are_there(tmp_path: Path) -> None:
    dataset = find_folder(make_split(tmp_path, train=3, valid=1), seed=0)

    assert sizes(dataset) == {"train": 6, "valid": 2, "test": 0}


def test_find_folder_splits_a_flat_folder_80_10_10_within_each_class(tmp_path: Path) -> None:
    dataset = find_folder(make_flat(tmp_path, 100, 40), seed=3)

    assert (dataset.layout, dataset.seed) == ("flat", 3)
    for target, expected in enumerate(((80, 10, 10), (32, 4, 4))):
        counts = [sum(example.target == target for example in dataset.splits[split]) for split in dataset.splits]
        assert tuple(counts) == expected
    paths = [example.path for _, example in dataset.examples()]
    assert len(set(paths)) == 140


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (14, (12, 1, 1)), (15, (11, 2, 2))]
)
def test_flat_split_gives_small_classes_one_picture_each_where_it_can(
    tmp_path: Path, count: int, expected: tuple[int, int, int]
) -> None:
    dataset = find_folder(make_flat(tmp_path, count, 10), seed=0)

    counts = [sum(example.target == 0 for example in dataset.splits[split]) for split in ("train", "valid", "test")]
    assert tuple(counts) == expected


def test_flat_split_is_the_same_on_every_machine(tmp_path: Path) -> None:
    # Frozen on purpose: another value here means that everybody's splits changed.
    record = find_folder(make_flat(tmp_path / "here", 12, 12), seed=7).split_record()

    assert record["valid"] == ["001.Affenpinscher/000.jpg", "002.Afghan_hound/010.jpg"]
    assert record == find_folder(make_flat(tmp_path / "there", 12, 12), seed=7).split_record()
    assert json.loads(json.dumps(record)) == record
    assert (record["seed"], record["layout"]) == (7, "flat")


def test_flat_split_differs_with_the_seed(tmp_path: Path) -> None:
    folder = make_flat(tmp_path, 30, 30)

    assert find_folder(folder, seed=1).split_record()["test"] != find_folder(folder, seed=2).split_record()["test"]


def test_flat_split_keeps_a_picture_where_it_was_when_another_class_grows(tmp_path: Path) -> None:
    folder = make_flat(tmp_path, 30, 30)
    before = find_folder(folder, seed=0).split_record()["test"][:3]
    write(folder / BREEDS[1], *(f"new_{number}.jpg" for number in range(20)))

    assert find_folder(folder, seed=0).split_record()["test"][:3] == before


def test_find_folder_draws_only_valid_when_test_is_there(tmp_path: Path) -> None:
    dataset = find_folder(make_split(tmp_path, train=20, test=5), seed=4)

    assert sizes(dataset) == {"train": 36, "valid": 4, "test": 10}
    assert (dataset.layout, dataset.seed) == ("split", 4)


def test_find_folder_takes_a_class_called_train_for_a_class(tmp_path: Path) -> None:
    for vehicle in ("bus", "car", "train"):
        write(tmp_path / vehicle, "1.jpg", "2.jpg", "3.jpg")

    assert [each.label for each in find_folder(tmp_path, seed=0).classes] == ["bus", "car", "train"]


def test_find_folder_passes_over_litter_and_lists_what_is_no_picture(tmp_path: Path) -> None:
    folder = make_split(tmp_path, train=3, valid=1)
    write(folder / "train" / BREEDS[0], ".DS_Store", "._train_0.jpg", "Thumbs.db", "notes.txt")
    write(folder / "train" / BREEDS[0] / "more", "deep.jpg")
    write(folder / "train" / "__MACOSX", "x.jpg")
    write(folder / ".hidden", "x.jpg")
    (folder / "readme.txt").write_text("about")

    dataset = find_folder(folder, seed=0)

    assert sizes(dataset) == {"train": 6, "valid": 2, "test": 0}
    assert [path.name for path in dataset.ignored] == ["more", "notes.txt"]


def test_find_folder_accepts_every_extension_in_either_case(tmp_path: Path) -> None:
    write(tmp_path / "a", "1.JPG", "2.jpeg", "3.png", "4.WebP", "5.gif", "6.bmp", "7.tiff", "8.tif")
    write(tmp_path / "b", "1.jpg", "2.jpg")

    assert sum(sizes(find_folder(tmp_path, seed=0)).values()) == 10


def test_find_folder_follows_links_to_folders(tmp_path: Path) -> None:
    real = make_split(tmp_path / "real", train=3, valid=1)
    link = tmp_path / "link"
    link.mkdir()
    (link / "valid").symlink_to(real / "valid")
    (link / "train").mkdir()
    for breed in BREEDS:
        (link / "train" / breed).symlink_to(real / "train" / breed)

    assert find_folder(link, seed=0).split_record() == find_folder(real, seed=0).split_record()


# --- Channels -----------------------------------------------------------------------------------------------------


def test_find_dataset_reads_a_channel_for_each_split(tmp_path: Path) -> None:
    make_split(tmp_path, train=4, validation=2, test=1)
    channels = {name: tmp_path / name for name in ("test", "train", "validation")}

    dataset = find_dataset(channels, seed=0)

    assert sizes(dataset) == {"train": 8, "valid": 4, "test": 2}
    assert dataset.seed is None


@pytest.mark.parametrize("name", ["data", "training", "train"])
@pytest.mark.parametrize("layout", ["split", "flat"])
def test_find_dataset_reads_one_channel_in_either_layout(tmp_path: Path, name: str, layout: str) -> None:
    folder = make_split(tmp_path, train=8, valid=1, test=1) if layout == "split" else make_flat(tmp_path, 10, 10)
    weights = write(tmp_path.parent / f"{tmp_path.name}-weights", "resnet18.pth")

    dataset = find_dataset({name: folder, "weights": weights}, seed=0)

    assert dataset.layout == layout
    assert sizes(dataset) == {"train": 16, "valid": 2, "test": 2}


def test_find_dataset_draws_valid_when_train_and_test_are_channels(tmp_path: Path) -> None:
    make_split(tmp_path, train=10, test=2)

    dataset = find_dataset({"train": tmp_path / "train", "test": tmp_path / "test"}, seed=5)

    assert (sizes(dataset), dataset.seed) == ({"train": 18, "valid": 2, "test": 4}, 5)


def test_find_dataset_refuses_channels_of_which_none_is_train(tmp_path: Path) -> None:
    make_split(tmp_path, cats=2, dogs=2)

    with pytest.raises(DataError, match="'cats', 'dogs' hold pictures.*Name them train, valid and test"):
        find_dataset({"cats": tmp_path / "cats", "dogs": tmp_path / "dogs"}, seed=0)


def test_find_dataset_refuses_two_channels_for_one_split(tmp_path: Path) -> None:
    make_split(tmp_path, train=2, val=1, valid=1)

    with pytest.raises(DataError, match="both stand for valid. Keep one"):
        find_dataset({name: tmp_path / name for name in ("train", "val", "valid")}, seed=0)


def test_find_dataset_names_an_empty_channel(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()

    with pytest.raises(
        DataError, match=rf"Channel 'train': {tmp_path}/train is empty: it has no class folders. Expect"
    ):
        find_dataset({"train": tmp_path / "train"}, seed=0)


def test_find_dataset_names_a_channel_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Channel 'train' is not there"):
        find_dataset({"train": tmp_path / "train"}, seed=0)
    with pytest.raises(DataError, match="no input channel. Give one named train"):
        find_dataset({}, seed=0)


def test_find_dataset_names_an_empty_valid_channel(tmp_path: Path) -> None:
    make_split(tmp_path, train=2)
    (tmp_path / "valid").mkdir()

    with pytest.raises(DataError, match="valid holds no picture. Add valid/<class>/<image>.jpg, or remove it"):
        find_dataset({"train": tmp_path / "train", "valid": tmp_path / "valid"}, seed=0)


# --- What is refused ----------------------------------------------------------------------------------------------


def test_find_folder_refuses_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist. Check the path"):
        find_folder(tmp_path / "nowhere", seed=0)


def test_find_folder_refuses_a_file(tmp_path: Path) -> None:
    write(tmp_path, "dogImages.zip")

    with pytest.raises(DataError, match="dogImages.zip is a file, not a folder.*unpack"):
        find_folder(tmp_path / "dogImages.zip", seed=0)


def test_find_folder_refuses_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty: it has no class folders. Expected train/<class>/<image>.jpg"):
        find_folder(tmp_path, seed=0)


def test_find_folder_refuses_pictures_without_class_folders(tmp_path: Path) -> None:
    write(tmp_path, "1.jpg", "2.jpg")

    with pytest.raises(DataError, match="holds pictures directly. Put each class's pictures into a folder of its own"):
        find_folder(tmp_path, seed=0)


def test_find_folder_refuses_class_folders_without_pictures(tmp_path: Path) -> None:
    for breed in BREEDS:
        write(tmp_path / breed, "notes.txt")

    with pytest.raises(
        DataError, match="none of its class folders .'001.Affenpinscher', '002.Afghan_hound'. holds a pic"
    ):
        find_folder(tmp_path, seed=0)


def test_find_folder_names_the_folder_one_level_down(tmp_path: Path) -> None:
    make_split(tmp_path / "dogImages", train=2, valid=1)

    with pytest.raises(DataError, match=rf"Did you mean {tmp_path}/dogImages\?"):
        find_folder(tmp_path, seed=0)


def test_find_folder_refuses_one_class(tmp_path: Path) -> None:
    write(tmp_path / "Pug", "1.jpg", "2.jpg", "3.jpg")

    with pytest.raises(DataError, match="only one class, 'Pug'. A classifier needs at least two"):
        find_folder(tmp_path, seed=0)


def test_find_folder_refuses_a_class_that_train_does_not_know(tmp_path: Path) -> None:
    folder = make_split(tmp_path, train=2, valid=1)
    write(folder / "valid" / "003.Akita", "1.jpg")

    with pytest.raises(DataError, match="Class '003.Akita' is in valid but not in train.*remove it from valid"):
        find_folder(folder, seed=0)


def test_find_folder_refuses_a_class_without_training_pictures(tmp_path: Path) -> None:
    folder = make_split(tmp_path, train=2, valid=1)
    (folder / "train" / "003.Akita").mkdir()

    with pytest.raises(DataError, match="Class '003.Akita' has no picture in .*train. Add pictures"):
        find_folder(folder, seed=0)


def test_find_folder_refuses_splits_without_train(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has test and valid but no train"):
        find_folder(make_split(tmp_path, valid=2, test=2), seed=0)


def test_find_folder_refuses_two_folders_for_one_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both stand for valid"):
        find_folder(make_split(tmp_path, train=2, val=2, valid=2), seed=0)


def test_find_folder_refuses_two_classes_of_one_label(tmp_path: Path) -> None:
    write(tmp_path / "001.Pug", "1.jpg")
    write(tmp_path / "002.Pug", "1.jpg")

    with pytest.raises(DataError, match="'001.Pug' and '002.Pug' both give the label 'Pug'"):
        find_folder(tmp_path, seed=0)


def test_find_folder_refuses_one_picture_a_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one picture a class; none is left to validate on"):
        find_folder(make_flat(tmp_path, 1, 1), seed=0)


# --- Digest, leaving out ------------------------------------------------------------------------------------------


def test_digest_is_the_same_wherever_the_folder_lies(tmp_path: Path) -> None:
    here = make_split(tmp_path / "here", train=2, valid=1)
    shutil.copytree(here, tmp_path / "far" / "away")

    assert find_folder(here, seed=0).digest() == find_folder(tmp_path / "far" / "away", seed=9).digest()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "train_0.jpg").write_bytes(b"other"),
        lambda folder: (folder / "train_0.jpg").rename(folder / "renamed.jpg"),
        lambda folder: (folder / "train_0.jpg").unlink(),
        lambda folder: (folder / "train_0.jpg").rename(folder.parents[1] / "valid" / BREEDS[0] / "train_0.jpg"),
    ],
    ids=["bytes", "name", "removal", "split"],
)
def test_digest_changes_with_the_data(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = make_split(tmp_path, train=3, valid=1)
    before = find_folder(folder, seed=0).digest()
    change(folder / "train" / BREEDS[0])

    assert find_folder(folder, seed=0).digest() != before


def test_without_leaves_out_only_what_is_named(tmp_path: Path) -> None:
    dataset = find_folder(make_split(tmp_path, train=3, valid=1), seed=0)
    gone = dataset.splits["train"][0].path

    rest = without(dataset, {gone})

    assert sizes(rest) == {"train": 5, "valid": 2, "test": 0}
    assert gone not in {example.path for _, example in rest.examples()}
    assert rest.classes == dataset.classes
