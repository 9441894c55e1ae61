"""kennel.training.distributed: two processes, joined by gloo on this machine, do together what one does alone."""

import dataclasses
import multiprocessing
import os
import socket
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kennel.dataset.folders import find_folder
from kennel.hyperparameters import Hyperparameters
from kennel.images.augmentation import TrainTransform
from kennel.images.transforms import EvalTransform
from kennel.training.checkpoint import CheckpointStore
from kennel.training.distributed import ALONE, World, joined, share_batch_norm
from kennel.training.evaluation import score
from kennel.training.features import eval_features, train_features
from kennel.training.fit import Fitting, TrainInputs, _objective
from kennel.training.loader import Batch, EvalPictures, TrainPictures
from kennel.training.network import build_start
from kennel.training.shared_features import Part, SharedFeatures
from kennel.training.stopping import Stopped, StopRequest

CPU = torch.device("cpu")
# Small steps, because large ones from random weights make 1e-4 in the fourth step of a difference of 1e-7, alone too;
# sgd, because adam makes a whole step of a gradient that is nearly zero, whatever the sign that rounding gave it; and
# not the smallest pictures, because BatchNorm of two or three values makes much of rounding.
WHOLE = Hyperparameters(
    weights="none", image_size=96, trainable="all", epochs=2, batch_size=7, lr=0.001, patience=0, optimizer="sgd"
)
HEAD = dataclasses.replace(WHOLE, trainable="head", head="16", views=2, optimizer="adamw", lr=0.01)

