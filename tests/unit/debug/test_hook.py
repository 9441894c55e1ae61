"""The hook over trainings as kennel.training runs them: what it saves, that it changes nothing, that it fails alone."""

import dataclasses
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kennel.dataset.folders import find_folder
from kennel.debug import hook_steps
from kennel.debug.hook import OFF, Hook, Plan, open_hook
from kennel.debug.hook_config import HookOrder
from kennel.debug.hook_tensors import TensorHook
from kennel.debug.statistics import describe_array
from kennel.debug.tensors import Trial, open_trial
from kennel.hyperparameters import Hyperparameters
from kennel.images.augmentation import TrainTransform
from kennel.images.transforms import EvalTransform
from kennel.profile.timeline import OFF as NO_TIMELINE
from kennel.training.checkpoint import CheckpointStore
from kennel.training.features import EvalFeatures, TrainFeatures
from kennel.training.fit import Fitting
from kennel.training.loader import EvalPictures, TrainPictures
from kennel.training.network import build_start
from kennel.training.stopping import Stopped, StopRequest
from kennel.training.watching import Watch

HEAD = Hyperparameters(
    weights="none", image_size=32, trainable="head", head="16", epochs=3, batch_size=8, lr=0.01, patience=0
)
# With BatchNorm, dropout, and activations that work in place.
WHOLE = dataclasses.replace(HEAD, backbone="mobilenet_v3_small", trainable="all", head="linear", epochs=2)
ALL = {name: {} for name in ("weights", "biases", "gradients", "losses", "relu_input", "relu_output")}
RAW = {"save_interval": "1"}


@dataclasses.dataclass
class Run:
    """A training that was watched, or not."""

    fitting: Fitting
    folder: Path
    output: str = ""

    @property
    def trial(self) -> Trial:
        return open_trial(self.folder)

    @property
    def state(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.fitting.model.state_dict().items()}

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "kennel.json").read_text())
        return facts


def features(settings: Hyperparameters) -> tuple[TrainFeatures, EvalFeatures]:
    numbers = torch.Generator().manual_seed(0)
    targets = torch.arange(30) % 3
    inputs = 4 * torch.randn(3, 512, generator=numbers)[targets] + torch.randn(30, 512, generator=numbers)
    return TrainFeatures(inputs[None], targets, settings.batch_size, 0), EvalFeatures(inputs[:12], targets[:12])


Inputs = Callable[[Hyperparameters], tuple[Any, Any]]


@pytest.fixture
def pictures(make_folder: Callable[..., Path]) -> Inputs:
    def make(settings: Hyperparameters) -> tuple[TrainPictures, EvalPictures]:
        dataset = find_folder(make_folder(images={"train": 6, "valid": 2, "test": 1}), seed=0)
        transform = EvalTransform.for_size(32)
        train = TrainPictures(dataset.splits["train"], TrainTransform(transform), settings.batch_size, 0, 1)
        return train, EvalPictures(dataset.splits["valid"], transform, 1)

    return make


def new_fitting(settings: Hyperparameters) -> Fitting:
    start = build_start(settings, classes=3, channels={}, device=torch.device("cpu"))
    return Fitting(start.model, settings, classes=3, pretrained=False)


