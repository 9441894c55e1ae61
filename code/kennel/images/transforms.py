"""From an RGB picture to the numbers a network sees: ONE definition for training's evaluation and for serving.

EvalTransform is stored in the archive's model.json and read back from there by the server:

    transform = EvalTransform.for_size(224)
    array = transform.array(read_image(path))       # float32 (3, 224, 224)
    tensor = transform(read_image(path))            # the same numbers as a tensor
    EvalTransform.from_json(transform.to_json()) == transform

The numbers are numpy's: a server without torch computes the very ones that training did. Resizing is Pillow's (integer
arithmetic: the same bytes out on every machine), and only the part of the picture that ends in the array is resized,
so a picture of 1 x 50,000,000 pixels costs no more than any other.
Exercise it: pytest tests/unit/images
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kennel.errors import ContractError

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
INTERPOLATIONS: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class EvalTransform:
    """Shorter side to `resize_px`, the central square of `crop_px`, then (value / 255 - mean) / std by channel.

    Raises ContractError for sizes below 1, a crop larger than what it is cut from, an unknown interpolation, or a mean
    or std that is not three finite numbers (std above 0).
    """

    resize_px: int
    crop_px: int
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name in ("resize_px", "crop_px"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ContractError(
                    f"Eval transform: {name} is {getattr(self, name)!r}. Expected a whole number above 0."
                )
        if self.crop_px > self.resize_px:
            raise ContractError(f"Eval transform: crop_px {self.crop_px} is larger than resize_px {self.resize_px}.")
        if self.interpolation not in tuple(INTERPOLATIONS):  # a tuple takes any type, a dict only what hashes
            raise ContractError(
                f"Eval transform: interpolation is {self.interpolation!r}. Expected one of {', '.join(INTERPOLATIONS)}."
            )
        _check_channels("mean", self.mean)
        _check_channels("std", self.std)
        if min(self.std) <= 0:
            raise ContractError(f"Eval transform: std is {self.std}. Expected three numbers above 0.")

    @classmethod
    def for_size(cls, image_size: int) -> "EvalTransform":
        """The usual one for a network that sees `image_size` px: cut from a picture 256/224 as large."""
        return cls(resize_px=round(image_size * 256 / 224), crop_px=image_size)

    @classmethod
    def from_json(cls, values: Any) -> "EvalTransform":  # noqa: ANN401  whatever the JSON file held
        """What to_json wrote. Raises ContractError for anything else."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise ContractError(
                f"Eval transform: found {values!r}. Expected an object with {', '.join(sorted(names))}."
            )
        settings = {**values, "mean": _triple("mean", values["mean"]), "std": _triple("std", values["std"])}
        return cls(**settings)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as model.json stores them."""
        return {**dataclasses.asdict(self), "mean": list(self.mean), "std": list(self.std)}

    def __call__(self, image: Image.Image) -> "Tensor":
        """float32 (3, crop_px, crop_px) from a picture of mode RGB and any size."""
        import torch  # only here: a server may have none, and asks for arrays

        return torch.from_numpy(self.array(image))

    def array(self, image: Image.Image) -> NDArray[np.float32]:
        """float32 (3, crop_px, crop_px), C-contiguous, from a picture of mode RGB and any size."""
        return self.normalise(self.crop(image))

    def crop(self, image: Image.Image) -> Image.Image:
        """The square that the network sees, crop_px wide, as a picture."""
        side = min(image.size) * self.crop_px / self.resize_px
        return self.resize(image, _centred_box(image.size, side))

    def resize(self, image: Image.Image, box: Box) -> Image.Image:
        """The part of `image` in `box` (left, upper, right, lower in px), resized to the square of crop_px."""
        return image.resize((self.crop_px, self.crop_px), INTERPOLATIONS[self.interpolation], box=box)

    def normalise(self, image: Image.Image) -> NDArray[np.float32]:
        """float32 (3, H, W), C-contiguous, of a picture of mode RGB, as large as it is."""
        pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
        pixels /= np.float32(255)
        pixels -= np.array(self.mean, np.float32).reshape(3, 1, 1)
        pixels /= np.array(self.std, np.float32).reshape(3, 1, 1)
        return pixels


def _centred_box(size: tuple[int, int], side: float) -> Box:
    left, upper = (size[0] - side) / 2, (size[1] - side) / 2
    return left, upper, left + side, upper + side


def _check_channels(name: str, values: tuple[float, ...]) -> None:
    if len(values) != 3 or not all(math.isfinite(value) for value in values):
        raise ContractError(f"Eval transform: {name} is {values!r}. Expected three numbers, for red, green and blue.")


def _triple(name: str, values: Any) -> tuple[float, float, float]:  # noqa: ANN401  whatever the JSON file held
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values) or len(values) != 3:
        raise ContractError(f"Eval transform: {name} is {values!r}. Expected three numbers, for red, green and blue.")
    return float(values[0]), float(values[1]), float(values[2])
