"""What is written is what is read; what is not whole, not of this format or not the same is refused."""

import contextlib
import copy
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kennel.errors import ArchiveError, ContractError, ImageError
from kennel.images.decode import decode_image, read_image
from kennel.images.transforms import EvalTransform
from kennel.model import archive as archives
from kennel.model import trained
from kennel.model.archive import (
    Archive,
    ClassEntry,
    ModelCard,
    Predict,
    package_versions,
    read_archive,
    replay_golden,
)
from kennel.model.classifier import Classifier, build_classifier
from kennel.model.trained import array_predictor, load_classifier, predict_probabilities, write_archive
from kennel.model.weights import load_weights

BACKBONE = "shufflenet_v2_x0_5"  # the smallest there is
CLASSES = tuple(ClassEntry(f"00{index}.{label}", label) for index, label in enumerate(("Akita", "Beagle", "Borzoï"), 1))


def make_card(**changes: Any) -> ModelCard:  # noqa: ANN401  any field of the card
    card = ModelCard(
        backbone=BACKBONE,
        head="8",
        classes=CLASSES,
        eval_transform=EvalTransform.for_size(64),
        temperature=1.5,
        abstain_threshold=0.4,
        metrics={"valid": {"accuracy": 0.9, "loss": 0.3}, "test": {"accuracy": 0.85}},
        hyperparameters={"backbone": BACKBONE, "batch-size": 32},
        data_digest="abc",
        versions=package_versions(),
        git_commit=None,
        created="2026-11-21T08:15:00+00:00",
    )
    return dataclasses.replace(card, **changes)


