"""kennel.training.hosts: what torchrun is given on each host."""

import sys
from pathlib import Path

import pytest

from kennel.errors import PeerError
from kennel.training import hosts
from kennel.training.hosts import Cluster, process_count, wait_for_hosts

PAIR = Cluster(("algo-1", "algo-2"), "algo-2", 4, "eth0")


def test_torchrun_is_told_of_all_hosts() -> None:
    command = PAIR.command("train.py", ["--epochs", "3"], {})
    assert command[:3] == [sys.executable, "-m", "kennel.training.torchrun"]
    assert command[-3:] == ["train.py", "--epochs", "3"]
    options = dict(zip(command[3:-3:2], command[4:-3:2], strict=True))
    assert options == {
        "--nproc-per-node": "4",
        "--shutdown-timeout": "110",
        "--nnodes": "2",
        "--node-rank": "1",
        "--master-addr": "algo-1",
        "--master-port": "7777",
        "--rdzv-conf": "timeout=600",
    }


def test_one_host_with_several_gpus_takes_any_free_port() -> None:
    command = Cluster(("algo-1",), "algo-1", 8, "eth0").command("train.py", [], {})
    assert "--standalone" in command and "--master-port" not in command


@pytest.mark.parametrize(
    ("gpus", "environ", "count"),
    [
        (0, {}, 1),
        (1, {}, 1),
        (8, {}, 8),
        (8, {"CUDA_VISIBLE_DEVICES": "2,3"}, 2),
        (8, {"CUDA_VISIBLE_DEVICES": ""}, 1),
        (8, {"CUDA_VISIBLE_DEVICES": "-1"}, 1),
    ],
)
def test_one_process_a_gpu(gpus: int, environ: dict[str, str], count: int) -> None:
    assert process_count(gpus, environ) == count


@pytest.mark.parametrize(("hosts", "processes", "alone"), [(1, 1, True), (2, 1, False), (1, 2, False)])
def test_alone_is_one_host_with_one_process(hosts: int, processes: int, alone: bool) -> None:
    assert Cluster(("a", "b")[:hosts], "a", processes, "eth0").is_alone is alone


def test_settings_name_the_interface_and_the_adapter_only_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "_INTERFACES", tmp_path / "net")
    monkeypatch.setattr(hosts, "_RDMA_DEVICES", tmp_path / "infiniband")
    plain = PAIR.environment()
    assert not {"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "FI_PROVIDER"} & plain.keys()
    (tmp_path / "net" / "eth0").mkdir(parents=True)
    (tmp_path / "infiniband" / "rdmap0s31").mkdir(parents=True)
    full = PAIR.environment()
    assert (full["GLOO_SOCKET_IFNAME"], full["NCCL_SOCKET_IFNAME"]) == ("eth0", "=eth0")
    assert full["FI_PROVIDER"] == "efa"


def test_host_without_an_address_is_named() -> None:
    with pytest.raises(PeerError, match=r"No address for algo-2.invalid within 0 s. resourceconfig.json names the"):
        wait_for_hosts(["localhost", "algo-2.invalid"], limit_s=0, is_over=lambda: False)


def test_waiting_for_hosts_ends_when_told() -> None:
    wait_for_hosts(["algo-2.invalid"], limit_s=60, is_over=lambda: True)


def test_hosts_that_are_there_are_not_waited_for() -> None:
    wait_for_hosts(["localhost", "127.0.0.1"], limit_s=0, is_over=lambda: False)
