"""From the bytes of a file to an upright RGB picture: the one decoder of the data check, training and serving.

What goes in: JPEG, PNG, WebP, GIF (first frame), BMP, TIFF, within limits on bytes and pixels; the pixels are counted
from the header, before any is decoded. What comes out: mode RGB, 8 bit, turned as its EXIF orientation says,
transparency over white.
Whatever is wrong with the bytes, the error is an ImageError with a `reason` a program can act on:

    try:
        image = decode_image(data, name="photo.jpg")
    except ImageError as error:
        print(error.reason, error)  # truncated  photo.jpg is cut short or damaged (...)

Needs Pillow and numpy only. Exercise it: pytest tests/unit/images
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np

# Importing a plugin registers it. Unless all of FORMATS are registered, Image.open imports every plugin Pillow has.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from kennel.errors import ImageError

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
EXTENSIONS: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
CONTENT_TYPES: Final = (
    "image/jpeg",
    "image/jpg",  # registered nowhere, sent often
    "image/pjpeg",
    "image/png",
    "image/webp",
    "image/gif",
    "image/bmp",
    "image/x-ms-bmp",
    "image/tiff",
)

_READABLE: Final = "JPEG, PNG, WebP, GIF, BMP or TIFF"
_WHITE: Final = (255, 255, 255, 255)
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class DecodeLimits:
    """The largest file and the largest picture that are decoded (width times height, before any turning).

    Above 178,956,970 pixels Pillow refuses on its own account, whatever stands here.
    """

    max_bytes: int = 20 * 2**20
    max_pixels: int = 50_000_000


DEFAULT_LIMITS: Final = DecodeLimits()


def decode_image(data: bytes, *, limits: DecodeLimits = DEFAULT_LIMITS, name: str = "image") -> Image.Image:
    """The picture in `data`: mode RGB, upright. `name` is what error messages call it.

    The same bytes give the same pixels on every machine with the same Pillow.
    Raises ImageError with reason "empty", "not_an_image", "unsupported_format", "truncated", "too_many_bytes" or
    "too_many_pixels"; nothing else, whatever the bytes are.
    """
    _check_bytes(len(data), limits, name)
    with _quiet_pillow():
        image = _open(data, name)
        _check_pixels(image.size, limits, name)
        try:
            image.load()
            return _turn(_to_rgb(image), image)
        except Exception as error:  # Pillow's plugins raise a dozen different types on damaged files
            raise _damaged(name, error) from error


def read_image(path: Path, *, limits: DecodeLimits = DEFAULT_LIMITS) -> Image.Image:
    """The picture in a file, as decode_image gives it; the messages name `path`.

    A file over `limits.max_bytes` is not read. Raises ImageError, and OSError where the file cannot be read at all.
    """
    _check_bytes(path.stat().st_size, limits, str(path))
    return decode_image(path.read_bytes(), limits=limits, name=str(path))


def _check_bytes(count: int, limits: DecodeLimits, name: str) -> None:
    if count == 0:
        raise ImageError(f"{name} is empty (0 bytes). Expected {_READABLE}.", reason="empty")
    if count > limits.max_bytes:
        raise ImageError(
            f"{name} has {count:,} bytes; at most {limits.max_bytes:,} are accepted. Send a smaller copy.",
            reason="too_many_bytes",
        )


def _check_pixels(size: tuple[int, int], limits: DecodeLimits, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}). Leave it out.", reason="empty")
    if width * height > limits.max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height:,} pixels; at most {limits.max_pixels:,} are accepted. "
            f"Send a smaller copy.",
            reason="too_many_pixels",
        )


def _open(data: bytes, name: str) -> Image.Image:
    """The picture with its header read and its pixels not yet decoded."""
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} has too many pixels ({error}). Send a smaller copy.", reason="too_many_pixels"
        ) from error
    except UnidentifiedImageError as error:
        raise _unreadable(data, name) from error
    except Exception as error:  # a header that names a format and then makes no sense
        raise _damaged(name, error) from error


def _unreadable(data: bytes, name: str) -> ImageError:
    """The error for bytes that no decoder took: cut short, of another format, or no picture at all."""
    known = image_format(data)
    if known:
        return _damaged(name, f"it begins as {known} does, but its header cannot be read")
    other = _other_format(data)
    if other:
        return ImageError(
            f"{name} is {other}, which is not read. Convert it to {_READABLE}.", reason="unsupported_format"
        )
    return ImageError(
        f"{name} is not an image: its first bytes are {data[:12]!r}. Expected {_READABLE}.", reason="not_an_image"
    )


def _damaged(name: str, cause: object) -> ImageError:
    detail = f"{type(cause).__name__}: {cause}" if isinstance(cause, BaseException) else cause
    return ImageError(f"{name} is cut short or damaged ({detail}). Replace it or leave it out.", reason="truncated")


def image_format(data: bytes) -> str | None:
    """Which of FORMATS the first bytes announce; None where they announce none of them."""
    signatures = {
        b"\xff\xd8\xff": "JPEG",
        b"\x89PNG\r\n\x1a\n": "PNG",
        b"GIF87a": "GIF",
        b"GIF89a": "GIF",
        b"II*\x00": "TIFF",
        b"MM\x00*": "TIFF",
    }
    for signature, known in signatures.items():
        # A file cut within its signature still says what it was, if three bytes of it are left.
        if data.startswith(signature) or (len(data) >= 3 and signature.startswith(data)):
            return known
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and data[6:10] == bytes(4):  # two letters alone would claim texts; these bytes are reserved
        return "BMP"
    return None


def _other_format(data: bytes) -> str | None:
    """The name of a picture or document format that is not read, from the first bytes."""
    if data[4:8] == b"ftyp":
        brands = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
        return brands.get(data[8:12], "a film or another ISO media file")
    signatures = {
        b"8BPS": "a Photoshop document",
        b"%PDF": "a PDF document",
        b"\x00\x00\x01\x00": "a Windows icon",
        b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
        b"\xff\x4f\xff\x51": "JPEG 2000",
        b"\xff\x0a": "JPEG XL",
        b"\x00\x00\x00\x0cJXL ": "JPEG XL",
        b"qoif": "QOI",
        b"II+\x00": "BigTIFF",
        b"MM\x00+": "BigTIFF",
    }
    for signature, other in signatures.items():
        if data.startswith(signature):
            return other
    return "SVG, a drawing" if b"<svg" in data[:512].lower() else None


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB, 8 bit: deep modes scaled (not clipped, as Pillow's own conversion does), transparency over white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, _WHITE), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Mode L from a mode of 16 or 32 bits.

    16 bit: the upper byte, as Pillow does with 16 bit colour. 32 bit and floating point files do not say what white is:
    it is the smallest of 1 (floating point only), 255 and 65535 that no value exceeds; values beyond, or negative ones,
    are stretched from the smallest to the largest. What is no number counts as 0.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    values = np.array(image, dtype=np.float32)
    values[~np.isfinite(values)] = 0
    low, high = float(values.min()), float(values.max())
    whites = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    white = next((each for each in whites if high <= each), None)
    if low < 0 or white is None:
        black, span = low, max(high - low, 1e-6)  # a span of next to nothing would overflow below
    else:
        black, span = 0.0, white
    values *= 255 / span
    values -= black * (255 / span)
    return Image.fromarray(np.rint(values, out=values).clip(0, 255, out=values).astype(np.uint8))


def _turn(rgb: Image.Image, source: Image.Image) -> Image.Image:
    """`rgb` turned as the EXIF orientation of `source` says. (TIFFs were turned by Pillow, which drops the tag.)"""
    method = _TURNS.get(_orientation(source))
    return rgb if method is None else rgb.transpose(method)


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF beside whole pixels is common in the wild; viewers show such a picture unturned
        return 1
    return orientation if isinstance(orientation, int) else 1


class _Quiet:
    """How many threads are decoding, and the filter they share."""

    lock = threading.Lock()
    threads = 0
    stack = ExitStack()


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow's warnings off: whether a picture is accepted must not depend on the process's warning filters.

    warnings.catch_warnings changes the whole process and is not made for threads, so the first thread to come switches
    Pillow's warnings off and the last to leave switches them on. (Python 3.14 has filters by context: then this can
    go.)
    """
    with _Quiet.lock:
        if _Quiet.threads == 0:
            _Quiet.stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _Quiet.threads += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.threads -= 1
            if _Quiet.threads == 0:
                _Quiet.stack.close()
