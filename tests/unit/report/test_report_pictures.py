import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from kennel.report import pictures


def save(path: Path, size: tuple[int, int] = (300, 200)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)
    return path


@pytest.mark.parametrize("place", ["test/A/1.jpg", "A/1.jpg"])
def test_a_picture_is_found_in_both_layouts(tmp_path: Path, place: str) -> None:
    path = save(tmp_path / place)
    assert pictures.find_picture(("test", "A/1.jpg"), [tmp_path], {}) == path
    assert pictures.find_picture(("test", "A/1.jpg"), [], {"data": tmp_path}) == path


def test_a_split_may_be_a_channel_or_have_another_name(tmp_path: Path) -> None:
    path = save(tmp_path / "A" / "1.jpg")
    other = save(tmp_path / "set" / "validation" / "A" / "1.jpg")
    assert pictures.find_picture(("valid", "A/1.jpg"), [], {"val": tmp_path}) == path
    assert pictures.find_picture(("valid", "A/1.jpg"), [tmp_path / "set"], {}) == other


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "A/../../secret.jpg"])
def test_a_path_out_of_the_data_set_is_no_picture(tmp_path: Path, path: str) -> None:
    save(tmp_path / "secret.jpg")
    (tmp_path / "data" / "A").mkdir(parents=True)
    assert pictures.find_picture(("test", path), [tmp_path / "data"], {}) is None


def test_a_thumbnail_is_small_and_upright(tmp_path: Path) -> None:
    uri = pictures.thumbnail(save(tmp_path / "1.jpg", (1000, 500)))
    kind, _, data = uri.partition(",")
    assert kind == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (128, 64)


def test_missing_and_damaged_pictures_are_named_with_the_reason(tmp_path: Path) -> None:
    save(tmp_path / "A" / "1.jpg")
    (tmp_path / "A" / "2.jpg").write_bytes(b"no picture")
    made = pictures.make_thumbnails([("test", f"A/{number}.jpg") for number in (1, 2, 3)], [tmp_path], {})
    assert list(made.data) == [("test", "A/1.jpg")]
    assert "is not an image" in made.missing[("test", "A/2.jpg")]
    assert made.missing[("test", "A/3.jpg")] == "not found"


def test_thumbnails_end_where_the_room_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        save(tmp_path / "A" / f"{number}.jpg")
    size = len(pictures.thumbnail(tmp_path / "A" / "0.jpg"))
    monkeypatch.setattr(pictures, "MAX_BYTES", 2 * size)
    made = pictures.make_thumbnails([("test", f"A/{number}.jpg") for number in range(3)], [tmp_path], {})
    assert len(made.data) == 2
    assert "share of pictures" in made.missing[("test", "A/2.jpg")]