Task = Callable[..., Any]
Together = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def together() -> Iterator[Together]:
    """Runs a function of this module in two processes of one world, which is its first argument."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    ranks = [context.Process(target=_serve, args=(rank, port, pipes[rank][1]), daemon=True) for rank in range(2)]
    for rank in ranks:
        rank.start()

    def run(task: Task, *arguments: object) -> list[Any]:
        for ours, _ in pipes:
            ours.send((task, arguments))
        answers = [ours.recv() for ours, _ in pipes]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    yield run
    for ours, _ in pipes:
        ours.send(None)
    for rank in ranks:
        rank.join(timeout=30)
        assert rank.exitcode == 0
        rank.close()


def _serve(rank: int, port: str, pipe: Connection) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    os.environ.update(GLOO_SOCKET_IFNAME="lo", KENNEL_PEER_TIMEOUT_S="60")
    torch.set_num_threads(1)
    with joined(World.from_environ(os.environ)) as world:
        while job := pipe.recv():
            task, arguments = job
            try:
                pipe.send(task(world, *arguments))
            except Exception as error:
                pipe.send(error)


def _inputs(fitting: Fitting, folder: Path, settings: Hyperparameters, world: World) -> tuple[TrainInputs, Any]:
    dataset, transform = find_folder(folder, seed=0), EvalTransform.for_size(settings.image_size)
    train = TrainPictures(dataset.splits["train"], TrainTransform(transform), settings.batch_size, 0, 1, world)
    valid = EvalPictures(dataset.splits["valid"], transform, 1, world)
    if settings.trainable != "head":
        return train, valid
    stop, backbone = StopRequest(), fitting.model.backbone
    features = train_features(backbone, train, views=settings.views, precision="float32", stop=stop)
    return features, eval_features(backbone, valid, name="valid", stop=stop)


def _fitting(settings: Hyperparameters, world: World) -> Fitting:
    start = build_start(settings, classes=3, channels={}, device=CPU)
    share_batch_norm(start.model, world, CPU)
    return Fitting(start.model, settings, classes=3, pretrained=False, world=world)


@dataclasses.dataclass(frozen=True)
class Trained:
    history: list[dict[str, float]]
    state: dict[str, Tensor]
    probabilities: Tensor
    files: int


def _train(world: World, folder: Path, settings: Hyperparameters, store: Path) -> Trained:
    fitting = _fitting(settings, world)
    folder_of_rank = store / str(world.rank)
    checkpoints = CheckpointStore(folder_of_rank, {})
    fitting.resume(checkpoints)
    with world.quiet():
        fitting.run(*_inputs(fitting, folder, settings, world), checkpoints, stop=StopRequest())
    files = len(list(folder_of_rank.glob("*"))) if folder_of_rank.exists() else 0
    return Trained(fitting.progress.history, fitting.model.state_dict(), fitting.best_probabilities, files)


LOSSES = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "valid_top5")


@pytest.mark.parametrize(
    ("settings", "images"),
    [
        pytest.param(HEAD, 5, id="head"),
        pytest.param(WHOLE, 5, id="whole network, last batch of one picture"),
        pytest.param(dataclasses.replace(WHOLE, mixup=0.4, class_weights="balanced"), 4, id="mixup"),
        pytest.param(dataclasses.replace(HEAD, batch_size=1), 1, id="fewer pictures than ranks"),
    ],
)
def test_two_train_as_one(
    together: Together,
    tmp_path: Path,
    make_folder: Callable[..., Path],
    settings: Hyperparameters,
    images: int,
) -> None:
    folder = make_folder(images={"train": images, "valid": 2, "test": 1})
    leader, other = together(_train, folder, settings, tmp_path / "together")
    alone = _train(ALONE, folder, settings, tmp_path / "alone")
    # In float32 a sum's order is seen; that it is no more than that is shown in float64, below.
    for ours, theirs in zip(leader.history, alone.history, strict=True):
        assert [ours[name] for name in LOSSES] == pytest.approx([theirs[name] for name in LOSSES], rel=1e-5)
    assert torch.allclose(leader.probabilities, alone.probabilities, rtol=1e-4, atol=1e-6)
    for name, tensor in leader.state.items():
        assert torch.equal(tensor, other.state[name]), name
        expected = alone.state[name].double()
        assert (tensor - expected).norm() <= 1e-4 * expected.norm() + 1e-6, name
    assert (leader.files, other.files) == (alone.files, 0)


def _share(world: World, folder: Path) -> tuple[Tensor, str, int]:
    """The features, what became of them, and how often this rank computed."""
    computed = []

    def compute() -> Tensor:
        computed.append(1)
        return torch.arange(6, dtype=torch.float32).reshape(3, 2)

    shared = SharedFeatures(folder, {"data": "1"}, world)
    rows = shared.rows(Part("valid", {}, (3, 2)), compute, device="cpu", stop=StopRequest())
    return rows, shared.outcome, len(computed)


def test_of_ranks_the_leader_reads_what_all_get(together: Together, tmp_path: Path) -> None:
    (first, ours, _), (_, theirs, _) = together(_share, tmp_path)
    assert (ours, theirs) == ("written", "off")  # only the leader writes
    for rows, outcome, computed in together(_share, tmp_path):
        assert torch.equal(rows, first) and (outcome, computed) == ("read", 0)


@dataclasses.dataclass(frozen=True)
class Doubles:
    """Training inputs in float64, where rounding is too small to hide a wrong gradient."""

    inputs: Tensor
    targets: Tensor
    world: World
    batch: int = 5

    @property
    def steps(self) -> int:
        return -(-len(self) // self.batch)

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, epoch: int, first_step: int) -> Generator[Batch, None, None]:
        for start in range(first_step * self.batch, len(self), self.batch):
            indexes = list(range(len(self)))[start : start + self.batch]
            ours = list(self.world.share(indexes))
            yield Batch(self.inputs[ours], self.targets[ours], len(indexes), self.world.first(len(indexes)))


def _train_in_doubles(world: World, settings: Hyperparameters) -> dict[str, Tensor]:
    """A network after four large steps, each of three pictures on one rank and two on the other.

    No smaller ones: BatchNorm of two values, which is what the last layers see of two small pictures, multiplies
    rounding by a hundred thousand, alone too.
    """
    start = build_start(settings, classes=3, channels={}, device=CPU)
    model = start.model.double()
    share_batch_norm(model, world, CPU)
    generator = torch.Generator().manual_seed(3)
    pictures = torch.randn(10, 3, 32, 32, generator=generator, dtype=torch.float64)
    inputs = Doubles(pictures, torch.randint(3, (10,), generator=generator), world)
    fitting = Fitting(model, settings, classes=3, pretrained=False, world=world)
    objective = _objective(settings, inputs.targets, 3, CPU)
    for epoch in range(2):
        fitting.progress.epoch, fitting.progress.step = epoch, 0
        with world.quiet():
            fitting._train_epoch(inputs, objective, StopRequest())
    return model.state_dict()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_gradients_of_two_are_those_of_one_but_for_the_last_digits(together: Together, optimizer: str) -> None:
    settings = dataclasses.replace(WHOLE, lr=0.05 if optimizer == "sgd" else 0.001, optimizer=optimizer)
    ours, other = together(_train_in_doubles, settings)
    alone = _train_in_doubles(ALONE, settings)
    for name, tensor in alone.items():
        assert torch.equal(ours[name], other[name]), name
        if tensor.dtype == torch.float64:
            assert torch.allclose(ours[name], tensor, rtol=1e-9, atol=1e-11), name


def _stop_at(world: World, folder: Path, store: Path, told: int, step: int) -> tuple[int, int]:
    """Where a rank stops if the rank `told` hears a signal before it gives the batch `step` of the first epoch."""
    fitting, stop = _fitting(WHOLE, world), StopRequest()
    train, valid = _inputs(fitting, folder, WHOLE, world)
    batches = TrainPictures.batches

    def telling(self: TrainPictures, epoch: int, first_step: int) -> Iterator[Any]:
        for number, batch in enumerate(batches(self, epoch, first_step)):
            if number == step and world.rank == told:
                stop.make(15)
            yield batch

    TrainPictures.batches = telling  # type: ignore[assignment]
    try:
        with world.quiet():
            fitting.run(train, valid, CheckpointStore(store / str(world.rank), {}), stop=stop)
    except Stopped as stopped:
        assert stopped.exit_status == 143
    finally:
        TrainPictures.batches = batches  # type: ignore[method-assign]
    return fitting.progress.epoch, fitting.progress.step


def test_signal_to_one_stops_both_in_the_same_step(
    together: Together, tmp_path: Path, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder(images={"train": 7, "valid": 2, "test": 1})
    through = together(_train, folder, WHOLE, tmp_path / "through")
    assert together(_stop_at, folder, tmp_path / "cut", 1, 1) == [(0, 2), (0, 2)]
    resumed = together(_train, folder, WHOLE, tmp_path / "cut")  # the other rank's folder is empty
    assert all(torch.equal(tensor, through[0].state[name]) for name, tensor in resumed[0].state.items())
    assert [each["train_loss"] for each in resumed[1].history] == [each["train_loss"] for each in through[0].history]


def _exchange(world: World) -> dict[str, Any]:
    stop = StopRequest()
    rows = torch.arange(3.0)[:, None] if world.is_leader else torch.empty(0)
    return {
        "gather": torch.cat(world.gather(rows, stop)).flatten().tolist(),
        "nobody": world.gather(torch.empty(0)),
        "texts": world.texts(f"rank {world.rank}"),
        "from leader": world.from_leader(b"leader" if world.is_leader else b"ignored"),
        "nothing": world.from_leader(b""),
        "share": list(world.share(range(3))),
        "turns": list(world.turns(range(3))),
    }


def test_what_ranks_tell_each_other(together: Together) -> None:
    first, second = together(_exchange)
    shared = {
        "gather": [0, 1, 2],
        "nobody": [],
        "texts": ["rank 0", "rank 1"],
        "from leader": b"leader",
        "nothing": b"",
    }
    assert first == {**shared, "share": [0], "turns": [0, 2]}
    assert second == {**shared, "share": [1, 2], "turns": [1]}


def _normalize(world: World, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A BatchNorm's answer to a share of `images`, its running variance, and gradients of weights and pictures."""
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    share_batch_norm(layer, world, CPU)
    share = images[world.first(len(images)) :][: len(world.share(range(len(images))))].requires_grad_()
    answer = layer(share)
    answer.square().mul(torch.linspace(0, 1, answer.shape[-1])).sum().backward()
    weight, statistics = layer[0].weight.grad, layer[1].running_var
    world.sum(weight)
    return answer.detach(), statistics, weight, share.grad