def make_model(backbone: str = BACKBONE, head: str = "8", classes: int = 3) -> Classifier:
    """A network that tells pictures apart without a training: BatchNorm has seen some, the head's weights are large."""
    torch.manual_seed(0)
    model = build_classifier(backbone, head, classes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the average of all batches, at once
    with torch.no_grad():
        model.train()(batch(8))
        for name, weights in model.named_parameters():
            if name.startswith("head"):
                weights.mul_(3)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Classifier:
    return make_model()


def picture(image_format: str = "JPEG", *, seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(values).resize((100, 80)).save(buffer, image_format)
    return buffer.getvalue()


GOLDEN = (picture("JPEG", seed=0), picture("PNG", seed=1), picture("TIFF", seed=2))


@pytest.fixture
def folder(model: Classifier, tmp_path: Path) -> Path:
    """A whole archive."""
    folder = tmp_path / "model"
    write_archive(folder, model, make_card(), golden=GOLDEN)
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads((folder / "model.json").read_text())
    change(values)
    (folder / "model.json").write_text(json.dumps(values))


def sign(folder: Path, name: str) -> None:
    """Enters a changed file's digest in model.json, as someone who knows the format could."""
    digest = archives.digest_of(folder / name)
    edit(folder, lambda values: values["files"].update({name: digest}))


def error_of(folder: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        load_classifier(read_archive(folder))
    return str(caught.value)


def predictor(archive: Archive, *, temperature: float | None = None) -> Predict:
    """What a server would answer with."""
    return array_predictor(load_classifier(archive), temperature=temperature or archive.card.temperature)


def batch(count: int = 4, *, size_px: int = 64) -> Tensor:
    return torch.randn(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))


# Whole


def test_archive_is_what_was_written(folder: Path, model: Classifier) -> None:
    archive = read_archive(folder)
    assert archive.card == make_card()
    assert archive.card.labels == ("Akita", "Beagle", "Borzoï")
    found = load_classifier(archive)
    assert not found.training
    assert not any(weights.requires_grad for weights in found.parameters())
    expected = predict_probabilities(model, batch(), temperature=1.5)
    assert torch.equal(predict_probabilities(found, batch(), temperature=1.5), expected)
    assert np.array_equal(predictor(archive)(batch().numpy()), expected.numpy())
    assert all(np.array_equal(archive.state[name], tensor.numpy()) for name, tensor in model.state_dict().items())
    assert [example.data for example in archive.golden] == list(GOLDEN)
    assert [example.name for example in archive.golden] == ["0.jpg", "1.png", "2.tif"]


def test_archive_has_these_files_and_no_pickle(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "model.json",
        "model.safetensors",
        "golden/expected.json",
        "golden/0.jpg",
        "golden/1.png",
        "golden/2.tif",
    }
    state = load_file(folder / "model.safetensors")
    assert {tensor.dtype for name, tensor in state.items() if "num_batches" not in name} == {torch.float32}


def test_model_json_is_read_without_torch(folder: Path) -> None:
    program = (
        "import json, sys; values = json.load(open(sys.argv[1], encoding='utf-8')); assert 'torch' not in sys.modules; "
        "print(values['format_version'], values['classes'][2]['label'], sorted(values['files']))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(folder / "model.json")],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    files = "['golden/0.jpg', 'golden/1.png', 'golden/2.tif', 'golden/expected.json', 'model.safetensors']"
    assert found.stdout.decode().strip() == f"1 Borzoï {files}"


def test_archive_is_read_and_checked_and_replayed_without_torch(folder: Path, model: Classifier) -> None:
    program = (
        "import sys; sys.modules['torch'] = sys.modules['torchvision'] = None\n"
        "from pathlib import Path; import numpy as np\n"
        "from kennel.model.archive import check_shapes, read_archive, replay_golden\n"
        "archive = read_archive(Path(sys.argv[1]))\n"
        "shapes = {name: array.shape for name, array in archive.state.items()}\n"
        "check_shapes(archive.card, shapes, shapes)\n"
        "answers = iter(archive.golden)\n"
        "replay_golden(archive, lambda images: np.array([next(answers).probabilities], np.float32))\n"
        "print(len(shapes), archive.card.labels[0])"
    )
    found = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, check=True)
    assert found.stdout.decode().split() == [str(len(model.state_dict())), "Akita"]


def test_golden_mismatch_says_which_packages_are_not_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "torch":
            raise metadata.PackageNotFoundError(package)
        return "9.9"

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(ArchiveError, match=r"torch 2\.15\.0 -> not installed"):
        replay_golden(read_archive(folder), lambda _: np.zeros((1, 3), np.float32))


def test_model_json_has_the_keys_its_documentation_shows(folder: Path) -> None:
    documented = {line.split('"')[1] for line in str(archives.__doc__).splitlines() if line.startswith('      "')}
    assert documented == set(json.loads((folder / "model.json").read_text()))


def test_archive_written_twice_is_the_same(model: Classifier, folder: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "again", model, make_card(), golden=GOLDEN)
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_archive_replaces_an_older_one(folder: Path, model: Classifier) -> None:
    write_archive(folder, model, make_card(temperature=2.0), golden=GOLDEN[:1])
    archive = read_archive(folder)
    assert archive.card.temperature == 2.0
    assert len(archive.golden) == 1
    assert not (folder / "golden" / "1.png").exists()
    replay_golden(archive, predictor(archive))


def test_archive_keeps_a_few_golden_pictures_only(model: Classifier, tmp_path: Path) -> None:
    write_archive(tmp_path, model, make_card(), golden=[picture(seed=index) for index in range(7)])
    assert len(read_archive(tmp_path).golden) == trained.MAX_GOLDEN


def test_archive_is_read_from_one_folder_in_the_folder(folder: Path) -> None:
    assert read_archive(folder.parent).folder == folder


def test_archive_of_a_hooked_model_in_train_mode_on_another_layout_is_plain(tmp_path: Path, folder: Path) -> None:
    hooked = load_classifier(read_archive(folder)).to(memory_format=torch.channels_last).train()
    hooked.head[0].register_forward_hook(lambda *_: torch.zeros(1, 8))  # changes every answer
    write_archive(tmp_path / "hooked", hooked, make_card(), golden=GOLDEN)
    assert (tmp_path / "hooked" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert (tmp_path / "hooked" / "golden" / "expected.json").read_text() == (
        folder / "golden" / "expected.json"
    ).read_text()
    assert hooked.training


def test_archive_leaves_the_random_generator_alone(folder: Path, model: Classifier, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    write_archive(tmp_path / "again", model, make_card(), golden=GOLDEN)
    load_classifier(read_archive(folder))
    assert torch.equal(torch.get_rng_state(), before)


# Golden


def test_golden_pictures_are_replayed(folder: Path) -> None:
    archive = read_archive(folder)
    replay_golden(archive, predictor(archive), tolerance=1e-6)
    spread_of = torch.tensor([example.probabilities for example in archive.golden])
    assert (
        spread_of[0] - spread_of[1]
    ).abs().max() > 0.01  # they tell pictures apart, or the replay would prove nothing
    assert torch.allclose(spread_of.sum(dim=1), torch.ones(3))


def test_golden_pictures_are_replayed_through_another_engine(folder: Path) -> None:
    archive = read_archive(folder)
    engine = load_classifier(archive).to(memory_format=torch.channels_last)  # as a server may do to its model
    replay_golden(archive, array_predictor(engine, temperature=1.5))
    with pytest.raises(ArchiveError, match="Golden picture"):
        replay_golden(archive, array_predictor(engine, temperature=3.0))


@pytest.mark.parametrize("change", ["weights", "transform", "temperature", "nan"])
def test_golden_replay_refuses_other_answers(folder: Path, change: str) -> None:
    archive = read_archive(folder)
    if change in ("weights", "nan"):
        archive.state["head.2.bias"][1] += 0.5 if change == "weights" else float("nan")
    if change == "transform":
        card = dataclasses.replace(archive.card, eval_transform=EvalTransform(64, 64))
        archive = dataclasses.replace(archive, card=card)
    if change == "temperature":
        archive = dataclasses.replace(archive, card=dataclasses.replace(archive.card, temperature=1.0))
    with pytest.raises(ArchiveError) as caught:
        replay_golden(archive, predictor(archive))
    message = str(caught.value)
    assert f"Golden picture {folder / 'golden' / '0.jpg'}: expected '" in message
    assert "(tolerance 0.001)" in message


def test_golden_replay_names_what_was_expected_found_and_changed(folder: Path) -> None:
    archive = read_archive(folder)
    versions = {**archive.card.versions, "torch": "2.0.0"}
    archive = dataclasses.replace(archive, card=dataclasses.replace(archive.card, versions=versions))
    with pytest.raises(ArchiveError) as caught:
        replay_golden(archive, lambda _: np.array([[0.0, 0.0, 1.0]], np.float32))
    expected = archive.golden[0].probabilities
    worst = max(range(3), key=lambda index: abs(expected[index] - (index == 2)))
    found = 1.0 if worst == 2 else 0.0
    assert f"expected '{CLASSES[worst].label}' at {expected[worst]:.6f}, found {found:.6f}" in str(caught.value)
    assert f"Packages changed since: torch 2.0.0 -> {torch.__version__.partition('+')[0]}" in str(caught.value)


def test_golden_replay_refuses_a_picture_that_cannot_be_decoded(folder: Path) -> None:
    (folder / "golden" / "0.jpg").write_bytes(b"no picture")
    sign(folder, "golden/0.jpg")
    with pytest.raises(ArchiveError, match="0.jpg: golden picture is not an image"):
        archive = read_archive(folder)
        replay_golden(archive, predictor(archive))


# Not whole


@pytest.mark.parametrize("name", ["model.safetensors", "golden/expected.json", "golden/1.png"])
def test_archive_with_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{folder / name} is missing, though model.json lists it. Unpack model.tar.gz again" in error_of(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "golden/expected.json", "golden/1.png"])
def test_archive_with_a_file_cut_short_is_refused(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1])
    assert f"{folder / name} is cut short or changed" in error_of(folder)


def test_archive_without_card_names_what_is_there_instead(tmp_path: Path) -> None:
    assert f"{tmp_path} has no model.json" in error_of(tmp_path)
    (tmp_path / "model.pth").touch()
    message = error_of(tmp_path)
    assert "Expected the content of a Kennel training's model.tar.gz" in message
    assert "found: ['model.pth']" in message
    assert "found: no such folder" in error_of(tmp_path / "nowhere")


def test_archive_beside_another_is_ambiguous(folder: Path, model: Classifier) -> None:
    write_archive(folder.parent / "other", model, make_card(), golden=GOLDEN)
    assert "found: ['model', 'other']" in error_of(folder.parent)


class _PowerCutError(Exception):
    """Stands for the end of the process."""


# Writing ends with four files flushed and three names moved into place: the crash comes after so many of these.
@pytest.mark.parametrize("done", range(8))
def test_archive_is_the_old_one_or_refused_after_a_crash(
    done: int, folder: Path, model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def crash_after(function: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: object) -> None:
            nonlocal count
            count += 1
            if count > done:
                raise _PowerCutError
            function(*arguments)

        return counted

    with monkeypatch.context() as patch, contextlib.suppress(_PowerCutError):
        for name in ("fsync", "replace"):
            patch.setattr(os, name, crash_after(getattr(os, name)))
        write_archive(folder, model, make_card(temperature=2.5), golden=GOLDEN[:1])
    if 4 <= done < 7:
        assert f"{folder} has no model.json" in error_of(folder)
    else:
        archive = read_archive(folder)
        assert archive.card.temperature == (2.5 if done == 7 else 1.5)
        replay_golden(archive, predictor(archive))
    write_archive(folder, model, make_card(temperature=3.5), golden=GOLDEN[:1])
    assert read_archive(folder).card.temperature == 3.5
    assert sorted(path.name for path in folder.iterdir()) == ["golden", "model.json", "model.safetensors"]


# Not of this format


def test_archive_of_a_newer_format_is_refused_with_both_versions(folder: Path) -> None:
    edit(folder, lambda values: values.update(format_version=2, versions={"kennel": "7.0"}, classes="otherwise"))
    message = error_of(folder)
    assert f"{folder / 'model.json'} is of format 2, written by Kennel 7.0" in message
    assert f"this is Kennel {package_versions()['kennel']}, which reads formats up to 1" in message
    assert "Serve it with a newer kennel-serve image, or train again with this version." in message


@pytest.mark.parametrize("version", [None, "1", 0, True, 1.0])
def test_archive_of_no_format_is_refused(folder: Path, version: object) -> None:
    edit(folder, lambda values: values.update(format_version=version))
    assert f"format_version is {version!r}. Expected 1" in error_of(folder)


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read as JSON"), ("[]", "holds no JSON object")])
def test_archive_with_a_broken_card_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "model.json").write_text(text)
    assert f"{folder / 'model.json'} {message}" in error_of(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "resnet19"}, "Unknown backbone 'resnet19'"),
        ({"head": "wide"}, "'head' has value 'wide'"),
        ({"temperature": 0}, "temperature is 0. Expected a number above 0"),
        ({"temperature": "1.5"}, "'temperature' is '1.5'. Expected int or float"),
        ({"abstain_threshold": 2.0}, "abstain_threshold is 2.0. Expected 0 to 1"),
        ({"classes": ["Akita"]}, "classes holds 'Akita'"),
        ({"classes": [{"folder": "a"}]}, "'label' is missing"),
        ({"classes": [{"folder": "a", "label": "a"}] * 3}, "3 classes, 1 of them different"),
        ({"eval_transform": {}}, "Eval transform: found {}"),
        ({"git_commit": 5}, "'git_commit' is 5. Expected str or NoneType"),
        ({"metrics": None}, "'metrics' is None. Expected dict"),
        ({"files": {}}, "does not list model.safetensors"),
        ({"files": None}, "does not list model.safetensors"),
    ],
)
def test_archive_with_a_wrong_card_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    edit(folder, lambda values: values.update(change))
    assert message in error_of(folder)


