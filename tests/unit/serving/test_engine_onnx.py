"""ONNX Runtime answers what torch answers, for every network it can be built for, and without torch."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from kennel.errors import ArchiveError
from kennel.images.transforms import EvalTransform
from kennel.model.archive import Archive, ClassEntry, Predict
from kennel.model.classifier import Classifier, build_classifier
from kennel.model.layout import RESNETS, Convolution
from kennel.model.trained import array_predictor
from kennel.serving.onnx_engine import load_network
from kennel.serving.onnx_graph import build_graph, fold_batch_norm
from served_archive import CARD, golden, picture

# The rest of RESNETS differs from these in its numbers only, which tests/unit/model/test_layout.py compares.
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d")
CLASSES = tuple(ClassEntry(f"{index:03}", f"class {index}") for index in range(7))


def lifelike(backbone: str, head: str = "linear") -> Classifier:
    """A network as a training leaves it: its BatchNorms have seen pictures, its answers differ.

    Weights and biases of the BatchNorms are spread as those of torchvision's pretrained ResNets. The last ones of the
    blocks are smaller: else a deep network that was never trained makes 1e-4 of float32's last digit, in torch too.
    """
    torch.manual_seed(0)
    model = build_classifier(backbone, head, len(CLASSES))
    last = "bn3" if RESNETS[backbone].expansion == 4 else "bn2"
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the average of all batches, at once
                module.weight.uniform_(0.2, 0.7).mul_(0.15 if name.endswith(last) else 1)
                module.bias.normal_(-0.1, 0.25).mul_(0.15 if name.endswith(last) else 1)
        model.train()(images(8, 64))
        for name, weights in model.named_parameters():
            if name.startswith("head"):
                weights.mul_(6)
    return model.eval()


def images(count: int, size_px: int) -> torch.Tensor:
    """Blobs of colour with noise on them; noise alone looks the same to a network, whatever the seed."""
    generator = torch.Generator().manual_seed(count)
    fields = torch.randn(count, 3, 4, 4, generator=generator)
    noise = torch.randn(count, 3, size_px, size_px, generator=generator)
    return nn.functional.interpolate(fields, (size_px, size_px), mode="bilinear") + 0.5 * noise


def archive_of(model: Classifier, size_px: int, *, backbone: str, head: str = "linear") -> Archive:
    card = replace(CARD, backbone=backbone, head=head, classes=CLASSES, eval_transform=EvalTransform.for_size(size_px))
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return Archive(Path("/nowhere"), card, state, ())


def assert_same(found: Predict, expected: Predict, size_px: int, count: int) -> None:
    inputs = images(count, size_px).numpy()
    probabilities, answers = found(inputs), expected(inputs)
    assert (probabilities.dtype, probabilities.shape) == (np.float32, answers.shape)
    assert np.abs(probabilities - answers).max() < 1e-5
    assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-6
    assert np.ptp(answers, axis=0).max() > 0.01  # the pictures are told apart, or nothing was compared


@pytest.mark.parametrize("backbone", BACKBONES)
def test_probabilities_are_torchs_at_two_sizes(backbone: str) -> None:
    model = lifelike(backbone)
    expected = array_predictor(model, temperature=CARD.temperature)
    for size_px in (64, 160):
        assert_same(load_network(archive_of(model, size_px, backbone=backbone)), expected, size_px, 2)


def test_a_batch_of_any_size_is_answered_row_by_row() -> None:
    model = lifelike("resnet18")
    found = load_network(archive_of(model, 64, backbone="resnet18"))
    for count in (8, 3, 5):
        assert_same(found, array_predictor(model, temperature=CARD.temperature), 64, count)
    together = images(8, 64).numpy()
    alone = np.concatenate([found(image[np.newaxis]) for image in together])
    assert np.abs(alone - found(together)).max() < 1e-6


@pytest.mark.parametrize("head", ["16", "32,16"])
def test_hidden_layers_of_the_head_are_computed_too(head: str) -> None:
    model = lifelike("resnet18", head)
    found = load_network(archive_of(model, 64, backbone="resnet18", head=head))
    assert_same(found, array_predictor(model, temperature=CARD.temperature), 64, 4)


def test_the_temperature_is_the_cards() -> None:
    model = lifelike("resnet18")
    archive = archive_of(model, 64, backbone="resnet18")
    found = load_network(replace(archive, card=replace(archive.card, temperature=0.7)))
    assert_same(found, array_predictor(model, temperature=0.7), 64, 4)


def test_a_folded_convolution_is_the_two_layers_rounded_once() -> None:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        tensor.data.uniform_(0.1, 2)
    modules = {"c": convolution, "n": norm}
    state = {
        f"backbone.network.{prefix}.{name}": tensor.numpy()
        for prefix, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    weight, bias = fold_batch_norm(state, Convolution("c", "n", 8, 16, kernel=3))
    inputs = torch.randn(2, 8, 9, 9, dtype=torch.float64)
    expected = norm.double()(convolution.double()(inputs)).detach()
    found = nn.functional.conv2d(inputs, torch.from_numpy(weight).double(), torch.from_numpy(bias).double(), padding=1)
    assert (weight.dtype, bias.dtype) == (np.float32, np.float32)
    assert (found - expected).abs().max() < 1e-6


def test_the_graph_says_its_shapes_and_has_no_batch_norm() -> None:
    archive = archive_of(lifelike("resnet18"), 64, backbone="resnet18")
    graph = build_graph(archive.card, archive.state)
    model = onnx.shape_inference.infer_shapes(graph.model, strict_mode=True)
    (entering,), (leaving,) = model.graph.input, model.graph.output
    shapes = [
        [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim] for value in (entering, leaving)
    ]
    assert shapes == [["N", 3, 64, 64], ["N", len(CLASSES)]]
    operators = [node.op_type for node in model.graph.node]
    assert (operators.count("Conv"), operators.count("BatchNormalization")) == (20, 0)
    assert [each.name for each in model.graph.initializer] == list(graph.tensors)
    assert model.ByteSize() < 50_000  # the numbers are not in it


@pytest.mark.parametrize("backbone", ["vgg11", "efficientnet_b0", "resnet19"])
def test_a_backbone_that_cannot_be_built_is_named_with_the_ones_that_can(backbone: str) -> None:
    archive = archive_of(lifelike("resnet18"), 64, backbone=backbone)
    with pytest.raises(ArchiveError, match=f"cannot serve backbone {backbone} here; it can serve resnet18, .*--cpu"):
        load_network(archive)


def test_tensors_of_another_network_are_refused() -> None:
    model = lifelike("resnet18")
    with pytest.raises(ArchiveError, match="/nowhere cannot be used. The tensors are not those of backbone resnet34"):
        load_network(archive_of(model, 64, backbone="resnet34"))
    with pytest.raises(ArchiveError, match="'head' has value 'wide'"):
        load_network(archive_of(model, 64, backbone="resnet18", head="wide"))


# In a process that has no torch.
WITHOUT_TORCH = """
import json, os, sys, time
sys.modules["torch"] = sys.modules["torchvision"] = None
import inference
from pathlib import Path
model = inference.model_fn(sys.argv[1])
time.sleep(0.5)  # for whatever would start by itself
threads = len(os.listdir("/proc/self/task"))
def answer():
    request = inference.input_fn(Path(sys.argv[2]).read_bytes(), "image/png")
    return inference.output_fn(inference.predict_fn(request, model), "application/json")[0].decode()
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, answer().encode())
    os._exit(0)
os.wait()
print(json.dumps([model.name, model.golden, threads, answer(), os.read(read, 65536).decode()]))
"""


def test_the_four_functions_answer_without_torch_and_threads_and_in_a_fork(model_dir: Path, tmp_path: Path) -> None:
    """One thread, and an empty home: ONNX Runtime's own reports to its maker are not begun."""
    (tmp_path / "picture.png").write_bytes(picture())
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(model_dir), str(tmp_path / "picture.png")],
        capture_output=True,
        check=True,
        env={"PATH": "/usr/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},  # the last as the server sets it
        timeout=60,
    )
    name, replayed, threads, answer, of_fork = json.loads(found.stdout)
    assert (name, replayed, threads) == ("onnxruntime", 2, 1)
    assert of_fork == answer
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    probability = json.loads(answer)["predictions"][0]["probability"]
    assert probability == pytest.approx(max(golden(model_dir)[0][1]), abs=1e-5)
