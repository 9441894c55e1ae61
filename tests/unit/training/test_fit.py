"""kennel.training.fit: the loop, the best epoch, and going on after a stop to the same weights, bit for bit."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kennel.dataset.folders import find_folder
from kennel.errors import HyperparameterError
from kennel.hyperparameters import Hyperparameters
from kennel.images.augmentation import TrainTransform
from kennel.images.transforms import EvalTransform
from kennel.metrics import EPOCH_METRICS, read_metrics
from kennel.training.checkpoint import CheckpointStore
from kennel.training.evaluation import EvalInputs
from kennel.training.features import EvalFeatures, TrainFeatures
from kennel.training.fit import Fitting, TrainInputs
from kennel.training.loader import Batch, EvalPictures, TrainPictures
from kennel.training.network import build_start
from kennel.training.stopping import Stopped, StopRequest

HEAD = Hyperparameters(
    weights="none", image_size=32, trainable="head", head="16", epochs=6, batch_size=8, lr=0.01, patience=0, mixup=0.4
)
# Small, and with dropout, whose random numbers have to be the same ones too.
WHOLE = dataclasses.replace(
    HEAD, backbone="mobilenet_v3_small", trainable="all", head="linear", epochs=2, batch_size=12
)


@dataclasses.dataclass(frozen=True)
class Interrupted:
    """Training inputs that send this process SIGTERM before they give the batch `step` of `epoch`."""

    inputs: TrainInputs
    epoch: int
    step: int

    @property
    def targets(self) -> Tensor:
        return self.inputs.targets

    @property
    def steps(self) -> int:
        return self.inputs.steps

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, epoch: int, first_step: int) -> Generator[Batch, None, None]:
        for step, batch in enumerate(self.inputs.batches(epoch, first_step), start=first_step):
            if (epoch, step) == (self.epoch, self.step):
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def _features(views: int = 2, count: int = 30) -> tuple[TrainFeatures, EvalFeatures]:
    """Features in which a class is a direction, with noise."""
    numbers = torch.Generator().manual_seed(0)
    targets = torch.arange(count) % 3
    centres = torch.randn(3, 512, generator=numbers)

    def noisy(targets: Tensor) -> Tensor:
        return centres[targets] + 2 * torch.randn(len(targets), 512, generator=numbers)

    train = TrainFeatures(torch.stack([noisy(targets) for _ in range(views)]), targets, 8, 0)
    return train, EvalFeatures(noisy(targets[:12]), targets[:12])


def _fitting(settings: Hyperparameters) -> Fitting:
    start = build_start(settings, classes=3, channels={}, device=torch.device("cpu"))
    return Fitting(start.model, settings, classes=3, pretrained=start.is_pretrained)


def _store(folder: Path, settings: Hyperparameters) -> CheckpointStore:
    return CheckpointStore(folder, settings.to_mapping())


def _state(fitting: Fitting) -> dict[str, Tensor]:
    fitting.load_best()
    return {name: tensor.clone() for name, tensor in fitting.model.state_dict().items()}


def _is_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    """A request that real signals make; the process's own handlers are put back."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    request = StopRequest()
    request.install()
    yield request
    for signum, handler in before.items():
        signal.signal(signum, handler)


def _check_continues(
    settings: Hyperparameters,
    train: TrainInputs,
    valid: EvalInputs,
    at: tuple[int, int],
    stop: StopRequest,
    folder: Path,
) -> None:
    """Trains through, and again with a SIGTERM at (epoch, step) and a restart; both end the same."""
    through = _fitting(settings)
    through.run(train, valid, _store(folder / "through", settings), stop=stop)
    with pytest.raises(Stopped, match="SIGTERM"):
        _fitting(settings).run(Interrupted(train, *at), valid, _store(folder / "cut", settings), stop=stop)
    again = _fitting(settings)
    torch.rand(7)  # a new process draws other numbers before it gets here
    again.resume(_store(folder / "cut", settings))
    assert (again.progress.epoch + 1, again.progress.step) == (at[0], at[1] + 1)
    again.run(train, valid, _store(folder / "cut", settings), stop=StopRequest())
    assert [each["train_loss"] for each in again.progress.history] == [
        each["train_loss"] for each in through.progress.history
    ]
    assert torch.equal(again.best_probabilities, through.best_probabilities)
    assert _is_same(_state(again), _state(through))


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_head_goes_on_in_mid_epoch_to_the_same_weights(optimizer: str, stop: StopRequest, tmp_path: Path) -> None:
    _check_continues(dataclasses.replace(HEAD, optimizer=optimizer), *_features(), (3, 1), stop, tmp_path)


