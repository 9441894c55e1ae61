"""Two real `train` programs, as on two hosts: they train one model, stop together, go on, and do not wait for the dead.

Each has a folder of its own that stands for /opt/ml. The names of the hosts are two names of this machine.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from kennel.metrics import read_metrics

TRAIN = Path(sys.executable).with_name("train")
HOSTS = ("127.0.0.1", "localhost")
TINY = {"weights": "none", "image-size": "32", "batch-size": "7", "patience": "0", "epochs": "2", "lr": "0.01"}
# BatchNorm layers that are trained, and pictures that are blended: what is hardest to share out. Small steps of sgd,
# because others make much of a difference in rounding, also on one host.
WHOLE = {**TINY, "backbone": "resnet18", "trainable": "all", "mixup": "0.4", "optimizer": "sgd", "lr": "0.001"}
# The same where rounding stays small: BatchNorm of the few values that the last layers see of a small batch of small
# pictures makes up to 5e-3 of a loss of it, depending on the processor.
CALM = {**WHOLE, "image-size": "64", "batch-size": "25"}
PEER_TIMEOUT_S = 20


@dataclass(frozen=True)
class Ended:
    status: int
    output: str

    def losses(self) -> list[dict[str, float]]:
        """The metrics of the epoch lines and the final one, without times."""
        lines = [read_metrics(line) for line in self.output.splitlines() if line.startswith(("epoch=", "final "))]
        return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


class Host:
    """One host's folder, and runs of `train` in it."""

    def __init__(
        self, base: Path, name: str, hosts: Sequence[str], data: Path, hyperparameters: dict[str, str]
    ) -> None:
        self.base = base
        config = base / "input" / "config"
        for folder in (config, base / "input" / "data", base / "model", base / "output" / "data"):
            folder.mkdir(parents=True, exist_ok=True)
        (base / "input" / "data" / "train").symlink_to(data)
        values = {key: json.dumps(value) for key, value in hyperparameters.items()}
        (config / "hyperparameters.json").write_text(json.dumps(values))
        self.set_distribution("FullyReplicated")
        resources = {"current_host": name, "hosts": list(hosts), "network_interface_name": "lo"}
        (config / "resourceconfig.json").write_text(json.dumps(resources))

    def set_distribution(self, distribution: str) -> None:
        channel = {"TrainingInputMode": "File", "S3DistributionType": distribution}
        (self.base / "input" / "config" / "inputdataconfig.json").write_text(json.dumps({"train": channel}))

    def start(self, port: int) -> "subprocess.Popen[str]":
        environ = {
            **os.environ,
            "SAGEMAKER_BASE_DIR": str(self.base),
            "SAGEMAKER_PROGRAM": "train.py",
            "SAGEMAKER_TRAINING_MODULE": "kennel.training.toolkit:main",
            "OMP_NUM_THREADS": "1",
            "MASTER_PORT": str(port),
            "KENNEL_PEER_TIMEOUT_S": str(PEER_TIMEOUT_S),
        }
        log = (self.base / "log").open("w")
        with log:
            return subprocess.Popen([TRAIN], env=environ, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def end(self, process: "subprocess.Popen[str]") -> Ended:
        return Ended(process.wait(timeout=240), self.log)

    def wait_for(self, beginning: str, process: "subprocess.Popen[str]") -> None:
        """Returns as soon as a line of the log begins so."""
        deadline = time.monotonic() + 240
        while not re.search(f"^{re.escape(beginning)}", self.log, re.M):
            assert process.poll() is None, f"train ended before it printed {beginning!r}:\n{self.log}"
            assert time.monotonic() < deadline, f"{beginning!r} was never printed:\n{self.log}"
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return (self.base / "log").read_text()

    @property
    def failure(self) -> str:
        return (self.base / "output" / "failure").read_text()

    def files(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.base / folder).rglob("*") if path.is_file())

    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.base / "model" / "model.safetensors")


