"""From an RGB picture to the tensor a network sees: ONE definition for training's evaluation and for serving.

EvalTransform is stored in the archive's model.json and read back from there by the server:

    transform = EvalTransform.for_size(224)
    tensor = transform(read_image(path))            # float32 (3, 224, 224)
    EvalTransform.from_json(transform.to_json()) == transform

Resizing is Pillow's (integer arithmetic: the same bytes out on every machine), and only the part of the picture that
ends in the tensor is resized, so a picture of 1 x 50,000,000 pixels costs no more than any other.
Exercise it: pytest tests/unit/images
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from kennel.errors import ContractError

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

    def __call__(self, image: Image.Image) -> Tensor:
        """float32 (3, crop_px, crop_px) from a picture of mode RGB and any size."""
        return self.to_tensor(self.crop(image))

    def crop(self, image: Image.Image) -> Image.Image:
        """The square that the network sees, crop_px wide, as a picture."""
        side = min(image.size) * self.crop_px / self.resize_px
        return self.resize(image, _centred_box(image.size, side))

    def resize(self, image: Image.Image, box: Box) -> Image.Image:
        """The part of `image` in `box` (left, upper, right, lower in px), resized to the square of crop_px."""
        return image.resize((self.crop_px, self.crop_px), INTERPOLATIONS[self.interpolation], box=box)

    def to_tensor(self, image: Image.Image) -> Tensor:
        """Normalised float32 (3, H, W) of a picture of mode RGB, as large as it is."""
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32)
        mean = torch.tensor(self.mean, dtype=torch.float32).view(3, 1, 1)
        std = torch.tensor(self.std, dtype=torch.float32).view(3, 1, 1)
        return pixels.div_(255).sub_(mean).div_(std).contiguous()


@dataclass(frozen=True)
class TrainTransform:
    """A random part of the picture, flipped every other time, its light and colour moved a little.

    Shapes and normalisation are those of `eval`. scale: the share of the picture's area that is cut out.
    ratio: the widest and the tallest cut, as width / height. jitter: the most by which brightness, contrast and
    saturation are raised or lowered, as a share.
    """

    eval: EvalTransform
    scale: tuple[float, float] = (0.6, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: float = 0.1

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Tensor:
        """float32 (3, crop_px, crop_px). Same generator state, same tensor; each call draws eight numbers."""
        area, shape, across, down, flip, *light = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
        view = self.eval.resize(image, self._box(image.size, area, shape, across, down))
        if flip < 0.5:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return self.eval.to_tensor(self._relight(view, light))

    def _box(self, size: tuple[int, int], area: float, shape: float, across: float, down: float) -> Box:
        """The cut-out, from four numbers in [0, 1). Its shape is kept where it does not fit: it becomes smaller."""
        low, high = (math.log(each) for each in self.ratio)
        ratio = math.exp(low + shape * (high - low))
        pixels = (self.scale[0] + area * (self.scale[1] - self.scale[0])) * size[0] * size[1]
        width, height = math.sqrt(pixels * ratio), math.sqrt(pixels / ratio)
        fit = min(1.0, size[0] / width, size[1] / height)
        width, height = min(width * fit, size[0]), min(height * fit, size[1])
        left, upper = across * (size[0] - width), down * (size[1] - height)
        return left, upper, min(left + width, size[0]), min(upper + height, size[1])

    def _relight(self, image: Image.Image, numbers: list[float]) -> Image.Image:
        for enhancer, number in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), numbers, strict=True
        ):
            image = enhancer(image).enhance(1 + self.jitter * (2 * number - 1))
        return image


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
