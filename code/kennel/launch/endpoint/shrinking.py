"""Photos that are too large for a request, smaller: first a lower JPEG quality, then fewer pixels.

    shrunk = shrink(Path("large.jpg"), limit_bytes=6_291_456)
    shrunk.body, shrunk.said            # "large.jpg: 9,000,000 bytes; sent as ..."

The turn that EXIF asks for stays with it, and the server does it, as with every other photo.
Exercise it: pytest tests/unit/launch/test_shrinking.py
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, UnidentifiedImageError

from kennel.errors import DataError

# Below 60 blocks show; a network sees less of fewer pixels than of those.
_QUALITIES: Final = (92, 85, 75, 60)
_QUALITY: Final = 85
_SMALLER: Final = 0.8
# The networks look at a few hundred pixels.
_SHORTEST_PX: Final = 256


@dataclass(frozen=True)
class Shrunk:
    """body: a JPEG. said: in words, of what it was made and what is lost."""

    body: bytes
    said: str


def shrink(photo: Path, *, limit_bytes: int) -> Shrunk:
    """A JPEG of at most so many bytes. Raises DataError for what is no photo, or cannot be made as small."""
    too_large = _too_large(photo, limit_bytes)
    with _opened(photo, too_large) as opened:
        image, extras = _as_jpeg_has(opened), _extras(opened)
    for quality in _QUALITIES:
        body = _encoded(image, quality, extras)
        if len(body) <= limit_bytes:
            return Shrunk(body, f"{too_large}. Sent as JPEG of quality {quality} with {len(body):,}.")
    width, height = image.size
    while min(image.size) > _SHORTEST_PX:
        size = tuple(max(1, round(side * _SMALLER)) for side in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        body = _encoded(image, _QUALITY, extras)
        if len(body) <= limit_bytes:
            pixels = f"{image.width} x {image.height} pixels instead of {width} x {height}"
            return Shrunk(body, f"{too_large}. Sent as JPEG with {len(body):,}: {pixels}.")
    raise DataError(f"{too_large}, and it cannot be made that small. Send a smaller copy of it.")


def check_shrinkable(photo: Path, *, limit_bytes: int) -> None:
    """DataError, by the first bytes alone, for what is no photo, or one that JPEG cannot hold."""
    with _opened(photo, _too_large(photo, limit_bytes)) as opened:
        _check_depth(opened)


def _too_large(photo: Path, limit_bytes: int) -> str:
    return f"{photo} has {photo.stat().st_size:,} bytes; a request takes {limit_bytes:,}"


@contextmanager
def _opened(photo: Path, too_large: str) -> Iterator[Image.Image]:
    """The photo; DataError for whatever is wrong with it, also inside."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(photo) as opened:
                yield opened
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{too_large}, and it cannot be made smaller: {error}. Send a smaller copy of it.") from error


def _check_depth(image: Image.Image) -> None:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        raise OSError("it has more than 8 bits a colour, which JPEG has not")


def _as_jpeg_has(image: Image.Image) -> Image.Image:
    """In a mode that JPEG has, with transparency over white, as the server shows it."""
    if image.mode in ("RGB", "L", "CMYK"):
        return image.copy()
    _check_depth(image)
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _extras(image: Image.Image) -> dict[str, Any]:
    """What else the server looks at: the turn, and what the colours mean."""
    found = {"exif": image.getexif().tobytes(), "icc_profile": image.info.get("icc_profile")}
    return {key: value for key, value in found.items() if value}


def _encoded(image: Image.Image, quality: int, extras: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **extras)
    return buffer.getvalue()