class Pair:
    """Two hosts that train together."""

    def __init__(self, hosts: list[Host]) -> None:
        self.hosts = hosts

    def start(self) -> "list[subprocess.Popen[str]]":
        port = _free_port()
        return [host.start(port) for host in self.hosts]

    def run(self) -> list[Ended]:
        return self.end(self.start())

    def end(self, processes: "list[subprocess.Popen[str]]") -> list[Ended]:
        return [host.end(process) for host, process in zip(self.hosts, processes, strict=True)]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _rank_of(process: "subprocess.Popen[str]") -> psutil.Process:
    """The training process below `train` and torchrun."""
    torchrun = next(
        each for each in psutil.Process(process.pid).children() if "kennel.training.torchrun" in each.cmdline()
    )
    (rank,) = torchrun.children()
    return rank


Maker = Callable[..., Pair]


@pytest.fixture
def make_pair(tmp_path: Path, make_folder: Callable[..., Path]) -> Maker:
    """Two hosts on three colours, 12 training pictures each: batches of 7 are shared 3 to 4, the last is of 1 more."""
    data = make_folder()

    def make(hyperparameters: dict[str, str], *, name: str = "pair", data: Path = data) -> Pair:
        return Pair([Host(tmp_path / name / str(i), HOSTS[i], HOSTS, data, hyperparameters) for i in range(2)])

    return make


@pytest.fixture
def run_alone(tmp_path: Path, make_pair: Maker) -> Callable[[dict[str, str]], tuple[Host, Ended]]:
    """The same training on one host."""

    def run(hyperparameters: dict[str, str]) -> tuple[Host, Ended]:
        host = Host(tmp_path / "alone", "localhost", ["localhost"], tmp_path / "pictures", hyperparameters)
        return host, host.end(host.start(_free_port()))

    return run


@pytest.mark.parametrize(
    "settings", [pytest.param(CALM, id="whole network"), pytest.param(TINY, id="head, last batch of one picture")]
)
def test_two_hosts_train_the_model_of_one(
    make_pair: Maker, run_alone: Callable[..., tuple[Host, Ended]], settings: dict[str, str]
) -> None:
    pair = make_pair(settings)
    leader, other = pair.run()
    host, one = run_alone(settings)
    assert leader.status == other.status == one.status == 0, leader.output + other.output + one.output

    assert len(leader.losses()) == len(one.losses()) == 3
    # Two hosts that trained apart would differ in the first digit.
    for found, expected in zip(leader.losses(), one.losses(), strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    ours, theirs = (
        torch.cat([each.flatten() for each in each_host.weights().values()]) for each_host in (pair.hosts[0], host)
    )
    assert (ours - theirs).norm() <= 1e-5 * theirs.norm()

    # Only the first host prints, keeps and ships.
    assert other.losses() == []
    assert "rank=1 of=2 host=localhost" in other.output
    assert pair.hosts[0].files("model") == host.files("model")
    assert pair.hosts[1].files("model") == pair.hosts[1].files("checkpoints") == []
    assert pair.hosts[1].files("output/data") == []
    assert "Traceback" not in leader.output + other.output
    assert [(each.base / "output" / "success").exists() for each in pair.hosts] == [True, True]


def test_only_the_first_host_is_watched_and_it_changes_nothing(make_pair: Maker) -> None:
    watched, plain = make_pair({**WHOLE, "debug": "on"}, name="watched"), make_pair(WHOLE, name="plain")
    ended = watched.run() + plain.run()
    assert [each.status for each in ended] == [0, 0, 0, 0], ended[0].output + ended[1].output
    assert ended[0].losses() == ended[2].losses()
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(watched.hosts[0].weights().values(), plain.hosts[0].weights().values(), strict=True)
    )
    assert "the hook failed" not in ended[0].output
    assert re.search(r"^debug saved_steps=[1-9]", ended[0].output, re.M)
    assert "kennel.json" in watched.hosts[0].files("output/data/debug-output")
    assert watched.hosts[1].files("output/data") == []


@pytest.mark.parametrize("told", [(0, 1), (1,)], ids=["both", "other"])
def test_hosts_stop_together_and_go_on(make_pair: Maker, told: tuple[int, ...]) -> None:
    cut = make_pair({**WHOLE, "epochs": "6"})
    processes = cut.start()
    cut.hosts[0].wait_for("epoch=1/", processes[0])
    for index in told:
        processes[index].send_signal(signal.SIGTERM)
    stopped = cut.end(processes)
    assert [each.status for each in stopped] == [143, 143], stopped[0].output + stopped[1].output
    assert "epoch=6/" not in stopped[0].output
    assert all("stopped by SIGTERM" in each.output for each in stopped)
    assert not any((host.base / "output" / "failure").exists() for host in cut.hosts)
    assert cut.hosts[0].files("checkpoints") and cut.hosts[1].files("checkpoints") == []

    if len(told) == 2:
        resumed = cut.run()
        assert [each.status for each in resumed] == [0, 0], resumed[0].output + resumed[1].output
        assert re.search(r"^resumed at epoch=[2345] step=\d+", resumed[0].output, re.M)
        assert len(json.loads((cut.hosts[0].base / "output/data/history.json").read_text())) == 6