def hook_for(fitting: Fitting, order: HookOrder, train: Any, valid: Any) -> Hook:  # noqa: ANN401  any inputs
    first = fitting.progress.epoch * train.steps + fitting.progress.step
    plan = Plan(train.steps, valid.steps, first, facts={"classes": ["a", "b", "c"]})
    return open_hook(lambda: order, plan, fitting.network, phase=NO_TIMELINE.phase, started=time.perf_counter())


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Trains features, or what `inputs` gives, watched as `order` says; not watched without one."""

    def train(settings: Hyperparameters, order: HookOrder | None, inputs: Inputs = features) -> Run:
        train, valid = inputs(settings)
        fitting = new_fitting(settings)
        store = CheckpointStore(tmp_path / f"store{len(list(tmp_path.iterdir()))}", {})
        watch = Watch(hook=hook_for(fitting, order, train, valid) if order else OFF)
        fitting.run(train, valid, store, stop=StopRequest(), watch=watch)
        watch.unhook()
        return Run(fitting, order.folder if order else tmp_path, capsys.readouterr().out)

    return train


def defaults(tmp_path: Path) -> HookOrder:
    return HookOrder(tmp_path / "tensors")


def raw(tmp_path: Path) -> HookOrder:
    return HookOrder(tmp_path / "tensors", RAW, ALL)


def hooks_of(network: nn.Module) -> list[object]:
    return [
        hook
        for module in network.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ] + [hook for parameter in network.parameters() for hook in (parameter._backward_hooks or {}).values()]


def inplace_of(network: nn.Module) -> list[bool]:
    return [module.inplace for module in network.modules() if hasattr(module, "inplace")]


@pytest.mark.parametrize("order", [defaults, raw])
def test_features_train_to_the_same_weights(
    run: Callable[..., Run], tmp_path: Path, order: Callable[[Path], HookOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_steps, "FREE_S", 60)
    plain, watched = run(HEAD, None), run(HEAD, order(tmp_path))
    assert len(watched.trial.steps("TRAIN")) == 3 * 4
    assert all(torch.equal(plain.state[name], tensor) for name, tensor in watched.state.items())


@pytest.mark.parametrize("order", [defaults, raw])
def test_pictures_train_to_the_same_weights_and_the_network_is_left_as_it_was(
    run: Callable[..., Run],
    tmp_path: Path,
    pictures: Inputs,
    order: Callable[[Path], HookOrder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hook_steps, "FREE_S", 60)
    plain = run(WHOLE, None, pictures)
    watched = run(WHOLE, order(tmp_path), lambda settings: _again(tmp_path, settings))
    assert len(watched.trial.steps("TRAIN")) == 2 * 3
    assert all(torch.equal(plain.state[name], tensor) for name, tensor in watched.state.items())
    assert not hooks_of(watched.fitting.model)
    assert inplace_of(watched.fitting.model) == inplace_of(plain.fitting.model) and any(inplace_of(plain.fitting.model))
    assert not [name for module in watched.fitting.model.modules() for name in vars(module) if name == "_module_name"]


def _again(tmp_path: Path, settings: Hyperparameters) -> tuple[TrainPictures, EvalPictures]:
    """The pictures that the fixture made, once more."""
    dataset = find_folder(tmp_path / "pictures", seed=0)
    transform = EvalTransform.for_size(32)
    train = TrainPictures(dataset.splits["train"], TrainTransform(transform), settings.batch_size, 0, 1)
    return train, EvalPictures(dataset.splits["valid"], transform, 1)


@pytest.mark.parametrize("order", [defaults, raw])
def test_a_stopped_training_goes_on_to_the_same_weights_and_the_same_steps(
    run: Callable[..., Run], tmp_path: Path, order: Callable[[Path], HookOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_steps, "FREE_S", 60)
    plain = run(HEAD, dataclasses.replace(order(tmp_path), folder=tmp_path / "through"))
    steps = {mode: plain.trial.steps(mode) for mode in ("TRAIN", "EVAL", "GLOBAL")}
    assert steps["GLOBAL"] == list(range(15)) and len(steps["EVAL"]) == 3
    stop = StopRequest()
    for attempt in range(2):
        train, valid = features(HEAD)
        fitting, store = new_fitting(HEAD), CheckpointStore(tmp_path / "cut", {})
        fitting.resume(store)
        hook = hook_for(fitting, order(tmp_path), train, valid)
        if attempt == 0:
            monkeypatch.setattr(hook, "begin_validation", lambda *_: stop.make(15))  # seen after the next step
        watch = Watch(hook=hook)
        if attempt == 0:
            with pytest.raises(Stopped):
                fitting.run(train, valid, store, stop=stop, watch=watch)
        else:
            fitting.run(train, valid, store, stop=StopRequest(), watch=watch)
        watch.unhook()
    trial = open_trial(tmp_path / "tensors")
    assert {mode: trial.steps(mode) for mode in steps} == steps
    for name in ("CrossEntropyLoss_output_0", "labels"):
        for step in steps["GLOBAL"]:
            np.testing.assert_array_equal(trial.value(name, step), plain.trial.value(name, step))
    assert all(torch.equal(plain.state[name], tensor) for name, tensor in fitting.model.state_dict().items())


def test_defaults_save_what_rules_look_at(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_steps, "FREE_S", 60)
    found = run(HEAD, defaults(tmp_path))
    trial = found.trial
    assert set(trial.names()) == {
        "CrossEntropyLoss_output_0", "labels", "predictions", "scalar/accuracy", "inputs", "inputs_mean", "logits",
        "Sequential_0.weight", "Sequential_2.weight",
        *(f"gradient/Sequential_{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")),
        "1.relu_input_0", "1.relu_output_0",
    }  # fmt: skip
    assert trial.names(collection="losses") == ["CrossEntropyLoss_output_0"]
    assert trial.names(collection="relu_output") == ["1.relu_output_0"]
    for epoch, line in enumerate(found.fitting.progress.history):
        assert trial.value("CrossEntropyLoss_output_0", epoch, "EVAL") == pytest.approx(line["valid_loss"], rel=1e-6)
        assert trial.value("scalar/accuracy", epoch, "EVAL") == pytest.approx(line["valid_accuracy"])
        assert trial.value("labels", epoch, "EVAL").tolist() == [0, 1, 2] * 4
        losses = [trial.value("CrossEntropyLoss_output_0", 4 * epoch + step, "TRAIN") for step in range(4)]
        assert np.average(losses, weights=[8, 8, 8, 6]) == pytest.approx(line["train_loss"], rel=1e-6)
    assert trial.statistic("1.relu_input_0", 0, "min", "TRAIN") < 0
    assert trial.statistic("1.relu_output_0", 0, "min", "TRAIN") == 0
    activity = trial.activity("1.relu_output_0", 0, "TRAIN")
    assert activity is not None and activity.shape == (16,)
    assert trial.statistic("Sequential_0.weight", 0, "update_ratio", "TRAIN") is None
    assert 0 < trial.statistic("Sequential_0.weight", 1, "update_ratio", "TRAIN") < 1
    inputs = features(HEAD)[1].features
    np.testing.assert_allclose(trial.value("inputs_mean", 0, "EVAL"), inputs.mean(0), atol=1e-6)
    assert trial.statistic("inputs", 0, "std", "EVAL") == pytest.approx(float(inputs.std(correction=0)), rel=1e-5)


def test_statistics_are_those_of_the_raw_tensors(run: Callable[..., Run], tmp_path: Path, pictures: Inputs) -> None:
    """The same training twice: once with our numbers saved, once with smdebug's raw tensors."""
    ours = run(WHOLE, HookOrder(tmp_path / "ours", RAW), pictures).trial
    theirs = run(WHOLE, raw(tmp_path), lambda settings: _again(tmp_path, settings)).trial
    names = [name for name in ours.names() if name in theirs.names() and "_mean" not in name]
    assert len([name for name in names if "relu_output" in name]) > 3
    assert len([name for name in names if name.startswith("gradient/")]) > 100
    for name in names:
        for step in (0, 1):
            expected = describe_array(theirs.value(name, step, "TRAIN"))
            for which in ("min", "max", "mean", "std", "abs_mean", "l2", "zero_share", "nonfinite_share"):
                number, wanted = ours.statistic(name, step, which, "TRAIN"), expected[which]
                assert number == pytest.approx(wanted, rel=1e-3, abs=1e-6), (name, which)
    weight = "Classifier_head.weight"
    assert ours.statistic(weight, 1, "update_ratio", "TRAIN") == pytest.approx(
        theirs.statistic(weight, 1, "update_ratio", "TRAIN"), rel=1e-4
    )
    relu = next(name for name in names if "relu_output" in name)
    np.testing.assert_allclose(ours.activity(relu, 0, "TRAIN"), theirs.activity(relu, 0, "TRAIN"), atol=1e-6)
    negative = [
        theirs.statistic(name.replace("output", "input"), 0, "min", "TRAIN") for name in names if "relu_o" in name
    ]
    assert min(negative) < 0, "a ReLU in place would have overwritten its input"