def test_archive_with_an_incomplete_card_is_refused(folder: Path) -> None:
    edit(folder, lambda values: values.pop("temperature"))
    assert "'temperature' is missing" in error_of(folder)


def test_archive_of_other_classes_than_its_tensors_is_refused(folder: Path) -> None:
    edit(folder, lambda values: values["classes"].append({"folder": "004.X", "label": "X"}))
    assert "0.jpg has 3 probabilities for 4 classes" in error_of(folder)
    examples = [{"file": "0.jpg", "probabilities": [0.25] * 4}]
    (folder / "golden" / "expected.json").write_text(json.dumps({"examples": examples}))
    sign(folder, "golden/expected.json")
    message = error_of(folder)
    assert "The tensors are not those of backbone shufflenet_v2_x0_5, head 8, 4 classes: 2 do not fit" in message
    assert "head.2.weight: expected (4, 8), found (3, 8)" in message


def test_archive_of_another_backbone_than_its_tensors_is_refused(folder: Path) -> None:
    edit(folder, lambda values: values.update(backbone="resnet18"))
    assert "The tensors are not those of backbone resnet18" in error_of(folder)


def test_archive_with_a_tensor_missing_or_too_many_is_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["head.9.bias"] = state.pop("head.2.bias")
    save_file(state, folder / "model.safetensors")
    sign(folder, "model.safetensors")
    message = error_of(folder)
    assert "head.2.bias: expected (3,), found None" in message
    assert "head.9.bias: expected None, found (3,)" in message


