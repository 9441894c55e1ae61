"""The eval transform is the usual one and survives JSON; the train transform depends on its generator alone."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from kennel.errors import ContractError
from kennel.images.augmentation import TrainTransform
from kennel.images.transforms import IMAGENET_MEAN, IMAGENET_STD, EvalTransform


def smooth(width: int, height: int) -> Image.Image:
    """Gradients: a shift by half a pixel changes every value, but only a little."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, (across + down) / 2], axis=2).astype(np.uint8))


def rand(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (200, 301), (1000, 150), (31, 17), (1, 1)])
def test_eval_gives_the_networks_shape_and_type_whatever_the_picture(size: tuple[int, int]) -> None:
    tensor = EvalTransform.for_size(64)(smooth(*size))
    assert tensor.shape == (3, 64, 64)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()


def test_eval_is_resize_centre_crop_and_normalisation() -> None:
    ours = EvalTransform.for_size(96)
    theirs = v2.Compose(
        [
            v2.Resize(ours.resize_px),
            v2.CenterCrop(ours.crop_px),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(ours.mean, ours.std),
        ]
    )
    # They round to whole pixels between resizing and cropping: half a pixel apart, at most a level or two.
    for size in ((300, 200), (200, 317), (110, 110)):
        assert (ours(smooth(*size)) - theirs(smooth(*size))).abs().max() < 3 / 255 / min(ours.std)


def test_eval_normalises_by_channel() -> None:
    transform = EvalTransform(8, 8, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    tensor = transform(Image.new("RGB", (8, 8), (255, 255, 255)))
    assert tensor[:, 0, 0].tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("mean", "std"),
    [(IMAGENET_MEAN, IMAGENET_STD), ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), ((0.1, 1 / 3, 0.7), (1 / 3, 1e-3, 255.0))],
)
def test_eval_gives_the_bits_that_torch_would_compute(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> None:
    """Archives written before the arithmetic was numpy's must get the very same input from it."""
    levels = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=2)  # all there are, in each channel
    channels = (torch.tensor(each, dtype=torch.float32).view(3, 1, 1) for each in (mean, std))
    pixels = torch.from_numpy(levels).permute(2, 0, 1).to(torch.float32)
    expected = pixels.div_(255).sub_(next(channels)).div_(next(channels)).contiguous()
    transform = EvalTransform(16, 16, mean=mean, std=std)
    assert torch.equal(transform(Image.fromarray(levels)), expected)
    assert transform.array(Image.fromarray(levels)).tobytes() == expected.numpy().tobytes()


def test_eval_gives_the_same_as_array_and_as_tensor() -> None:
    transform = EvalTransform.for_size(64)
    array = transform.array(smooth(300, 200))
    assert (array.dtype, array.shape, array.flags.c_contiguous) == (np.float32, (3, 64, 64), True)
    assert np.array_equal(transform(smooth(300, 200)).numpy(), array)


def test_eval_arrays_need_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from PIL import Image; from kennel.images.transforms import EvalTransform\n"
        "print(EvalTransform.for_size(8).array(Image.new('RGB', (20, 10))).shape)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.decode().strip() == "(3, 8, 8)"


def test_eval_does_not_blow_up_long_pictures() -> None:
    # Resized as a whole, this one would have 256 x 5,120,000,000 pixels.
    assert EvalTransform.for_size(224)(Image.new("RGB", (1, 20_000_000))).shape == (3, 224, 224)


def test_eval_for_size_keeps_the_usual_ratio() -> None:
    assert EvalTransform.for_size(224) == EvalTransform(resize_px=256, crop_px=224)
    assert EvalTransform.for_size(32).resize_px == 37