def test_collections_are_saved_as_configured(run: Callable[..., Run], tmp_path: Path) -> None:
    collections = {
        "gradients": {"train.save_interval": "4", "reductions": "mean,abs_max"},
        "custom": {"include_regex": "^labels$", "save_steps": "1,2", "start_step": "1000"},
        "losses": {"train.save_interval": "6", "eval.save_interval": "2"},
    }
    trial = run(HEAD, HookOrder(tmp_path / "tensors", {"save_interval": "5"}, collections)).trial
    name = "gradient/Sequential_2.weight"
    assert trial.steps_of(name, "TRAIN") == [0, 4, 8]
    assert trial.value(name, 4, "TRAIN") is None and trial.statistic(name, 4, "mean", "TRAIN") is not None
    assert trial.steps_of("labels", "TRAIN") == [1, 2]
    assert trial.steps_of("CrossEntropyLoss_output_0", "TRAIN") == [0, 6]
    assert trial.steps_of("CrossEntropyLoss_output_0", "EVAL") == [0, 2]
    assert trial.names(regex="weight") == ["gradient/Sequential_0.weight", name]


def test_labels_of_a_batch_of_the_validation_are_its_own(run: Callable[..., Run], tmp_path: Path) -> None:
    class Batches(EvalFeatures):
        """Four batches of three."""

        @property
        def steps(self) -> int:
            return 4

        def batches(self) -> Any:  # noqa: ANN401
            yield from self.features.split(3)

    def inputs(settings: Hyperparameters) -> tuple[TrainFeatures, EvalFeatures]:
        train, valid = features(settings)
        order = valid.targets.argsort()
        return train, Batches(valid.features[order], valid.targets[order])

    order = HookOrder(tmp_path / "tensors", {"save_interval": "3"}, {"custom": {"include_regex": "labels|predictions"}})
    trial = run(HEAD, order, inputs).trial
    assert trial.steps("EVAL") == [0, 3, 6, 9]
    assert trial.value("labels", 3, "EVAL").tolist() == [2, 2, 2]
    assert trial.value("labels", 6, "EVAL").tolist() == [1, 1, 2]
    assert trial.steps_of("CrossEntropyLoss_output_0", "EVAL") == [0, 3, 6, 9]
    assert trial.steps("GLOBAL")[:4] == [0, 3, 4, 7]  # four steps of training, four of evaluation


