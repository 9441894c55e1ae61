"""The pictures whose answers an archive keeps: made up, so that no model carries its user's photos along.

Blurred fields of colour with noise on them: unlike anything a network knows, so its probabilities are spread out and
move with the smallest difference. Of several shapes and formats, so that decoding, resizing and cropping are seen too.
"""

from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

# Width, height and format of each.
_PICTURES: Final = ((320, 240, "JPEG"), (200, 300, "PNG"), (256, 256, "JPEG"))


def golden_pictures() -> list[bytes]:
    """Encoded files, the same ones every time."""
    return [_picture(number, *shape) for number, shape in enumerate(_PICTURES)]


def _picture(number: int, width: int, height: int, kind: str) -> bytes:
    numbers = np.random.default_rng(number)
    field = Image.fromarray(numbers.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = Image.fromarray(numbers.integers(0, 256, (height, width, 3), dtype=np.uint8))
    file = BytesIO()
    Image.blend(field, noise, 0.15).save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return file.getvalue()