def test_whole_network_goes_on_in_mid_epoch_to_the_same_weights(
    stop: StopRequest, tmp_path: Path, make_folder: Callable[..., Path]
) -> None:
    dataset = find_folder(make_folder(images={"train": 8, "valid": 2, "test": 1}), seed=0)
    transform = EvalTransform.for_size(32)
    train = TrainPictures(dataset.splits["train"], TrainTransform(transform), WHOLE.batch_size, 0, 2)
    valid = EvalPictures(dataset.splits["valid"], transform, 2)
    _check_continues(WHOLE, train, valid, (2, 0), stop, tmp_path)


def test_stop_in_validation_goes_on_with_it(stop: StopRequest, tmp_path: Path) -> None:
    train, valid = _features()
    through = _fitting(HEAD)
    through.run(train, valid, _store(tmp_path / "through", HEAD), stop=stop)

    class Telling(EvalFeatures):
        def batches(self) -> Iterator[Tensor]:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().batches()

    first = _fitting(HEAD)
    with pytest.raises(Stopped):
        first.run(train, Telling(valid.features, valid.targets), _store(tmp_path / "cut", HEAD), stop=stop)
    assert (first.progress.epoch, first.progress.step) == (0, train.steps)
    again = _fitting(HEAD)
    again.resume(_store(tmp_path / "cut", HEAD))
    again.run(train, valid, _store(tmp_path / "cut", HEAD), stop=StopRequest())
    assert _is_same(_state(again), _state(through))


def test_finished_training_is_resumed_at_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = _fitting(HEAD)
    first.run(*_features(), _store(tmp_path, HEAD), stop=StopRequest())
    again = _fitting(HEAD)
    again.resume(_store(tmp_path, HEAD))
    assert again.progress.is_finished
    assert "resumed at the end" in capsys.readouterr().out
    assert _is_same(_state(again), _state(first))