def test_what_is_written_is_bounded_and_losses_go_on(run: Callable[..., Run], tmp_path: Path) -> None:
    order = dataclasses.replace(raw(tmp_path), max_bytes=200_000)
    found = run(HEAD, order)
    assert found.output.count("0 MB of tensors are reached: from here on losses only") == 1
    trial = found.trial
    assert len(trial.steps_of("CrossEntropyLoss_output_0", "TRAIN")) == 12
    assert len(trial.steps_of("Sequential_0.weight", "TRAIN")) < 12
    size = sum(path.stat().st_size for path in (found.folder / "events").rglob("*.tfevents"))
    assert size < 210_000
    assert found.facts["overhead"]["stopped_at_limit"] is True


def test_a_failing_hook_is_taken_off_and_the_training_goes_on(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(HEAD, None)

    def fail(_self: TensorHook, name: str, *_: object) -> None:
        if name == "1.relu_output_0":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorHook, "_write_for_tensor", fail)
    found = run(HEAD, defaults(tmp_path))
    lines = [line for line in found.output.splitlines() if line.startswith("debug")]
    assert lines == [
        "debug: the hook failed and is off, training goes on (OSError: [Errno 28] No space left on device)"
    ]
    assert not hooks_of(found.fitting.model) and found.trial.steps() == []
    assert all(torch.equal(plain.state[name], tensor) for name, tensor in found.state.items())
    assert not list(found.folder.rglob("*.tmp"))


