"""What torchvision's ResNets are made of, without torch: for building one from an archive's tensors by other means.

    network = RESNETS["resnet50"]
    network.stem.name, network.stem.shape           # "conv1", (64, 3, 7, 7)
    expected = state_shapes(network, hidden=hidden_sizes("128"), classes=20)    # of the Classifier, as archives name it

That these are the layers and tensors torchvision builds is checked for each of RESNETS: pytest tests/unit/model
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kennel.errors import HyperparameterError

# torchvision's default, which all of RESNETS have.
BATCH_NORM_EPSILON: Final = 1e-5
_BACKBONE: Final = "backbone.network."


@dataclass(frozen=True)
class Resnet:
    """One of RESNETS. depths: blocks in each of its four stages. expansion: 4 for blocks of three convolutions."""

    depths: tuple[int, int, int, int]
    expansion: int
    groups: int = 1
    group_width: int = 64

    @property
    def feature_dim(self) -> int:
        """Length of a feature vector."""
        return 512 * self.expansion

    @property
    def stem(self) -> "Convolution":
        """The first convolution; a maximum over 3 x 3 with stride 2 follows it."""
        return Convolution("conv1", "bn1", 3, 64, kernel=7, stride=2)

    def blocks(self) -> Iterator["Block"]:
        """The blocks from input to output."""
        channels = 64
        for stage, depth in enumerate(self.depths, 1):
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                yield self._block(f"layer{stage}.{index}", channels, 32 * 2**stage, stride)
                channels = 32 * 2**stage * self.expansion

    def _block(self, name: str, channels: int, planes: int, stride: int) -> "Block":
        out = planes * self.expansion
        path: tuple[Convolution, ...]
        if self.expansion == 1:
            path = (
                Convolution(f"{name}.conv1", f"{name}.bn1", channels, out, kernel=3, stride=stride),
                Convolution(f"{name}.conv2", f"{name}.bn2", out, out, kernel=3),
            )
        else:
            width = planes * self.group_width // 64 * self.groups
            path = (
                Convolution(f"{name}.conv1", f"{name}.bn1", channels, width, kernel=1),
                Convolution(f"{name}.conv2", f"{name}.bn2", width, width, kernel=3, stride=stride, groups=self.groups),
                Convolution(f"{name}.conv3", f"{name}.bn3", width, out, kernel=1),
            )
        if stride == 1 and channels == out:
            return Block(path, None)
        shortcut = Convolution(f"{name}.downsample.0", f"{name}.downsample.1", channels, out, kernel=1, stride=stride)
        return Block(path, shortcut)


@dataclass(frozen=True)
class Convolution:
    """A convolution without bias, padded by half its kernel, and the BatchNorm after it; names as torchvision's."""

    name: str
    norm: str
    channels: int
    out: int
    kernel: int
    stride: int = 1
    groups: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of its weights."""
        return self.out, self.channels // self.groups, self.kernel, self.kernel


@dataclass(frozen=True)
class Block:
    """ReLU between the convolutions of `path`; their result and the block's input are added, then ReLU.

    shortcut: what the input goes through before it is added, where its shape is another.
    """

    path: tuple[Convolution, ...]
    shortcut: Convolution | None

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """All of them, in the order of torchvision's state."""
        return (*self.path, self.shortcut) if self.shortcut else self.path


RESNETS: Final = {
    "resnet18": Resnet((2, 2, 2, 2), 1),
    "resnet34": Resnet((3, 4, 6, 3), 1),
    "resnet50": Resnet((3, 4, 6, 3), 4),
    "resnet101": Resnet((3, 4, 23, 3), 4),
    "resnet152": Resnet((3, 8, 36, 3), 4),
    "resnext50_32x4d": Resnet((3, 4, 6, 3), 4, groups=32, group_width=4),
    "resnext101_32x8d": Resnet((3, 4, 23, 3), 4, groups=32, group_width=8),
    "resnext101_64x4d": Resnet((3, 4, 23, 3), 4, groups=64, group_width=4),
    "wide_resnet50_2": Resnet((3, 4, 6, 3), 4, group_width=128),
    "wide_resnet101_2": Resnet((3, 4, 23, 3), 4, group_width=128),
}


def tensor_name(name: str) -> str:
    """What the Classifier's state, and so an archive, calls a tensor of the backbone."""
    return f"{_BACKBONE}{name}"


def state_shapes(network: Resnet, *, hidden: list[int], classes: int) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a Classifier by name. hidden: sizes of the head's hidden layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for convolution in (network.stem, *(each for block in network.blocks() for each in block.convolutions)):
        shapes[tensor_name(f"{convolution.name}.weight")] = convolution.shape
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            shapes[tensor_name(f"{convolution.norm}.{tensor}")] = (convolution.out,)
        shapes[tensor_name(f"{convolution.norm}.num_batches_tracked")] = ()
    widths = [network.feature_dim, *hidden, classes]
    for layer, (width, out) in zip(head_layers(hidden), zip(widths, widths[1:], strict=False), strict=True):
        shapes[f"{layer}.weight"], shapes[f"{layer}.bias"] = (out, width), (out,)
    return shapes


def head_layers(hidden: list[int]) -> list[str]:
    """The names of the head's linear layers, from input to output; ReLU stands between them."""
    return [f"head.{2 * index}" for index in range(len(hidden) + 1)] if hidden else ["head"]


def hidden_sizes(spec: str) -> list[int]:
    """The sizes of a head's hidden layers: none for "linear", [256, 128] for "256,128".

    Raises HyperparameterError for any other spec.
    """
    if spec == "linear":
        return []
    parts = [part.strip() for part in spec.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise HyperparameterError(
            f"Hyperparameter 'head' has value '{spec}'. Expected linear, or sizes such as 256,128."
        )
    return [int(part) for part in parts]