def test_epoch_line_counts_over_images(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With nothing learnt the losses are log(3) in every batch, also in the last, which is smaller."""
    settings = dataclasses.replace(HEAD, epochs=1, lr=1e-9, head="linear", mixup=0.0)
    train, valid = _features()
    fitting = _fitting(settings)
    fitting.run(train, valid, _store(tmp_path, settings), stop=StopRequest())
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch=1/1 "))
    found = read_metrics(line)
    assert set(found) == set(EPOCH_METRICS)
    assert found["train:loss"] == pytest.approx(1.0986, abs=1e-3)
    assert found["validation:loss"] == pytest.approx(1.0986, abs=1e-3)
    history = json.loads(json.dumps(fitting.progress.history))
    assert history[0]["epoch"] == 1 and 0 < history[0]["lr"] < 1e-9  # of its last step


def test_loss_of_a_small_last_batch_counts_by_its_images(tmp_path: Path) -> None:
    """Two batches of 8 and 2 whose losses differ: the epoch's is their mean over images."""
    settings = dataclasses.replace(HEAD, epochs=1, lr=1e-9, head="linear", mixup=0.0)
    fitting = _fitting(settings)
    head = fitting.model.head
    assert isinstance(head, torch.nn.Linear)
    torch.nn.init.eye_(head.weight)
    train, valid = _features(views=1, count=10)
    logits = train.features[0][:, :3]
    expected = torch.nn.functional.cross_entropy(logits, train.targets).item()
    fitting.run(train, valid, _store(tmp_path, settings), stop=StopRequest())
    assert fitting.progress.history[0]["train_loss"] == pytest.approx(expected, rel=1e-4)
    assert fitting.progress.history[0]["train_accuracy"] == pytest.approx(
        float((logits.argmax(1) == train.targets).double().mean())
    )


def test_best_epoch_is_kept_and_a_training_without_progress_ends_early(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Validation targets are the wrong ones, so learning makes them worse: the first epoch is the best."""
    settings = dataclasses.replace(HEAD, epochs=50, patience=3, mixup=0.0)
    train, valid = _features()
    fitting = _fitting(settings)
    wrong = EvalFeatures(valid.features, (valid.targets + 1) % 3)
    fitting.run(train, wrong, _store(tmp_path, settings), stop=StopRequest())
    losses = [each["valid_loss"] for each in fitting.progress.history]
    assert fitting.progress.best_epoch == losses.index(min(losses)) + 1
    assert len(losses) == fitting.progress.best_epoch + 3
    assert "early stop: no better validation loss for 3 epochs" in capsys.readouterr().out
    fitting.load_best()
    with torch.no_grad():
        found = torch.nn.functional.cross_entropy(fitting.model.head(wrong.features), wrong.targets)
    assert found.item() == pytest.approx(min(losses), rel=1e-5)


def test_frozen_stages_do_not_change_and_stay_in_eval_mode(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    settings = dataclasses.replace(WHOLE, backbone="resnet18", trainable="layer4", epochs=1)
    dataset = find_folder(make_folder(images={"train": 4, "valid": 1, "test": 1}), seed=0)
    transform = EvalTransform.for_size(32)
    train = TrainPictures(dataset.splits["train"], TrainTransform(transform), 12, 0, 2)
    fitting = _fitting(settings)
    before = {name: tensor.clone() for name, tensor in fitting.model.state_dict().items()}
    fitting.run(
        train, EvalPictures(dataset.splits["valid"], transform, 2), _store(tmp_path, settings), stop=StopRequest()
    )
    changed = {name for name, tensor in _state(fitting).items() if not torch.equal(tensor, before[name])}
    assert all(name.startswith(("backbone.network.layer4.", "head.")) for name in changed)
    assert "backbone.network.layer4.1.bn2.running_mean" in changed


def test_pretrained_stages_learn_with_a_tenth_of_the_rate() -> None:
    model = build_start(WHOLE, classes=3, channels={}, device=torch.device("cpu")).model
    groups = Fitting(model, WHOLE, classes=3, pretrained=True).optimizer.param_groups
    assert [group["share"] for group in groups] == [1.0, 0.1]
    assert [group["share"] for group in Fitting(model, WHOLE, classes=3, pretrained=False).optimizer.param_groups] == [
        1,
        1,
    ]


def test_diverged_training_names_the_learning_rate(tmp_path: Path) -> None:
    settings = dataclasses.replace(HEAD, lr=10, optimizer="sgd", head="64,64", mixup=0.0)
    train, valid = _features()
    huge = dataclasses.replace(train, features=train.features * 1e6)
    with pytest.raises(HyperparameterError, match=r"no number any more in epoch \d: lr=10 is too high.*Try lr=1"):
        _fitting(settings).run(huge, valid, _store(tmp_path, settings), stop=StopRequest())


@pytest.mark.parametrize(
    "change",
    [
        {"scheduler": "one-cycle"},
        {"label_smoothing": 0.1},
        {"class_weights": "balanced"},
        {"precision": "bfloat16"},
        {"optimizer": "sgd", "scheduler": "step"},
    ],
)
def test_features_are_learnt_with(change: dict[str, str | float], tmp_path: Path) -> None:
    settings = dataclasses.replace(HEAD, epochs=12, mixup=0.0, **change)  # type: ignore[arg-type]  # names and types match
    fitting = _fitting(settings)
    fitting.run(*_features(count=60), _store(tmp_path, settings), stop=StopRequest())
    assert fitting.progress.history[-1]["train_accuracy"] > 0.9
