"""Thousands of damaged files: an RGB picture or an ImageError comes out, never anything else."""

import random
from collections.abc import Iterator
from io import BytesIO

import pytest
from PIL import Image

from kennel.errors import ImageError
from kennel.images.decode import DecodeLimits, decode_image

REASONS = {"empty", "not_an_image", "unsupported_format", "truncated", "too_many_bytes", "too_many_pixels"}
# Small enough that a changed header cannot make the test slow.
LIMITS = DecodeLimits(max_bytes=100_000, max_pixels=200_000)
TRIES = 80


def files() -> dict[str, bytes]:
    picture = Image.effect_noise((40, 30), 80).convert("RGB")
    turned = picture.transpose(Image.Transpose.ROTATE_180)
    exif = Image.Exif()
    exif[0x0112] = 6
    several = {"save_all": True, "append_images": [turned]}
    kinds: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "jpeg": (picture, "JPEG", {"exif": exif}),
        "progressive": (picture, "JPEG", {"progressive": True}),
        "cmyk": (picture.convert("CMYK"), "JPEG", {}),
        "mpo": (picture, "MPO", several),
        "png": (picture, "PNG", {"exif": exif}),
        "apng": (picture, "PNG", several),
        "png_palette": (picture.quantize(16), "PNG", {"transparency": bytes(16)}),
        "png_alpha": (picture.convert("RGBA"), "PNG", {}),
        "png_16": (picture.convert("L").convert("I;16"), "PNG", {}),
        "webp": (picture, "WEBP", {"exif": exif}),
        "webp_lossless": (picture, "WEBP", {"lossless": True}),
        "webp_moving": (picture.convert("RGBA"), "WEBP", several),
        "gif": (picture.quantize(16), "GIF", several),
        "bmp": (picture, "BMP", {}),
        "bmp_palette": (picture.quantize(16), "BMP", {}),
        "tiff": (picture, "TIFF", {"exif": exif}),
        "tiff_lzw": (picture, "TIFF", {"compression": "tiff_lzw"}),
        "tiff_jpeg": (picture, "TIFF", {"compression": "jpeg"}),
        "tiff_fax": (picture.convert("1"), "TIFF", {"compression": "group4"}),
        "tiff_float": (picture.convert("F"), "TIFF", {}),
    }
    return {name: encode(*kind) for name, kind in kinds.items()}


def encode(image: Image.Image, image_format: str, options: dict[str, object]) -> bytes:
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def damaged(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """Copies of `data`, cut, changed in a few bytes (mostly early ones, where headers are), or both."""
    for _ in range(TRIES):
        copy = bytearray(data[: chance.randrange(1, len(data))] if chance.random() < 0.3 else data)
        for _ in range(chance.choice((0, 1, 1, 2, 5, 20))):
            place = chance.randrange(min(len(copy), chance.choice((64, 200, len(copy)))))
            copy[place] = chance.choice((0, 255, chance.randrange(256), copy[place] ^ (1 << chance.randrange(8))))
        yield bytes(copy)


FILES = files()


@pytest.mark.parametrize("name", FILES)
def test_decode_gives_a_picture_or_an_image_error(name: str) -> None:
    data = FILES[name]
    assert decode_image(data, limits=LIMITS).mode == "RGB"
    outcomes = set()
    for copy in damaged(data, random.Random(name)):
        try:
            image = decode_image(copy, limits=LIMITS, name="copy")
        except ImageError as error:
            assert error.reason in REASONS
            assert str(error).startswith("copy ")
            outcomes.add(error.reason)
        else:
            assert image.mode == "RGB" and min(image.size) > 0
            outcomes.add("picture")
    assert {"picture", "truncated"} <= outcomes  # the loop reached both sides of the decoder


def test_decode_gives_an_image_error_for_random_bytes() -> None:
    chance = random.Random(0)
    beginnings = [data[:12] for data in FILES.values()]
    for _ in range(300):
        data = chance.choice([b"", *beginnings]) + chance.randbytes(chance.randrange(1, 300))
        with pytest.raises(ImageError):
            decode_image(data, limits=LIMITS)