@pytest.mark.parametrize(
    "transform",
    [EvalTransform.for_size(224), EvalTransform(300, 299, "bicubic", (0.1, 0.2, 0.3), (1 / 3, 0.2, 0.1))],
)
def test_eval_survives_json(transform: EvalTransform) -> None:
    again = EvalTransform.from_json(json.loads(json.dumps(transform.to_json())))
    assert again == transform
    assert torch.equal(again(smooth(310, 300)), transform(smooth(310, 300)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_px": 0}, "crop_px is 0. Expected a whole number above 0"),
        ({"resize_px": 256.0}, "resize_px is 256.0. Expected a whole number"),
        ({"resize_px": True}, "resize_px is True"),
        ({"crop_px": 300}, "crop_px 300 is larger than resize_px 256"),
        ({"interpolation": "cubic"}, "interpolation is 'cubic'. Expected one of bilinear, bicubic, lanczos"),
        ({"interpolation": ["bilinear"]}, r"interpolation is \['bilinear'\]"),
        ({"mean": [0.5]}, r"mean is \[0.5\]. Expected three numbers"),
        ({"mean": "abc"}, "mean is 'abc'. Expected three numbers"),
        ({"mean": [0.5, float("nan"), 0.5]}, "Expected three numbers"),
        ({"std": [1, 0, 1]}, "Expected three numbers above 0"),
        ({"extra": 1}, "Expected an object with crop_px, interpolation, mean, resize_px, std"),
    ],
)
def test_eval_from_json_refuses_what_to_json_never_wrote(change: dict[str, Any], message: str) -> None:
    values = {**EvalTransform.for_size(224).to_json(), **change}
    with pytest.raises(ContractError, match=message):
        EvalTransform.from_json(values)


@pytest.mark.parametrize("values", [None, [], "text", {}])
def test_eval_from_json_refuses_what_is_no_transform(values: Any) -> None:  # noqa: ANN401  whatever JSON can hold
    with pytest.raises(ContractError, match="Eval transform: found"):
        EvalTransform.from_json(values)


def test_train_depends_on_the_generator_alone() -> None:
    transform = TrainTransform(EvalTransform.for_size(64))
    image = smooth(120, 90)
    torch.manual_seed(1)
    first = transform(image, rand(3))
    torch.manual_seed(2)
    assert torch.equal(transform(image, rand(3)), first)
    assert not torch.equal(transform(image, rand(4)), first)


def test_train_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state()
    TrainTransform(EvalTransform.for_size(32))(smooth(40, 40), rand(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [(64, 64), (301, 40), (1, 1), (1, 5000), (2, 3)])
def test_train_gives_the_networks_shape_whatever_the_picture(size: tuple[int, int]) -> None:
    transform, generator = TrainTransform(EvalTransform.for_size(32)), rand(0)
    for _ in range(50):
        tensor = transform(smooth(*size), generator)
        assert tensor.shape == (3, 32, 32)
        assert bool(torch.isfinite(tensor).all())


def test_train_draws_the_same_count_of_numbers_for_every_picture() -> None:
    transform, states = TrainTransform(EvalTransform.for_size(32)), []
    for size in ((64, 64), (1, 900), (333, 20)):
        generator = rand(5)
        transform(smooth(*size), generator)
        states.append(generator.get_state())
    assert all(torch.equal(state, states[0]) for state in states)


def test_train_flips_about_every_other_picture() -> None:
    transform, generator = TrainTransform(EvalTransform.for_size(16), jitter=0.0), rand(0)
    image = smooth(64, 64)  # red grows from left to right
    flipped = sum(bool((view := transform(image, generator))[0, 0, 0] > view[0, 0, -1]) for _ in range(200))
    assert 70 < flipped < 130


def test_train_cuts_different_parts_and_changes_the_light() -> None:
    plain = TrainTransform(EvalTransform.for_size(16), scale=(0.35, 1.0), jitter=0.0)
    bright = TrainTransform(EvalTransform.for_size(16), scale=(0.35, 1.0), jitter=0.2)
    image, generator = smooth(64, 64), rand(0)
    means = torch.stack([plain(image, generator)[1].mean() for _ in range(100)])
    assert means.std() > 0.1  # green grows downwards: the mean shows where the part was cut
    assert (bright(image, rand(1)) - plain(image, rand(1))).abs().mean() > 0.01
    gray = Image.new("RGB", (64, 64), (128, 128, 128))
    levels = torch.stack([bright(gray, generator)[0].mean() for _ in range(100)])
    spread = 0.2 * (128 / 255) / 0.229
    assert 0.5 * spread < (levels.max() - levels.min()) / 2 <= 1.05 * spread