def test_archive_with_a_state_that_is_no_safetensors_file_is_refused(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "model.safetensors")
    sign(folder, "model.safetensors")
    assert f"{folder / 'model.safetensors'} is no safetensors file" in error_of(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "golden/../../secret"])
def test_archive_that_reaches_outside_of_itself_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret").touch()
    edit(folder, lambda values: values["files"].update({name: "0" * 64}))
    assert f"lists '{name}', which is outside of the archive" in error_of(folder)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "lists no examples"),
        (None, "lists no examples"),
        ([{"file": "0.jpg"}], "is no golden example"),
        ([{"file": "9.jpg", "probabilities": [0.5, 0.25, 0.25]}], "is no golden example"),
        ([{"file": "../../secret", "probabilities": [0.5, 0.25, 0.25]}], "outside of the archive"),
        ([{"file": "0.jpg", "probabilities": [0.5, 0.5]}], "0.jpg has 2 probabilities for 3 classes"),
        ([{"file": "0.jpg", "probabilities": ["many"]}], "is no golden example"),
    ],
)
def test_archive_with_wrong_golden_examples_is_refused(folder: Path, examples: object, message: str) -> None:
    (folder / "golden" / "expected.json").write_text(json.dumps({"examples": examples}))
    sign(folder, "golden/expected.json")
    assert message in error_of(folder)