def test_an_order_that_cannot_be_followed_is_named_and_nothing_is_hooked(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    found = run(HEAD, HookOrder(tmp_path / "file" / "tensors"))
    assert "debug: the hook failed and is off, training goes on (NotADirectoryError" in found.output
    found = run(HEAD, HookOrder(tmp_path / "tensors", {}, {"my_collection": {}}))
    assert "Collection my_collection has not been configured" in found.output
    assert found.fitting.progress.is_finished


def test_a_collection_that_matches_nothing_is_told(run: Callable[..., Run], tmp_path: Path) -> None:
    order = HookOrder(tmp_path / "tensors", {"save_interval": "600"}, {"mine": {"include_regex": "no_such"}})
    found = run(HEAD, order)
    assert "debug: save_interval=600 is more than an epoch of 4 steps" in found.output
    assert found.trial.names() == ["CrossEntropyLoss_output_0", "scalar/accuracy"]  # losses are always saved


def test_time_for_saving_is_bounded(run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook_steps, "FREE_S", -1)
    monkeypatch.setattr(hook_steps, "FULL_SHARE", 0)
    monkeypatch.setattr(hook_steps, "LIGHT_SHARE", 1e9)
    light = run(HEAD, HookOrder(tmp_path / "light")).trial
    assert set(light.names()) >= {"labels", "predictions"} and not light.names(collection="weights")
    assert len(light.steps("TRAIN")) == 12
    monkeypatch.setattr(hook_steps, "LIGHT_SHARE", 0)
    least = run(HEAD, HookOrder(tmp_path / "least")).trial
    assert least.steps("TRAIN") == [] and least.steps("EVAL") == [0, 1, 2]  # one loss an epoch there always is


def test_cost_is_printed_and_facts_are_kept(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_steps, "FREE_S", 60)
    found = run(HEAD, defaults(tmp_path))
    pattern = (
        r"debug saved_steps=15 tensors=15 mb=0\.\d overhead_s=[\d.]+ overhead_share=[\d.]+ "
        r"per_saved_step_ms=[\d.]+ setup_s=[\d.]+"
    )
    assert len(re.findall(f"^{pattern}$", found.output, flags=re.MULTILINE)) == 1, found.output
    facts = found.facts
    assert facts["version"] == 1 and facts["classes"] == ["a", "b", "c"] and facts["steps_per_epoch"] == 4
    assert facts["save_interval"] == {"TRAIN": 1, "EVAL": 1}
    assert facts["parameters"][0] == {
        "name": "Sequential_0.weight", "layer": "0", "kind": "Linear", "is_frozen": False, "elements": 512 * 16,
    }  # fmt: skip
    assert facts["activations"] == [{"name": "1.relu", "kind": "ReLU"}]
    assert facts["overhead"]["saved_steps"] == 15 and facts["overhead"]["seconds"] > 0


def test_a_training_that_begins_anew_leaves_the_earlier_tensors_aside(run: Callable[..., Run], tmp_path: Path) -> None:
    first = run(HEAD, defaults(tmp_path))
    (first.folder / "training_job_end.ts").touch()
    second = run(dataclasses.replace(HEAD, epochs=1), defaults(tmp_path))
    assert f"tensors of an earlier training are now in {tmp_path / 'tensors-earlier-1'}" in second.output
    assert len(second.trial.steps("EVAL")) == 1 and not second.trial.is_complete
    assert len(open_trial(tmp_path / "tensors-earlier-1").steps("EVAL")) == 3


def test_interval_fits_the_epoch() -> None:
    assert [Plan(steps, 1).interval for steps in (1, 4, 13, 105)] == [1, 1, 2, 21]
    plan = Plan(train_steps=4, eval_steps=2)
    order = [("TRAIN", 0), ("TRAIN", 3), ("EVAL", 0), ("EVAL", 1), ("TRAIN", 4), ("EVAL", 2)]
    assert [plan.global_step(*each) for each in order] == [0, 3, 4, 5, 6, 10]


def test_without_debugging_smdebug_is_not_imported() -> None:
    program = "import sys; import kennel.training.job; assert 'smdebug' not in sys.modules, 'imported'"
    subprocess.run([sys.executable, "-c", program], check=True)
