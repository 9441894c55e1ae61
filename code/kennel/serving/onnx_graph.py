"""An archive's network as an ONNX graph: built from its tensors when a server starts, by nothing but their names.

    graph = build_graph(archive.card, archive.state)
    graph.model, graph.tensors      # what is computed, and with which numbers

Input `images`, float32 (N, 3, H, W) through the eval transform, N free; output `probabilities`, float32 (N, classes):
softmax(logits / temperature) as the card says. BatchNorm is folded into the convolution before it, in float64.

The numbers stay beside the model and are named in it as external data, because within a protobuf they would be copied
at every step: loading a ResNet-50 took 0.8 GB that way. Nothing is exported by a training, so every archive that was
ever written can be built, as long as its backbone is one of kennel.model.layout.RESNETS.
Exercise it: pytest tests/unit/serving/test_engine_onnx.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from kennel.errors import ArchiveError
from kennel.model.archive import ModelCard, check_shapes
from kennel.model.layout import (
    BATCH_NORM_EPSILON,
    RESNETS,
    Block,
    Convolution,
    Resnet,
    head_layers,
    hidden_sizes,
    state_shapes,
    tensor_name,
)

State = Mapping[str, NDArray[Any]]

INPUT: Final = "images"
OUTPUT: Final = "probabilities"
# Old enough for every ONNX Runtime that is asked for, and new enough for all that is used here.
_OPSET: Final = 17
_IR_VERSION: Final = 8


@dataclass(frozen=True)
class Graph:
    """A model whose initializers are external data, and the data by their names, float32."""

    model: onnx.ModelProto
    tensors: Mapping[str, NDArray[np.float32]]


def build_graph(card: ModelCard, state: State) -> Graph:
    """The graph, checked by onnx.

    Raises ArchiveError for a backbone that is none of RESNETS and for tensors that are not the card's network's, and
    HyperparameterError for a head that is none.
    """
    network = RESNETS.get(card.backbone)
    if network is None:
        raise ArchiveError(
            f"ONNX Runtime cannot serve backbone {card.backbone} here; it can serve {', '.join(RESNETS)}. Serve it "
            f"where torch is installed (the image without --cpu; KENNEL_ENGINE=torch), or train one of these."
        )
    hidden = hidden_sizes(card.head)
    expected = state_shapes(network, hidden=hidden, classes=len(card.classes))
    check_shapes(card, expected, {name: array.shape for name, array in state.items()})
    builder = _Builder(state)
    logits = builder.head(builder.features(INPUT, network), head_layers(hidden))
    builder.probabilities(logits, card.temperature)
    return builder.graph(card)


class _Builder:
    """Nodes and tensors as they come; each method adds some, and gives the name of what they compute."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: dict[str, NDArray[np.float32]] = {}

    def features(self, images: str, network: Resnet) -> str:
        """The backbone: images to features (N, feature_dim)."""
        found = self._relu(self._convolution(images, network.stem))
        found = self._node("MaxPool", found, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        for block in network.blocks():
            found = self._block(found, block)
        return self._node("Flatten", self._node("GlobalAveragePool", found), axis=1)

    def head(self, features: str, layers: list[str]) -> str:
        """Linear layers, ReLU between them: features to logits (N, classes)."""
        for index, layer in enumerate(layers):
            found = self._relu(features) if index else features
            tensors = (self._tensor(f"{layer}.{name}", self._state[f"{layer}.{name}"]) for name in ("weight", "bias"))
            features = self._node("Gemm", found, *tensors, transB=1)
        return features

    def probabilities(self, logits: str, temperature: float) -> None:
        """The graph's output."""
        scaled = self._node("Div", logits, self._tensor("temperature", np.float32(temperature)))
        self._node("Softmax", scaled, name=OUTPUT, axis=1)

    def graph(self, card: ModelCard) -> Graph:
        """Everything so far. What is checked has the tensors as inputs: the checker wants external data in files."""
        side = card.eval_transform.crop_px
        images = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", 3, side, side])
        output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", len(card.classes)])
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, t.shape) for name, t in self._tensors.items()]
        checked = helper.make_graph(self._nodes, card.backbone, [images, *inputs], [output])
        onnx.checker.check_model(_model(checked), full_check=True)
        external = [_external(name, tensor.shape) for name, tensor in self._tensors.items()]
        return Graph(_model(helper.make_graph(self._nodes, card.backbone, [images], [output], external)), self._tensors)

    def _block(self, entering: str, block: Block) -> str:
        found = entering
        for index, convolution in enumerate(block.path):
            found = self._convolution(self._relu(found) if index else found, convolution)
        beside = self._convolution(entering, block.shortcut) if block.shortcut else entering
        return self._relu(self._node("Add", found, beside))

    def _convolution(self, entering: str, layer: Convolution) -> str:
        weight, bias = fold_batch_norm(self._state, layer)
        return self._node(
            "Conv",
            entering,
            self._tensor(f"{layer.name}.weight", weight),
            self._tensor(f"{layer.name}.bias", bias),
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[layer.kernel // 2] * 4,
            group=layer.groups,
        )

    def _relu(self, entering: str) -> str:
        return self._node("Relu", entering)

    def _node(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:  # noqa: ANN401  as onnx has it
        name = name or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def _tensor(self, name: str, values: NDArray[Any] | np.float32) -> str:
        self._tensors[name] = np.asarray(values, np.float32, order="C")
        return name


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    opset = helper.make_opsetid("", _OPSET)
    return helper.make_model(graph, producer_name="kennel", ir_version=_IR_VERSION, opset_imports=[opset])


def _external(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
    """A tensor whose data is elsewhere. The place has to have a name, and nothing looks there."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="memory")
    return tensor


def fold_batch_norm(state: State, layer: Convolution) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and bias of one convolution that computes what `layer` and the BatchNorm after it do in eval mode.

    Computed in float64, so that it is rounded once.
    """
    weight, scale, shift, mean, variance = (
        state[tensor_name(name)].astype(np.float64)
        for name in (f"{layer.name}.weight", *(f"{layer.norm}.{each}" for each in _NORM_TENSORS))
    )
    factor = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
    return (weight * factor[:, None, None, None]).astype(np.float32), (shift - mean * factor).astype(np.float32)


_NORM_TENSORS: Final = ("weight", "bias", "running_mean", "running_var")
