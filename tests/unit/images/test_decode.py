"""Every kind of file that people have, made here, and what the decoder makes of it."""

import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.errors import ImageError
from kennel.images.decode import (
    CONTENT_TYPES,
    EXTENSIONS,
    FORMATS,
    DecodeLimits,
    decode_image,
    image_format,
    read_image,
)

# The most by which lossy formats change blocks() on average (their edges blur); a wrong turn changes it by over 60.
LOSS = 8
LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}}
# From the pixels as stored to the upright picture, written out from the EXIF standard and not from Pillow.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


def noise(width: int = 24, height: int = 16, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blocks() -> np.ndarray:
    """Four flat quarters, each of its own colour: survives JPEG, and shows how it was turned."""
    quarters = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]]], dtype=np.uint8)
    return quarters.repeat(16, axis=0).repeat(32, axis=1)


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def pixels(data: bytes, **options: DecodeLimits) -> np.ndarray:
    image = decode_image(data, **options)
    assert image.mode == "RGB"
    return np.asarray(image)


def error_of(data: bytes, **options: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    return caught.value


def png(*, size: tuple[int, int], depth: int, colour: int, rows: bytes, chunks: bytes = b"") -> bytes:
    """A PNG by hand, for what Pillow cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("image_format", LOSSLESS)
def test_decode_gives_back_every_pixel_of_lossless_formats(image_format: str) -> None:
    expected = noise()
    found = pixels(encode(Image.fromarray(expected), image_format, **LOSSLESS[image_format]))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("image_format", ["JPEG", "GIF"])
def test_decode_reads_lossy_formats(image_format: str) -> None:
    found = pixels(encode(Image.fromarray(blocks()), image_format))
    assert np.abs(found.astype(int) - blocks()).mean() < LOSS


def test_image_format_knows_each_format_by_its_first_bytes() -> None:
    for expected in FORMATS:
        assert image_format(encode(Image.fromarray(noise()), expected)) == expected
    assert image_format(b"BM is how this text begins") is None


def test_extensions_and_content_types_are_lower_case() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"} <= set(EXTENSIONS)
    assert {f"image/{each}" for each in ("jpeg", "png", "webp", "gif", "bmp", "tiff")} <= set(CONTENT_TYPES)
    assert all(each == each.lower() for each in EXTENSIONS + CONTENT_TYPES)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_decode_turns_as_exif_says(image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = pixels(encode(Image.fromarray(blocks()), image_format, exif=exif))
    expected = UPRIGHT[orientation](blocks()).astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < LOSS


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\x00\x00nonsense", b"Exif\x00\x00II*\x00", b"Exif\x00\x00" + b"\xff" * 30])
def test_decode_leaves_a_picture_with_damaged_exif_unturned(image_format: str, exif: bytes) -> None:
    found = pixels(encode(Image.fromarray(blocks()), image_format, exif=exif))
    assert np.abs(found.astype(int) - blocks()).mean() < LOSS


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_decode_leaves_a_picture_with_an_unknown_orientation_unturned(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(pixels(encode(Image.fromarray(blocks()), "PNG", exif=exif)), blocks())


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_decode_converts_cmyk(image_format: str) -> None:
    data = encode(Image.fromarray(blocks()).convert("CMYK"), image_format)
    # Pillow writes JPEGs as Adobe's programs do: inverted, with their marker. Read as they stand, they are negatives.
    assert (b"Adobe" in data) == (image_format == "JPEG")
    assert np.abs(pixels(data).astype(int) - blocks()).mean() < LOSS


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_decode_scales_sixteen_bit_grayscale(image_format: str, mode: str) -> None:
    values = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(8, 32)
    stored = values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    if (image_format, mode) == ("PNG", "I;16B"):  # as PNG stores it, whatever the machine's order
        rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
        data = png(size=(32, 8), depth=16, colour=0, rows=rows)
    else:
        data = encode(Image.frombytes(mode, (32, 8), stored), image_format)
    found = pixels(data)
    assert np.array_equal(found[..., 0], np.arange(256).reshape(8, 32))
    assert np.array_equal(found[..., 0], found[..., 2])


def test_decode_scales_sixteen_bit_colour_as_grayscale() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 6, 3), dtype=np.uint16)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    assert np.array_equal(pixels(png(size=(6, 4), depth=16, colour=2, rows=rows)), values >> 8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 255], [0, 100, 255]),  # 8 bit in a wider container
        ([0, 25700, 65535], [0, 100, 255]),  # 16 bit
        ([0, 1_000_000, 2_500_000], [0, 102, 255]),  # anything else: from the smallest to the largest
        ([-1000, 500, 1000], [0, 191, 255]),
        ([7_000_000, 7_000_000, 7_000_000], [0, 0, 0]),
    ],
)
def test_decode_scales_thirty_two_bit_integers(values: list[int], expected: list[int]) -> None:
    data = encode(Image.fromarray(np.array([values], dtype=np.int32)), "TIFF")
    assert pixels(data)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.2, 255.0], [0, 100, 255]),
        ([0.0, 25700.0, 65535.0], [0, 100, 255]),
        ([-1.0, 0.5, 1.0], [0, 191, 255]),
        ([float("nan"), float("inf"), 1.0], [0, 0, 255]),
        ([-3e38, 1.5e38, 3e38], [0, 191, 255]),
        ([-1e-45, 0.0, 0.0], [0, 0, 0]),
    ],
)
def test_decode_scales_floating_point(values: list[float], expected: list[int]) -> None:
    data = encode(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
    assert pixels(data)[0, :, 0].tolist() == expected


def test_decode_spreads_grayscale_and_bilevel_over_the_channels() -> None:
    gray = noise()[..., 0]
    for mode, expected in (("L", gray), ("1", np.where(gray > 127, 255, 0))):
        image = Image.fromarray(gray).convert(mode, dither=Image.Dither.NONE)
        found = pixels(encode(image, "PNG"))
        assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=2))


def test_decode_reads_palettes() -> None:
    image = Image.fromarray(blocks()).quantize(4)
    for each in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(pixels(encode(image, each)), blocks())


def test_decode_lays_alpha_over_white() -> None:
    colour = np.array([[[0, 0, 0, 0], [0, 0, 0, 128], [200, 100, 0, 255]]], dtype=np.uint8)
    for data in (encode(Image.fromarray(colour), each, **LOSSLESS[each]) for each in ("PNG", "WEBP", "TIFF")):
        assert pixels(data)[0].tolist() == [[255] * 3, [127] * 3, [200, 100, 0]]
    gray = np.array([[[0, 0], [0, 128], [90, 255]]], dtype=np.uint8)
    assert pixels(encode(Image.fromarray(gray, "LA"), "PNG"))[0, :, 0].tolist() == [255, 127, 90]


@pytest.mark.parametrize("transparency", [0, bytes([0, 255, 255, 255])])
def test_decode_lays_transparent_palettes_over_white(transparency: int | bytes) -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    image.putdata([0, 1, 2, 3])
    found = pixels(encode(image, "PNG", transparency=transparency))
    assert found[0].tolist() == [[255, 255, 255], [40, 50, 60], [70, 80, 90], [100, 110, 120]]


def test_decode_lays_half_transparent_palettes_over_white() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 0, 0, 0])
    assert pixels(encode(image, "PNG", transparency=bytes([255, 128])))[0, 0].tolist() == [127, 127, 127]


def test_decode_lays_transparent_gifs_over_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    assert pixels(encode(image, "GIF", transparency=1))[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (1, 2, 3)), ("L", 7)])
def test_decode_lays_a_transparent_colour_over_white(mode: str, colour: int | tuple[int, int, int]) -> None:
    image = Image.new(mode, (2, 1), colour)
    image.putpixel((1, 0), 90 if mode == "L" else (90, 90, 90))
    assert pixels(encode(image, "PNG", transparency=colour))[0].tolist() == [[255] * 3, [90] * 3]


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_decode_takes_the_first_frame(image_format: str) -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    data = encode(first, image_format, save_all=True, append_images=[second])
    red = pixels(data)[8, 8]
    assert red[0] > 240 and max(red[1:]) < 10


def test_decode_refuses_no_bytes() -> None:
    error = error_of(b"", name="a.jpg")
    assert error.reason == "empty"
    assert "a.jpg is empty (0 bytes)" in str(error)


@pytest.mark.parametrize("data", [b"just some text", b"<html></html>", b"\x00" * 200, b"\xff", b"BM is a text"])
def test_decode_refuses_what_is_no_image(data: bytes) -> None:
    error = error_of(data, name="notes.jpg")
    assert error.reason == "not_an_image"
    assert str(error).startswith("notes.jpg is not an image: its first bytes are b'")
    assert "Expected JPEG, PNG, WebP, GIF, BMP or TIFF" in str(error)


@pytest.mark.parametrize(
    ("data", "called"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"\x00\x00\x00\x18ftypavif" + bytes(20), "AVIF"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(20), "a film"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"8BPS\x00\x01" + bytes(20), "a Photoshop document"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "SVG"),
    ],
)
def test_decode_names_a_format_it_does_not_read(data: bytes, called: str) -> None:
    error = error_of(data, name="photo.jpg")
    assert error.reason == "unsupported_format"
    assert f"photo.jpg is {called}" in str(error)
    assert "Convert it to JPEG, PNG" in str(error)


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_decode_refuses_truncated_files(image_format: str, share: float) -> None:
    data = encode(Image.fromarray(noise(64, 48)), image_format)
    error = error_of(data[: int(len(data) * share)], name="half.img")
    assert error.reason == "truncated"
    assert str(error).startswith("half.img is cut short or damaged (")
    assert str(error).endswith("Replace it or leave it out.")


@pytest.mark.parametrize("image_format", FORMATS)
def test_decode_says_of_a_file_cut_in_its_header_that_it_is_cut(image_format: str) -> None:
    data = encode(Image.fromarray(noise()), image_format)[:14]
    assert error_of(data).reason == "truncated"


def test_decode_checks_bytes_before_anything_else() -> None:
    error = error_of(bytes(101), limits=DecodeLimits(max_bytes=100), name="big.png")
    assert error.reason == "too_many_bytes"
    assert str(error) == "big.png has 101 bytes; at most 100 are accepted. Send a smaller copy."


def test_decode_accepts_exactly_the_limits() -> None:
    data = encode(Image.fromarray(noise(10, 10)), "PNG")
    assert pixels(data, limits=DecodeLimits(max_bytes=len(data), max_pixels=100)).shape == (10, 10, 3)
    assert error_of(data, limits=DecodeLimits(max_pixels=99)).reason == "too_many_pixels"


# Below, at and above the sizes at which Pillow warns (89 million) and refuses (179 million).
@pytest.mark.parametrize("side", [7072, 9500, 14000, 60000])
def test_decode_counts_pixels_in_the_header(side: int) -> None:
    # The file has no pixels: an attempt to decode them would end as "truncated".
    error = error_of(png(size=(side, side), depth=8, colour=2, rows=b""), name="bomb.png")
    assert error.reason == "too_many_pixels"
    assert str(error).startswith("bomb.png has ")


def test_decode_refuses_pictures_without_pixels() -> None:
    blank = bytearray(encode(Image.new("RGB", (1, 1)), "BMP"))
    blank[18:26] = bytes(8)
    for data in (bytes(blank), png(size=(0, 5), depth=8, colour=2, rows=b"")):
        assert error_of(data).reason in ("empty", "truncated")


def test_read_image_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(noise()).save(path)
    assert np.array_equal(np.asarray(read_image(path)), noise())


def test_read_image_names_the_path(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("hello")
    with pytest.raises(ImageError, match=f"{path} is not an image"):
        read_image(path)


def test_read_image_does_not_read_a_file_over_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(10 * 2**40)  # a sparse file: reading it would end the test run
    with pytest.raises(ImageError, match=r"huge.jpg has 10,995,116,277,760 bytes") as caught:
        read_image(path)
    assert caught.value.reason == "too_many_bytes"


def noisy_tiff() -> bytes:
    """A TIFF that Pillow reads with a warning: its tag of one resolution claims to hold two."""
    data = bytearray(encode(Image.fromarray(noise()), "TIFF"))
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] == 259:  # Compression
            struct.pack_into("<I", data, entry + 4, 2)
    return bytes(data)


def test_decode_does_not_depend_on_warning_filters() -> None:
    data = noisy_tiff()
    with pytest.warns(UserWarning, match="too many entries"), Image.open(BytesIO(data)) as image:
        image.load()
    for action in ("error", "ignore", "always"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            assert np.array_equal(pixels(data), noise())
        assert caught == []


def test_decode_restores_warning_filters_after_threads_decoded_at_once() -> None:
    before = list(warnings.filters)
    data = noisy_tiff()
    start = threading.Barrier(4)
    errors: list[BaseException] = []

    def work() -> None:
        start.wait()
        try:
            for _ in range(25):
                decode_image(data)
        except BaseException as error:  # shown below: an exception in a thread would go unseen
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(warnings.filters) == before