def test_host_that_loses_its_peer_fails_in_time_and_says_so(make_pair: Maker) -> None:
    pair = make_pair({**WHOLE, "epochs": "200"})
    processes = pair.start()
    pair.hosts[0].wait_for("epoch=1/", processes[0])
    ranks = [_rank_of(process) for process in processes]
    ranks[1].kill()
    killed_at = time.monotonic()
    ended = pair.end(processes)
    assert time.monotonic() - killed_at < PEER_TIMEOUT_S
    assert [each.status for each in ended] == [1, 137]
    assert pair.hosts[1].failure.startswith("train.py was killed by signal 9 (SIGKILL)")
    assert pair.hosts[0].failure.startswith("PeerError: Another process of this training has ended or does")
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)


def test_host_whose_peer_hangs_gives_it_up(make_pair: Maker) -> None:
    pair = make_pair({**WHOLE, "epochs": "200"})
    processes = pair.start()
    pair.hosts[0].wait_for("epoch=1/", processes[0])
    hung = _rank_of(processes[1])
    hung.suspend()
    try:
        assert pair.hosts[0].end(processes[0]).status == 1
        assert pair.hosts[0].failure.startswith("PeerError: Another process of this training has ended or does not")
    finally:
        hung.kill()
        processes[1].wait(timeout=60)


def test_killed_train_leaves_no_rank_behind(make_pair: Maker) -> None:
    pair = make_pair({**WHOLE, "epochs": "200"})
    processes = pair.start()
    pair.hosts[0].wait_for("epoch=1/", processes[0])
    ranks = [_rank_of(process) for process in processes]
    processes[0].kill()
    _, other = pair.end(processes)
    assert other.status == 1
    gone, alive = psutil.wait_procs(ranks, timeout=20)
    assert not alive


def test_hosts_with_other_pictures_name_each_other(
    make_pair: Maker, tmp_path: Path, make_folder: Callable[..., Path]
) -> None:
    pair = make_pair(TINY)
    channel = pair.hosts[1].base / "input" / "data" / "train"
    channel.unlink()
    channel.symlink_to(make_folder("others", images={"train": 13, "valid": 4, "test": 4}))
    ended = pair.run()
    assert [each.status for each in ended] == [3, 3], ended[0].output + ended[1].output
    for host in pair.hosts:
        assert host.failure.startswith(
            "DataError: Host localhost has other pictures than 127.0.0.1: 'data classes=3 train=39"
        )


def test_sharded_channel_is_refused_by_its_name(make_pair: Maker) -> None:
    pair = make_pair(TINY)
    for host in pair.hosts:
        host.set_distribution("ShardedByS3Key")
    assert [each.status for each in pair.run()] == [3, 3]
    assert pair.hosts[0].failure.startswith("DataError: Channel 'train' is ShardedByS3Key")


def test_host_that_cannot_be_found_is_named(tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    host = Host(tmp_path / "host", "localhost", ["localhost", "algo-2.invalid"], make_folder(), TINY)
    environ = {"KENNEL_PEER_TIMEOUT_S": "1"}
    process = subprocess.Popen(
        [TRAIN],
        env={
            **os.environ,
            **environ,
            "SAGEMAKER_BASE_DIR": str(host.base),
            "SAGEMAKER_PROGRAM": "train.py",
            "SAGEMAKER_TRAINING_MODULE": "kennel.training.toolkit:main",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert host.failure.startswith("PeerError: No address for algo-2.invalid within 1 s.")


def test_host_that_never_comes_is_given_up(tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    host = Host(tmp_path / "host", "127.0.0.1", HOSTS, make_folder(), TINY)
    process = host.start(_free_port())
    assert host.end(process).status == 1, host.log
    assert host.failure.startswith("PeerError: The hosts of this job did not come together")