# Not written


def test_write_refuses_a_card_of_another_model(model: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="The tensors are not those of backbone shufflenet_v2_x0_5, head linear"):
        write_archive(tmp_path, model, make_card(head="linear"), golden=GOLDEN)
    assert list(tmp_path.iterdir()) == []


def test_write_refuses_to_go_without_a_golden_picture(model: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="needs a golden picture"):
        write_archive(tmp_path, model, make_card(), golden=[])


def test_write_refuses_golden_bytes_that_are_no_picture(model: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="golden picture is not an image"):
        write_archive(tmp_path, model, make_card(), golden=[b"text"])


def test_write_refuses_a_model_that_gives_no_numbers(folder: Path, tmp_path: Path) -> None:
    broken = load_classifier(read_archive(folder))
    broken.head[2].weight[0, 0] = float("inf")
    with pytest.raises(ArchiveError, match="probabilities that are no numbers: the training diverged"):
        write_archive(tmp_path / "broken", broken, make_card(), golden=GOLDEN)


def test_write_refuses_metrics_that_json_has_no_number_for(model: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="holds a number that JSON cannot.*'loss': nan"):
        write_archive(tmp_path, model, make_card(metrics={"valid": {"loss": float("nan")}}), golden=GOLDEN)
    assert not (tmp_path / "model.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"abstain_threshold": -0.1}, "abstain_threshold is -0.1"),
        ({"classes": CLASSES[:1]}, "1 classes"),
    ],
)
def test_card_refuses_values_that_no_reader_could_use(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        make_card(**change)


# Predicting


def test_probabilities_are_softmax_of_logits_over_temperature(model: Classifier) -> None:
    with torch.no_grad():
        logits = model(batch())
    for temperature in (0.5, 1.0, 4.0):
        found = predict_probabilities(model, batch(), temperature=temperature)
        assert found.dtype == torch.float32
        assert torch.allclose(found, torch.softmax(logits / temperature, dim=1), atol=1e-6)
        assert torch.allclose(found.sum(dim=1), torch.ones(4), atol=1e-6)


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "resnet18"])
def test_probabilities_do_not_depend_on_the_rest_of_the_batch(backbone: str) -> None:
    model = make_model(backbone, "linear", 5)
    images = batch(7)
    together = predict_probabilities(model, images, temperature=1.0)
    alone = torch.cat([predict_probabilities(model, image[None], temperature=1.0) for image in images])
    assert (together - alone).abs().max() < 1e-5
    assert (together[0] - together[1]).abs().max() > 1e-4


def test_probabilities_are_float32_within_autocast(model: Classifier) -> None:
    expected = predict_probabilities(model, batch(), temperature=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(batch()).dtype == torch.bfloat16
        found = predict_probabilities(model, batch(), temperature=1.0)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_probabilities_of_a_model_in_train_mode_are_refused(model: Classifier) -> None:
    with pytest.raises(ContractError, match="train mode. Call model.eval"):
        predict_probabilities(copy.deepcopy(model).train(), batch(), temperature=1.0)


@pytest.mark.photos
def test_archive_of_real_weights_answers_photos_as_before(shared: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_classifier("resnet18", "linear", 3)
    load_weights(model.backbone, shared / "weights" / "resnet18-half.pth")
    files = sorted((shared / "data" / "photos").glob("*.JPEG"))[:4]
    card = make_card(backbone="resnet18", head="linear", eval_transform=EvalTransform.for_size(224))
    write_archive(tmp_path, model.eval(), card, golden=[file.read_bytes() for file in files])
    archive = read_archive(tmp_path)
    replay_golden(archive, predictor(archive), tolerance=1e-6)
    images = np.stack([card.eval_transform.array(read_image(file)) for file in files])
    stored = np.array([example.probabilities for example in archive.golden])
    assert np.abs(predictor(archive)(images) - stored).max() < 1e-5
    assert decode_image(archive.golden[0].data).size == read_image(files[0]).size


def test_archive_can_be_read_by_a_server_of_another_user(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o044 == 0o044, path
