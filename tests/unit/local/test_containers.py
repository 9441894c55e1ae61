"""What a container is told and given, decided without Docker: GPUs, users, mounts, places."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kennel.local import engine
from kennel.local.container_order import read_order
from kennel.local.containers import Containers
from kennel.local.engine import check_image, user_settings
from kennel.local.faults import ApiError
from kennel.local.gpus import device_requests
from kennel.local.places import ON, place_tag, placed, runs_on
from kennel.local.processes import Processes
from kennel.local.service import Service
from kennel.local.settings import Layout, Settings
from kennel.local.state import read_choice, write_choice
from kennel.paths import MlPaths

NVIDIA = {"Runtimes": {"runc": {}, "nvidia": {}}}
CDI = {"Runtimes": {"runc": {}}, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}
PLAIN = {"Runtimes": {"runc": {}}}


@pytest.mark.parametrize("kind", ["ml.g5.xlarge", "ml.g4dn.12xlarge", "ml.p3.2xlarge", "ml.p4d.24xlarge"])
def test_gpu_instance_gets_every_gpu_of_the_machine(kind: str) -> None:
    [request] = device_requests(NVIDIA, kind, machine_has_gpu=True)
    assert (request["Count"], request["Capabilities"]) == (-1, [["gpu"]])
    [request] = device_requests(CDI, kind, machine_has_gpu=True)
    assert (request["Driver"], request["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=all"])


@pytest.mark.parametrize(
    ("info", "kind", "machine_has_gpu"),
    [
        (NVIDIA, "ml.m5.large", True),
        (NVIDIA, "ml.c6g.large", True),
        (NVIDIA, "", True),
        (NVIDIA, "ml.g5.xlarge", False),
        (PLAIN, "ml.g5.xlarge", True),
        ({"Runtimes": None, "DiscoveredDevices": None}, "ml.g5.xlarge", True),
    ],
    ids=["cpu instance", "graviton", "serverless", "no driver", "no runtime", "says nothing"],
)
def test_no_gpu_is_asked_for(info: dict[str, Any], kind: str, machine_has_gpu: bool) -> None:
    assert device_requests(info, kind, machine_has_gpu=machine_has_gpu) == []


def test_user_is_the_caller_as_this_docker_maps_users() -> None:
    caller = f"{os.getuid()}:{os.getgid()}"
    assert user_settings({"SecurityOptions": ["name=seccomp,profile=default"]}) == {"user": caller}
    assert user_settings({"SecurityOptions": ["name=rootless"]}) == {"user": "0:0"}
    assert user_settings({"SecurityOptions": ["name=userns"]}) == {"user": caller, "userns_mode": "host"}
    assert user_settings({"SecurityOptions": None}) == {"user": caller}


def test_place_is_the_tag_or_the_services_own() -> None:
    asked = {"Tags": [{"Key": "a", "Value": "b"}, place_tag("docker")]}
    assert runs_on(placed(asked, "local")) == "docker"
    assert placed({"Tags": [place_tag("local")]}, "docker")["Tags"] == [place_tag("local")]
    assert placed({}, "docker")["Tags"] == [place_tag("docker")]
    assert placed({}, "local") == {} and runs_on({}) == "local"
    with pytest.raises(ApiError, match=f"Tag '{ON}' has value 'aws'. Expected one of: local, docker."):
        placed({"Tags": [place_tag("aws")]}, "local")


def test_choice_of_a_place_is_kept(tmp_path: Path) -> None:
    assert read_choice(tmp_path) == "local"
    write_choice(tmp_path, "docker")
    assert read_choice(tmp_path) == "docker"


def test_without_docker_the_image_and_both_remedies_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ApiError, match=r"Image 'kennel-train:1' cannot be run: no Docker Engine.*scripts/build\.sh"):
        check_image("kennel-train:1")


def test_service_without_containers_never_asks_docker(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(engine, "remove_owned", lambda *args, **options: asked.append(args) or [])
    processes = Processes(runs, orphan_grace_s=0.1)
    processes.end_remains_of_predecessor()
    assert not asked
    Layout(runs).docker_mark.parent.mkdir()
    Layout(runs).docker_mark.touch()
    processes.end_remains_of_predecessor()
    assert len(asked) == 1


@pytest.fixture
def containers(tmp_path: Path) -> Containers:
    return Containers(Service(Layout(tmp_path), Settings(), "http://127.0.0.1:1").machine)


def request_with(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  requests' own
    return {
        "TrainingJobName": "job",
        "AlgorithmSpecification": {"TrainingImage": "mine:1", "TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        **changes,
    }


def test_order_mounts_the_real_folders_and_what_the_program_wrote_stays(containers: Containers, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (tmp_path / "link").as_uri()}}
    saved = {"S3Uri": "s3://bucket/c", "LocalPath": "/state"}
    request = request_with(
        InputDataConfig=[{"ChannelName": "data", "DataSource": source}], CheckpointConfig=saved, Environment={"A": "1"}
    )
    ml = MlPaths(tmp_path / "run" / "ml")
    containers.lay_out(request, ml)
    containers.bring_channel(request["InputDataConfig"][0], ml)
    ml.checkpoints_dir.mkdir()
    program = containers.training(request, ml, tmp_path / "run" / "log.txt")
    order = read_order(Path(program.command[-1]))
    assert program.has_containers and program.owner == "training-jobs/job"
    assert (order.image, order.command, order.entrypoint, order.network) == ("mine:1", ("train",), None, "bridge")
    [host] = order.hosts
    seen = {mount.target: (mount.source, mount.read_only) for mount in host.mounts}
    assert host.name == "algo-1"
    assert seen == {
        "/opt/ml/input": (str(ml.base / "input"), True),
        "/opt/ml/input/data/data": (str(tmp_path / "pictures"), True),
        "/opt/ml/model": (str(ml.model_dir), False),
        "/opt/ml/output": (str(ml.output_dir), False),
        "/state": (str(ml.checkpoints_dir), False),
    }
    assert order.environment.items() >= {"A": "1", "HOME": "/tmp", "TRAINING_JOB_NAME": "job"}.items()
    assert not [key for key in order.environment if "KEY" in key or "SECRET" in key]


def test_trials_of_a_tuning_job_see_its_shared_folder(containers: Containers, tmp_path: Path) -> None:
    ml, log = MlPaths(tmp_path / "job" / "ml"), tmp_path / "job" / "log.txt"
    trial = request_with(TuningJobArn="arn:aws:sagemaker:us-east-1:123456789012:hyper-parameter-tuning-job/search")
    containers.lay_out(trial, ml)
    order = read_order(Path(containers.training(trial, ml, log).command[-1]))
    assert order.environment["KENNEL_SHARED_DIR"] == "/opt/kennel/shared"
    [mount] = [mount for mount in order.hosts[0].mounts if mount.target == "/opt/kennel/shared"]
    assert (mount.source, mount.read_only) == (str(tmp_path / "search" / "shared"), False)
    assert (tmp_path / "search" / "shared").stat().st_uid == os.getuid()

    alone = {**trial, "Environment": {"KENNEL_SHARED_DIR": ""}}  # its user's own word on it
    order = read_order(Path(containers.training(alone, ml, log).command[-1]))
    assert order.environment["KENNEL_SHARED_DIR"] == ""
    assert not [mount for mount in order.hosts[0].mounts if mount.target == "/opt/kennel/shared"]


def test_every_host_writes_to_folders_of_its_own_that_are_brought_together(
    containers: Containers, tmp_path: Path
) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    request = request_with(ResourceConfig=resources, CheckpointConfig={"S3Uri": "s3://b/c"})
    ml = MlPaths(tmp_path / "run" / "ml")
    containers.lay_out(request, ml)
    ml.checkpoints_dir.mkdir()
    (ml.checkpoints_dir / "old.pt").write_text("restored")
    order = read_order(Path(containers.training(request, ml, tmp_path / "run" / "log.txt").command[-1]))
    first, second = ({mount.target: Path(mount.source) for mount in host.mounts} for host in order.hosts)
    assert order.network == "peers" and [host.name for host in order.hosts] == ["algo-1", "algo-2"]
    assert first["/opt/ml/input"] == second["/opt/ml/input"]
    assert '"current_host": "algo-2"' in (second["/opt/ml/input/config"] / "resourceconfig.json").read_text()
    assert (second["/opt/ml/checkpoints"] / "old.pt").read_text() == "restored"
    for seen, text in ((first, "first"), (second, "second")):
        (seen["/opt/ml/model"] / "both.txt").write_text(text)
        (seen["/opt/ml/model"] / f"{text}.txt").write_text(text)
    (second["/opt/ml/output"] / "failure").write_text("no pictures")
    containers.reclaim(request, ml)
    assert {path.name: path.read_text() for path in ml.model_dir.iterdir()} == {
        "both.txt": "first",
        "first.txt": "first",
        "second.txt": "second",
    }
    assert ml.failure_file.read_text() == "no pictures"
    assert not (ml.base / "hosts").exists()


def test_each_host_gets_the_source_and_its_share_of_a_sharded_channel(containers: Containers, tmp_path: Path) -> None:
    for name in ("data/a.jpg", "data/b.jpg", "data/c.jpg", "source/train.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": (tmp_path / "data").as_uri(),
        "S3DataDistributionType": "ShardedByS3Key",
    }
    channel = {"ChannelName": "train", "DataSource": {"S3DataSource": source}}
    request = request_with(
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
        HyperParameters={
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": f'"{(tmp_path / "source").as_uri()}"',
        },
        InputDataConfig=[channel],
    )
    ml = MlPaths(tmp_path / "run" / "ml")
    containers.lay_out(request, ml)
    containers.bring_channel(channel, ml)
    order = read_order(Path(containers.training(request, ml, tmp_path / "run" / "log.txt").command[-1]))
    first, second = ({mount.target: Path(mount.source) for mount in host.mounts} for host in order.hosts)
    assert sorted(path.name for path in (first["/opt/ml/input"] / "data" / "train").iterdir()) == ["a.jpg", "c.jpg"]
    assert [path.name for path in second["/opt/ml/input/data/train"].iterdir()] == ["b.jpg"]
    assert first["/opt/ml/code"] != second["/opt/ml/code"]
    assert [(seen["/opt/ml/code"] / "train.py").read_text() for seen in (first, second)] == ["source/train.py"] * 2
    config = json.loads((ml.input_config_dir / "init-config.json").read_text())
    assert config["channels"]["train"]["s3DataSource"]["sharded"] is True


def test_program_that_starts_containers_inherits_nothing_of_aws(
    containers: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("AWS_PROFILE", "SM_X", "KENNEL_LOCAL_STOP_GRACE_S"):
        monkeypatch.setenv(key, "x")
    monkeypatch.setenv("DOCKER_HOST", "unix:///my.sock")
    ml = MlPaths(tmp_path / "ml")
    containers.lay_out(request_with(), ml)
    environ = containers.training(request_with(), ml, tmp_path / "log.txt").environ
    assert environ["DOCKER_HOST"] == "unix:///my.sock"
    assert not {"AWS_PROFILE", "SM_X", "KENNEL_LOCAL_STOP_GRACE_S"} & environ.keys()


@pytest.mark.parametrize(
    ("local_path", "uri", "folder"),
    [
        ("/opt/ml/checkpoints", "s3://b/c", "checkpoints"),
        ("/state", "s3://b/c", "checkpoints"),
        ("/opt/ml/output/saved", "s3://b/c", "output/saved"),
        ("/opt/ml/output/saved", "file:///c", "checkpoints"),
    ],
)
def test_checkpoints_are_where_the_mounts_put_them(
    containers: Containers, tmp_path: Path, local_path: str, uri: str, folder: str
) -> None:
    request = request_with(CheckpointConfig={"S3Uri": uri, "LocalPath": local_path})
    assert containers.checkpoint_folder(request, MlPaths(tmp_path)) == tmp_path / folder
