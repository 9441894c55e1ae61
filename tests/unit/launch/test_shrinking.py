"""Photos over a request's limit: how they are made smaller, and what of them stays."""

import io
from pathlib import Path

import numpy
import pytest
from PIL import ExifTags, Image

from kennel.errors import DataError
from kennel.launch.endpoint.shrinking import check_shrinkable, shrink


def noise(width: int, height: int, *, seed: int = 0) -> Image.Image:
    """A picture that JPEG cannot make very small."""
    pixels = numpy.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels)


def test_quality_goes_first_and_the_pixels_stay(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    noise(400, 300).save(photo, quality=98)
    limit = photo.stat().st_size * 2 // 3
    shrunk = shrink(photo, limit_bytes=limit)
    assert len(shrunk.body) <= limit
    with Image.open(io.BytesIO(shrunk.body)) as image:
        assert (image.format, image.size) == ("JPEG", (400, 300))
    assert f"has {photo.stat().st_size:,} bytes; a request takes {limit:,}. Sent as JPEG of quality" in shrunk.said


def test_then_the_pixels_and_the_turn_that_exif_asks_for_stays(tmp_path: Path) -> None:
    photo = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    noise(1200, 800).save(photo, quality=95, exif=exif, icc_profile=b"profile")
    limit = 100_000
    shrunk = shrink(photo, limit_bytes=limit)
    assert len(shrunk.body) <= limit and "pixels instead of 1200 x 800" in shrunk.said
    with Image.open(io.BytesIO(shrunk.body)) as image:
        assert image.width < 1200 and abs(image.width / image.height - 1.5) < 0.02
        assert image.getexif()[ExifTags.Base.Orientation] == 6
        assert image.info["icc_profile"] == b"profile"


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "CMYK"])
def test_pictures_of_other_modes_become_jpegs(tmp_path: Path, mode: str) -> None:
    photo = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    noise(500, 400).convert(mode).save(photo)
    shrunk = shrink(photo, limit_bytes=photo.stat().st_size // 2)
    with Image.open(io.BytesIO(shrunk.body)) as image:
        assert image.format == "JPEG" and image.mode == (mode if mode in ("L", "CMYK") else "RGB")


def test_what_is_transparent_is_white_as_for_the_server(tmp_path: Path) -> None:
    photo = tmp_path / "clear.png"
    picture = noise(300, 300).convert("RGBA")
    picture.putalpha(0)
    picture.save(photo)
    with Image.open(io.BytesIO(shrink(photo, limit_bytes=20_000).body)) as image:
        assert image.getpixel((150, 150)) == (255, 255, 255)


def test_what_is_no_photo_or_too_deep_is_named_with_its_size(tmp_path: Path) -> None:
    words, deep = tmp_path / "notes.jpg", tmp_path / "deep.png"
    words.write_text("words" * 1000)
    Image.fromarray(numpy.full((100, 100), 40_000, dtype=numpy.uint16)).save(deep)
    for check in (check_shrinkable, shrink):
        with pytest.raises(DataError, match=r"notes.jpg has 5,000 bytes; a request takes 100, and it cannot be made"):
            check(words, limit_bytes=100)
        with pytest.raises(DataError, match="more than 8 bits a colour"):
            check(deep, limit_bytes=10)


def test_a_limit_that_nothing_meets_is_said(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    noise(400, 300).save(photo)
    check_shrinkable(photo, limit_bytes=100)
    with pytest.raises(DataError, match="cannot be made that small. Send a smaller copy"):
        shrink(photo, limit_bytes=100)