@pytest.mark.parametrize("images", [5, 1])
def test_batch_norm_sees_the_whole_batch(together: Together, images: int) -> None:
    batch = torch.randn(images, 3, 6, 6, generator=torch.Generator().manual_seed(1)) + 3
    ours = together(_normalize, batch)
    answer, statistics, weight, gradient = _normalize(ALONE, batch)
    assert torch.allclose(torch.cat([ours[0][0], ours[1][0]]), answer, atol=1e-5)
    assert torch.allclose(ours[0][1], statistics) and torch.equal(ours[0][1], ours[1][1])
    assert torch.allclose(ours[0][2], weight, rtol=1e-4, atol=1e-4)
    assert torch.allclose(torch.cat([ours[0][3], ours[1][3]]), gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("count", [0, 1, 5, 7, 32])
def test_shares_and_turns_leave_nothing_out(size: int, count: int) -> None:
    worlds = [World(rank, size) for rank in range(size)]
    shares = [list(world.share(range(count))) for world in worlds]
    assert [item for share in shares for item in share] == list(range(count))
    assert all(not share or share[0] == world.first(count) for world, share in zip(worlds, shares, strict=True))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert sorted(item for world in worlds for item in world.turns(range(count))) == list(range(count))


def test_world_is_alone_without_torchrun() -> None:
    assert World.from_environ({}) is ALONE
    assert ALONE.is_leader and ALONE.is_alone
    assert score(torch.tensor([[1.0, 0.0]]), torch.tensor([0])).accuracy == 1
    told = StopRequest()
    told.make(15)
    with pytest.raises(Stopped):
        ALONE.check(told)


def test_world_is_as_torchrun_says() -> None:
    environ = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "algo-1", "MASTER_PORT": "7777"}
    assert World.from_environ(environ) == World(3, 4, 1)
    assert not World.from_environ(environ).is_leader
