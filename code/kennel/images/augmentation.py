"""Another view of the same picture in every epoch: what only training does to pictures.

    transform = TrainTransform(EvalTransform.for_size(224))
    tensor = transform(image, torch.Generator().manual_seed(0))     # float32 (3, 224, 224)

Exercise it: pytest tests/unit/images
"""

import math
from dataclasses import dataclass

import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from kennel.images.transforms import Box, EvalTransform


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
        return torch.from_numpy(self.eval.normalise(self._relight(view, light)))

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
