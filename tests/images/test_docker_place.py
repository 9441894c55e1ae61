"""The docker place: the local SageMaker runs jobs and endpoints as containers, and none of them outlives its job.

The image is made here: a base with Python, and the stand-ins of tests/aws for `train` and `serve`.
"""

import base64
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import psutil
import pytest
from botocore.exceptions import ClientError

import registry
from kennel.errors import UserError
from kennel.local import daemon
from kennel.local.remains import holders
from local_service import BUCKET, ROLE, Client, left_of, training_request, wait_until
from needs import absent

STAND_INS = Path(__file__).parents[1] / "aws"
ON_DOCKER = [{"Key": "kennel:on", "Value": "docker"}]
LABEL = "kennel.owner"
# Nobody of this machine: a user who may use Docker and owns what is given to him.
STRANGER = 54_321
IMPATIENT = {
    "KENNEL_LOCAL_STOP_GRACE_S": "4",
    "KENNEL_LOCAL_SERVE_GRACE_S": "4",
    "KENNEL_LOCAL_ORPHAN_GRACE_S": "5",
    "KENNEL_LOCAL_PING_LIMIT_S": "10",
    "KENNEL_LOCAL_CHECKPOINT_EVERY_S": "0.3",
}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own


def build(engine: docker.DockerClient, dockerfile: str, tag: str, **options: Any) -> str:  # noqa: ANN401  docker-py's
    """An image of a Dockerfile beside the stand-ins."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name in ("train", "serve"):
            source = (STAND_INS / f"stand_in_{name}.py").read_text()
            add(tar, name, f"#!/usr/bin/env -S python3 -S\n{source}")
        add(tar, "Dockerfile", dockerfile)
    context.seek(0)
    engine.images.build(fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True, **options)
    return tag


def add(tar: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(text.encode()), 0o755
    tar.addfile(info, io.BytesIO(text.encode()))


def exit_status(engine: docker.DockerClient, image: str, command: list[str]) -> int:
    """Runs a container of no service; docker-py's own run(remove=True) would leave the image's volume behind."""
    container = engine.containers.create(image, command)
    try:
        container.start()
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True, v=True)


@pytest.fixture(scope="module")
def image(docker_engine: docker.DockerClient, base_image: str) -> Iterator[str]:
    """An image, not named as Kennel's are, that trains and serves; it has a volume and a user of its own."""
    name = f"kennel-test/stand-in:{secrets.token_hex(4)}"
    lines = [
        f"FROM {base_image}",
        "COPY --chown=0:0 train serve /usr/local/bin/",
        "ENV OF_THE_IMAGE=yes",
        "VOLUME /vol",
    ]
    yield build(docker_engine, "\n".join(lines), name)
    docker_engine.images.remove(name, force=True)


def owned(engine: docker.DockerClient, runs: Path) -> list[Any]:
    """The containers and networks, also stopped ones, that a service on `runs` made."""
    found = engine.containers.list(all=True, sparse=True, filters={"label": LABEL})
    found += engine.networks.list(filters={"label": LABEL})
    return [each for each in found if each.attrs["Labels"][LABEL].startswith(f"{runs}:")]


def unused_volumes(engine: docker.DockerClient) -> set[str]:
    return {str(each.name) for each in engine.volumes.list(filters={"dangling": True})}


@contextmanager
def quiet_runs(runs: Path, engine: docker.DockerClient) -> Iterator[Path]:
    """A runs folder; its service is ended afterwards, and nothing of it may be left, in Docker or outside."""
    volumes = unused_volumes(engine)
    try:
        yield runs
    finally:
        daemon.stop(runs)
        processes, things = left_of(runs), owned(engine, runs)
        for process in processes:
            process.kill()
        for thing in things:
            thing.remove(**({"force": True} if hasattr(thing, "kill") else {}))
    assert not processes and not things, f"left: {processes} {things}"
    assert not unused_volumes(engine) - volumes, "volumes left, unless another program did it"


@contextmanager
def impatient() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in IMPATIENT.items():
            patch.setenv(key, value)
        yield


@pytest.fixture(scope="module")
def client(docker_engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Clients of a service that the tests of this module share."""
    with impatient(), quiet_runs(tmp_path_factory.mktemp("runs").resolve(), docker_engine) as runs:
        yield Client(daemon.start(runs))


@pytest.fixture
def start(docker_engine: docker.DockerClient, tmp_path: Path) -> Iterator[Callable[[], Client]]:
    """Starts (again) a service on the test's own runs folder."""
    with impatient(), quiet_runs(tmp_path.resolve() / "runs", docker_engine) as runs:
        yield lambda: Client(daemon.start(runs))


def request_for(
    image: str,
    name: str,
    *,
    steps: int = 3,
    orders: dict[str, str] | None = None,
    **changes: Any,  # noqa: ANN401
) -> dict[str, Any]:
    request = training_request(name, steps=steps, orders=orders)
    request["AlgorithmSpecification"] |= {"TrainingImage": image, **changes.pop("AlgorithmSpecification", {})}
    return {**request, "Tags": ON_DOCKER, **changes}


def train(client: Client, image: str, name: str, **changes: Any) -> None:  # noqa: ANN401
    client.sagemaker.create_training_job(**request_for(image, name, **changes))


def seen(client: Client, name: str) -> dict[str, Any]:
    """What the program of a finished job saw."""
    job = client.finished_job(name)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    [line] = [each for each in log_lines(client, name) if each.startswith("seen=")]
    return dict(json.loads(line.removeprefix("seen=")))


def log_lines(client: Client, name: str) -> list[str]:
    return (client.runs / name / "log.txt").read_text().splitlines()


def refused(client: Client, request: dict[str, Any]) -> str:
    """The message of the 400 that answers a request; nothing may be left of it."""
    with pytest.raises(ClientError) as caught:
        client.sagemaker.create_training_job(**request)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert not (client.runs / request["TrainingJobName"]).exists()
    return str(caught.value.response["Error"]["Message"])


def test_job_completes_with_log_metrics_and_model(client: Client, image: str) -> None:
    train(client, image, "completes")
    job = client.finished_job("completes")
    assert job["TrainingJobStatus"] == "Completed"
    assert log_lines(client, "completes") == ["step=0 loss=1.0000", "step=1 loss=0.5000", "step=2 loss=0.3333"]
    [metric] = job["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", pytest.approx(0.3333))
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/")
    with tarfile.open(fileobj=io.BytesIO(client.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())) as tar:
        assert tar.extractfile("model.txt").read() == b"trained model"  # type: ignore[union-attr]
    tags = client.sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
    assert tags == ON_DOCKER


def test_program_sees_what_sagemaker_shows_and_nothing_of_this_machine(
    client: Client, image: str, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "1.jpg").write_text("near")
    (tmp_path / "link").symlink_to(pictures)
    (tmp_path / "weights.bin").write_text("one file")
    client.s3.put_object(Bucket=BUCKET, Key="far/2.jpg", Body=b"far")
    uris = {
        "near": (tmp_path / "link").as_uri(),
        "weights": (tmp_path / "weights.bin").as_uri(),
        "far": f"s3://{BUCKET}/far/",
    }
    channels = [
        {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}
        for name, uri in uris.items()
    ]
    environment = {"Environment": {"MINE": "1"}, "InputDataConfig": channels}
    train(client, image, "sees", orders={"look": "1"}, **environment)
    saw = seen(client, "sees")
    assert saw["argv"] == ["/usr/local/bin/train"]  # the image has no ENTRYPOINT: `train` is found on PATH
    assert saw["hostname"] == "algo-1" and saw["addresses"]["algo-1"].startswith("172.")
    assert (saw["resources"]["hosts"], saw["resources"]["network_interface_name"]) == (["algo-1"], "eth0")
    assert saw["channels"] == {"near/1.jpg": "near", "weights/weights.bin": "one file", "far/2.jpg": "far"}
    assert saw["read_only"] and all(saw["channels_read_only"])
    assert saw["user"] == [os.getuid(), os.getgid()]
    assert saw["shm_bytes"] > 64 * 2**20
    told = {"MINE", "TRAINING_JOB_NAME", "TRAINING_JOB_ARN", "AWS_REGION", "HOME", "USER", "OF_THE_IMAGE"}
    assert told <= saw["environment"].keys()
    assert saw["environment"].keys() - told <= {"PATH", "HOSTNAME", "LC_CTYPE"}
    assert saw["environment"]["HOME"] == "/tmp" and saw["environment"]["TRAINING_JOB_NAME"] == "sees"


def test_entry_point_and_arguments_take_the_place_of_train(client: Client, image: str) -> None:
    own = {"ContainerEntrypoint": ["python3", "-S", "/usr/local/bin/train"], "ContainerArguments": ["a", "b c"]}
    train(client, image, "own-entry", orders={"look": "1"}, AlgorithmSpecification=own)
    assert seen(client, "own-entry")["argv"] == ["/usr/local/bin/train", "a", "b c"]
    train(client, image, "arguments", orders={"look": "1"}, AlgorithmSpecification={"ContainerArguments": ["a"]})
    assert seen(client, "arguments")["argv"][1:] == ["a"]


def test_isolated_job_has_no_network_but_its_name_resolves(client: Client, image: str) -> None:
    train(client, image, "isolated", orders={"look": "1"}, EnableNetworkIsolation=True)
    saw = seen(client, "isolated")
    assert saw["interfaces"] == ["lo"] and saw["addresses"] == {"algo-1": "127.0.0.1"}
    assert saw["resources"]["network_interface_name"] == "lo"


def test_job_fails_with_its_failure_file_and_exit_status(client: Client, image: str) -> None:
    train(client, image, "fails", orders={"fail": "There are no pictures.", "exit": "7"})
    job = client.finished_job("fails")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: There are no pictures., exit code: 7"


def test_image_that_cannot_train_fails_with_dockers_words(client: Client, base_image: str) -> None:
    train(client, base_image, "no-train")
    reason = client.finished_job("no-train")["FailureReason"]
    assert '"train": executable file not found in $PATH' in reason and reason.endswith("exit code: 127")


def test_stopped_job_hears_sigterm_and_keeps_what_it_saved(client: Client, image: str) -> None:
    train(client, image, "stopped", steps=1000, orders={"step-s": "0.1"})
    client.wait_for_line("stopped", "step=1")
    client.sagemaker.stop_training_job(TrainingJobName="stopped")
    job = client.finished_job("stopped")
    assert job["TrainingJobStatus"] == "Stopped"
    assert "SIGTERM: saving" in log_lines(client, "stopped")
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("stopped/output/model.tar.gz")


def test_job_that_ignores_sigterm_is_killed_with_its_container(
    client: Client, image: str, docker_engine: docker.DockerClient
) -> None:
    train(client, image, "ignores", steps=10_000, orders={"step-s": "0.1", "on-sigterm": "ignore"})
    client.wait_for_line("ignores", "step=1")
    client.sagemaker.stop_training_job(TrainingJobName="ignores")
    assert client.finished_job("ignores")["TrainingJobStatus"] == "Stopped"
    assert not [each for each in owned(docker_engine, client.runs) if "/ignores" in each.attrs["Labels"][LABEL]]


@pytest.mark.parametrize("kind", ["s3", "file"])
def test_checkpoints_are_written_back_and_restored_at_their_own_path(
    client: Client, image: str, tmp_path: Path, kind: str
) -> None:
    uri = f"s3://{BUCKET}/state" if kind == "s3" else (tmp_path / "state").as_uri()
    saved = {"CheckpointConfig": {"S3Uri": uri, "LocalPath": "/state"}}
    train(client, image, f"first-{kind}", steps=2, **saved)
    assert client.finished_job(f"first-{kind}")["TrainingJobStatus"] == "Completed"
    train(client, image, f"second-{kind}", steps=4, **saved)
    assert client.finished_job(f"second-{kind}")["TrainingJobStatus"] == "Completed"
    assert log_lines(client, f"second-{kind}") == ["step=2 loss=0.3333", "step=3 loss=0.2500"]
    assert (client.runs / f"second-{kind}" / "ml" / "checkpoints" / "step.txt").read_text() == "3"


def test_checkpoints_left_in_a_run_are_gone_on_from(client: Client, image: str) -> None:
    train(client, image, "makes-checkpoint", steps=2)
    assert client.finished_job("makes-checkpoint")["TrainingJobStatus"] == "Completed"
    folder = client.runs / "makes-checkpoint" / "ml" / "checkpoints"
    train(client, image, "goes-on", steps=3, CheckpointConfig={"S3Uri": folder.as_uri()})
    assert client.finished_job("goes-on")["TrainingJobStatus"] == "Completed"
    assert log_lines(client, "goes-on") == ["step=2 loss=0.3333"]


@contextmanager
def strangers_service(runs: Path, docker_group: int) -> Iterator[Client]:
    """A service that belongs to a user other than root, who may use Docker."""
    runs.mkdir()
    os.chown(runs, STRANGER, STRANGER)
    log = runs.parent / "service.txt"
    ids = [f"--reuid={STRANGER}", f"--regid={STRANGER}", f"--groups={docker_group}"]
    # He may read everything, or he could not run this Python where it is root's; he writes as himself.
    ids += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    command = [sys.executable, "-P", "-m", "kennel.local.service", "--runs", str(runs)]
    with log.open("wb") as stream:
        service = subprocess.Popen(
            ["setpriv", *ids, *command], stdout=stream, stderr=stream, env={**os.environ, **IMPATIENT}
        )
        try:
            wait_until(lambda: daemon.status(runs) or service.poll() is not None, what="the service")
            state = daemon.status(runs)
            assert state, log.read_text()
            yield Client(state)
        finally:
            service.terminate()
            service.wait(30)


@pytest.fixture
def strangers_runs(docker_engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that another user can reach; what it holds must be removable by him."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    folder = Path("/tmp") / f"kennel-stranger-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o755)
    with quiet_runs(folder / "runs", docker_engine) as runs:
        yield runs
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.parametrize("tag", ["caller", "image"])
def test_files_made_by_containers_belong_to_the_caller(image: str, strangers_runs: Path, tag: str) -> None:
    tags = [*ON_DOCKER, {"Key": "kennel:user", "Value": tag}]
    group = os.stat(urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")).path).st_gid
    with strangers_service(strangers_runs, group) as client:
        orders = {"look": "1"} if tag == "caller" else {"look": "1", "root": "1"}
        train(client, image, "owned", orders=orders, Tags=tags, CheckpointConfig={"S3Uri": f"s3://{BUCKET}/c"})
        expected = STRANGER if tag == "caller" else 0
        assert seen(client, "owned")["user"] == [expected, expected]
        if tag == "image":
            with tarfile.open(strangers_runs / "owned" / "output.tar.gz") as tar:
                assert tar.extractfile("secret/kept.txt").read() == b"kept"  # type: ignore[union-attr]
        else:
            train(client, image, "not-root", orders={"root": "1"}, Tags=tags)
            job = client.finished_job("not-root")
            assert job["TrainingJobStatus"] == "Failed" and "Permission denied" in job["FailureReason"]
    owners = {path: path.lstat().st_uid for path in strangers_runs.rglob("*")}
    assert {path for path, uid in owners.items() if uid != STRANGER} == set()
    assert any(path.name == "step.txt" for path in owners)


def parts_of(client: Client, owner: str) -> dict[str, psutil.Process]:
    """The guard of a program, and the runner under it."""
    found = holders(lambda marker: marker == f"{client.runs}:{owner}")
    modules = {"guard": "kennel.local.guard", "runner": "kennel.local.container_run"}
    # The guard's own arguments name the runner too.
    return {part: next(each for each in found if each.cmdline()[3:4] == [module]) for part, module in modules.items()}


@pytest.mark.parametrize(
    ("part", "reason"),
    [("guard", "the guard process of the job was killed"), ("runner", "ended by signal 9")],
)
def test_killed_part_of_a_job_takes_its_container_along(
    client: Client, image: str, docker_engine: docker.DockerClient, part: str, reason: str
) -> None:
    name = f"{part}-killed"
    train(client, image, name, steps=1000, orders={"step-s": "0.1", "on-sigterm": "ignore"})
    client.wait_for_line(name, "step=1")
    assert len(owned(docker_engine, client.runs)) == 1
    parts_of(client, f"training-jobs/{name}")[part].kill()
    job = client.finished_job(name)
    assert job["TrainingJobStatus"] == "Failed" and reason in job["FailureReason"]
    assert not owned(docker_engine, client.runs)


def test_killed_container_fails_its_job(client: Client, image: str, docker_engine: docker.DockerClient) -> None:
    train(client, image, "container-killed", steps=1000, orders={"step-s": "0.1"})
    client.wait_for_line("container-killed", "step=1")
    [container] = owned(docker_engine, client.runs)
    container.kill()
    assert "ended by signal 9" in client.finished_job("container-killed")["FailureReason"]


def deploy(client: Client, image: str, name: str, folder: Path, **changes: Any) -> None:  # noqa: ANN401
    (folder / "model.txt").write_text("my model")
    (folder / "model.txt").chmod(0o600)
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        tar.add(folder / "model.txt", arcname="model.txt")
    container = {"Image": image, "ModelDataUrl": (folder / "model.tar.gz").as_uri(), **changes.pop("Container", {})}
    client.sagemaker.create_model(
        ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE, Tags=ON_DOCKER, **changes
    )
    variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    client.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


def delete(client: Client, name: str) -> None:
    client.sagemaker.delete_endpoint(EndpointName=name)
    wait_until(lambda: not client.sagemaker.list_endpoints(NameContains=name)["Endpoints"], what="its deletion")


def test_service_killed_takes_its_containers_along(
    start: Callable[[], Client], image: str, docker_engine: docker.DockerClient, tmp_path: Path
) -> None:
    client = start()
    deploy(client, image, "up", tmp_path, EnableNetworkIsolation=True)
    assert client.settled_endpoint("up")["EndpointStatus"] == "InService"
    train(client, image, "job", steps=1000, orders={"step-s": "0.1"})
    client.wait_for_line("job", "step=1")
    assert len(owned(docker_engine, client.runs)) == 3  # two containers, and the network of the isolated one
    os.kill(client.state.pid, signal.SIGKILL)
    wait_until(lambda: not owned(docker_engine, client.runs), what="the end of the containers")
    wait_until(lambda: not left_of(client.runs), what="the end of the processes")
    assert "SIGTERM: saving" in log_lines(client, "job")


def test_everything_killed_together_is_cleared_up_by_the_next_service(
    start: Callable[[], Client], image: str, docker_engine: docker.DockerClient
) -> None:
    client = start()
    train(client, image, "job", steps=1000, orders={"step-s": "0.1"})
    client.wait_for_line("job", "step=1")
    parts = parts_of(client, "training-jobs/job")
    os.kill(client.state.pid, signal.SIGSTOP)  # so that it sees nothing of what happens to the guard
    for process in (parts["guard"], parts["runner"], psutil.Process(client.state.pid)):
        process.kill()
    assert len(owned(docker_engine, client.runs)) == 1
    client = start()
    assert not owned(docker_engine, client.runs)
    assert client.job("job")["TrainingJobStatus"] == "Failed"


@pytest.fixture(scope="module")
def endpoint(client: Client, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    deploy(client, image, "served", tmp_path_factory.mktemp("model"), Container={"Environment": {"MINE": "1"}})
    description = client.settled_endpoint("served")
    assert description["EndpointStatus"] == "InService", description["FailureReason"]
    yield "served"
    delete(client, "served")


def test_endpoint_answers_from_its_container(client: Client, endpoint: str) -> None:
    assert client.ask(endpoint, b"woof")["Body"] == b"my model: woof"
    saw = json.loads(client.ask(endpoint, ContentType="x/look")["Body"])
    assert saw["read_only"] and saw["environment"].keys() >= {"MINE", "OF_THE_IMAGE"}
    assert not {"SAGEMAKER_BIND_TO_PORT", "AWS_REGION", "AWS_ACCESS_KEY_ID"} & saw["environment"].keys()
    streams = client.logs.describe_log_streams(logGroupName=f"/aws/sagemaker/Endpoints/{endpoint}")["logStreams"]
    assert len(streams) == 1
    tags = client.sagemaker.list_tags(ResourceArn=client.endpoint(endpoint)["EndpointArn"])["Tags"]
    assert tags == ON_DOCKER


def test_endpoint_listens_on_loopback_only(client: Client, endpoint: str, docker_engine: docker.DockerClient) -> None:
    [container] = [each for each in owned(docker_engine, client.runs) if "/served/" in each.attrs["Labels"][LABEL]]
    container.reload()
    [binding] = container.attrs["NetworkSettings"]["Ports"]["8080/tcp"]
    assert binding["HostIp"] == "127.0.0.1"


def test_isolated_endpoint_answers_and_reaches_no_other_container(
    client: Client, image: str, endpoint: str, docker_engine: docker.DockerClient, tmp_path: Path
) -> None:
    [other] = [each for each in owned(docker_engine, client.runs) if f"/{endpoint}/" in each.attrs["Labels"][LABEL]]
    other.reload()
    address = other.attrs["NetworkSettings"]["IPAddress"]
    connect = f"import socket; socket.create_connection(('{address}', 8080), timeout=5)"
    assert exit_status(docker_engine, image, ["python3", "-c", connect]) == 0  # one that is not isolated reaches it
    deploy(client, image, "alone", tmp_path, EnableNetworkIsolation=True)
    assert client.settled_endpoint("alone")["EndpointStatus"] == "InService"
    assert json.loads(client.ask("alone", f"{address}:8080".encode(), ContentType="x/reach")["Body"]) is False
    delete(client, "alone")


def test_endpoint_whose_server_dies_fails_with_the_last_error_of_its_log(
    client: Client, image: str, tmp_path: Path, docker_engine: docker.DockerClient
) -> None:
    deploy(client, image, "dies", tmp_path)
    assert client.settled_endpoint("dies")["EndpointStatus"] == "InService"
    with pytest.raises(client.runtime.exceptions.ModelError):
        client.ask("dies", ContentType="x/die")
    wait_until(lambda: client.endpoint("dies")["EndpointStatus"] == "Failed", what="the endpoint to fail")
    reason = client.endpoint("dies")["FailureReason"]
    assert "exit status 9 while in service" in reason and "ERROR the model went away" in reason
    delete(client, "dies")
    assert not [each for each in owned(docker_engine, client.runs) if "/dies/" in each.attrs["Labels"][LABEL]]


def test_server_that_refuses_to_start_fails_its_endpoint(client: Client, image: str, tmp_path: Path) -> None:
    environment = {"Environment": {"REFUSE_TO_START": "ERROR no weights in the model"}}
    deploy(client, image, "refuses", tmp_path, Container=environment)
    description = client.settled_endpoint("refuses")
    assert description["EndpointStatus"] == "Failed"
    assert "ERROR no weights in the model" in description["FailureReason"]
    delete(client, "refuses")


def test_image_that_is_not_there_is_refused_at_once_with_the_remedy(client: Client) -> None:
    message = refused(client, request_for("kennel-train:no-such-tag", "missing"))
    assert "There is no image 'kennel-train:no-such-tag' in the local Docker. Build" in message
    assert "scripts/build.sh" in message
    message = refused(client, request_for("127.0.0.1:9/team/other:1", "unreachable"))
    assert "'127.0.0.1:9/team/other:1'" in message and "its registry does not give it" in message
    with pytest.raises(ClientError, match=r"no image 'kennel-serve:no-such-tag'.*scripts/build\.sh"):
        client.sagemaker.create_model(
            ModelName="m", PrimaryContainer={"Image": "kennel-serve:no-such-tag"}, ExecutionRoleArn=ROLE, Tags=ON_DOCKER
        )


def test_image_of_a_registry_is_fetched_by_its_digest(
    start: Callable[[], Client], docker_engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny image without anything that could run: what Docker says of that is said of the fetched one."""
    if registry.program() is None:
        absent("docker", "there is no docker-registry")
    name = f"kennel-test/tiny:{secrets.token_hex(4)}"
    build(docker_engine, "FROM scratch\nCOPY train /train", name)
    with registry.running_registry(tmp_path / "registry") as local:
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        login = base64.b64encode(f"{registry.USER}:{registry.TOKEN}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {local.host: {"auth": login}}}))
        registry.store_manifest(docker_engine, name, f"{local.host}/team/tiny:1", local.login)
        docker_engine.images.remove(name)
        digest = docker_engine.images.get_registry_data(f"{local.host}/team/tiny:1", auth_config=local.login).id
        reference = f"{local.host}/team/tiny@{digest}"
        client = start()
        train(client, reference, "fetched")
        job = client.finished_job("fetched")
        fetched = docker_engine.images.get(reference)
        docker_engine.images.remove(fetched.id, force=True)
        assert log_lines(client, "fetched")[0] == f"kennel: INFO pulling '{reference}'"
        assert job["FailureReason"].endswith("exit code: 127")
        message = refused(client, request_for(f"{local.host}/team/tiny:2", "unknown"))
        assert f"There is no image '{local.host}/team/tiny:2'" in message


def test_image_for_another_architecture_is_refused(client: Client, docker_engine: docker.DockerClient) -> None:
    machine = docker_engine.version()["Arch"]
    other = "arm64" if machine == "amd64" else "amd64"
    name = f"kennel-test/other:{secrets.token_hex(4)}"
    build(docker_engine, "FROM scratch\nCOPY train /train", name, platform=f"linux/{other}")
    try:
        message = refused(client, request_for(name, "elsewhere"))
    finally:
        docker_engine.images.remove(name, force=True)
    assert f"Image '{name}' is built for {other}, and this machine is {machine}" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Tags": [{"Key": "kennel:on", "Value": "moon"}]}, "has value 'moon'. Expected one of: local, docker"),
        ({"Tags": [*ON_DOCKER, {"Key": "kennel:user", "Value": "me"}]}, "Expected one of: caller, image"),
        ({"CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/c", "LocalPath": "/opt/ml/input/x"}}, "/opt/ml/input is read"),
        ({"CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/c", "LocalPath": "/opt/ml"}}, "Expected a folder of its own"),
    ],
    ids=["place", "user", "input", "opt-ml"],
)
def test_what_cannot_be_done_is_refused(client: Client, image: str, changes: dict[str, Any], words: str) -> None:
    assert words in refused(client, request_for(image, "refused", **changes))


def test_link_out_of_a_channel_is_refused(client: Client, image: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "outside.jpg").write_text("x")
    (tmp_path / "data" / "1.jpg").symlink_to(tmp_path / "outside.jpg")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (tmp_path / "data").as_uri()}}
    request = request_for(image, "linked", InputDataConfig=[{"ChannelName": "data", "DataSource": source}])
    assert f"outside {tmp_path / 'data'}, so that a container does not see it" in refused(client, request)


def test_service_wide_place_counts_where_nobody_asks(start: Callable[[], Client], image: str, tmp_path: Path) -> None:
    runs = tmp_path.resolve() / "runs"
    state = daemon.start(runs, on="docker")
    client = Client(state)
    request = request_for(image, "unasked")
    del request["Tags"]
    client.sagemaker.create_training_job(**request)
    assert client.finished_job("unasked")["TrainingJobStatus"] == "Completed"
    arn = client.job("unasked")["TrainingJobArn"]
    assert client.sagemaker.list_tags(ResourceArn=arn)["Tags"] == ON_DOCKER
    with pytest.raises(ClientError, match="says where a resource runs and cannot be changed"):
        client.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "kennel:on", "Value": "local"}])
    with pytest.raises(UserError, match="already answers for .* with --on docker. Stop it first"):
        daemon.start(runs, on="local")
    daemon.stop(runs)
    assert daemon.start(runs).on == "docker"  # stays chosen


def several(image: str, name: str, count: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  requests' own
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": count, "VolumeSizeInGB": 1}
    return request_for(image, name, ResourceConfig=resources, **changes)


@pytest.mark.parametrize("isolated", [False, True], ids=["peers", "isolated"])
def test_hosts_of_a_job_find_each_other_by_name(client: Client, image: str, isolated: bool) -> None:
    name = f"two-{isolated}".lower()
    # A host's name is gone with it: each lives for 12 s, so that the other may begin so much later on a busy machine.
    request = several(image, name, 2, orders={"look": "1", "step-s": "4"}, EnableNetworkIsolation=isolated)
    client.sagemaker.create_training_job(**request)
    job = client.finished_job(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    lines = log_lines(client, name)
    [first] = [json.loads(each[5:]) for each in lines if each.startswith("seen=")]
    [second] = [json.loads(each[14:]) for each in lines if each.startswith("algo-2 | seen=")]
    assert (first["hostname"], second["hostname"]) == ("algo-1", "algo-2")
    assert first["resources"]["hosts"] == second["resources"]["hosts"] == ["algo-1", "algo-2"]
    assert second["resources"]["current_host"] == "algo-2"
    assert first["addresses"] == second["addresses"]
    assert len({*first["addresses"].values(), "none"}) == 3
    assert {"step=0 loss=1.0000", "algo-2 | step=0 loss=1.0000"} <= set(lines)  # each has checkpoints of its own
    with tarfile.open(client.runs / name / "model.tar.gz") as tar:
        assert {"model.txt", "algo-1.txt", "algo-2.txt"} <= set(tar.getnames())
    assert not (client.runs / name / "ml" / "hosts").exists()


def test_failure_of_one_host_fails_the_job_and_ends_the_others(
    client: Client, image: str, docker_engine: docker.DockerClient
) -> None:
    orders = {"step-s": "0.1", "fail-host": "algo-2", "fail": "Host two has no pictures.", "exit": "3"}
    client.sagemaker.create_training_job(**several(image, "one-fails", 2, steps=1000, orders=orders))
    job = client.finished_job("one-fails")
    assert job["FailureReason"] == "AlgorithmError: Host two has no pictures., exit code: 3"
    assert "SIGTERM: saving" in log_lines(client, "one-fails")
    assert not [each for each in owned(docker_engine, client.runs) if "/one-fails" in each.attrs["Labels"][LABEL]]


def test_killed_runner_takes_every_host_and_their_network_along(
    client: Client, image: str, docker_engine: docker.DockerClient
) -> None:
    client.sagemaker.create_training_job(**several(image, "two-killed", 2, steps=1000, orders={"step-s": "0.1"}))
    client.wait_for_line("two-killed", "algo-2 | step=1")
    left = lambda: [each for each in owned(docker_engine, client.runs) if "two-killed" in each.attrs["Labels"][LABEL]]  # noqa: E731
    assert len(left()) == 3
    parts_of(client, "training-jobs/two-killed")["runner"].kill()
    assert "ended by signal 9" in client.finished_job("two-killed")["FailureReason"]
    assert not left()


def test_each_of_several_hosts_sees_its_share_of_a_sharded_channel(client: Client, image: str, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    source = {"S3DataType": "S3Prefix", "S3Uri": tmp_path.as_uri(), "S3DataDistributionType": "ShardedByS3Key"}
    channel = {"ChannelName": "data", "DataSource": {"S3DataSource": source}}
    client.sagemaker.create_training_job(
        **several(image, "sharded", 2, orders={"look": "1"}, InputDataConfig=[channel])
    )
    assert client.finished_job("sharded")["TrainingJobStatus"] == "Completed"
    seen = [json.loads(line.partition("seen=")[2]) for line in log_lines(client, "sharded") if "seen=" in line]
    assert sorted(sorted(each["channels"]) for each in seen) == [["data/a", "data/c"], ["data/b"]]


def test_sdk_trains_and_deploys_by_its_tag(client: Client, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    for key, value in daemon.environment(client.state).items():
        monkeypatch.setenv(key, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's own, at import
        import sagemaker.session
        from sagemaker.estimator import Estimator
    estimator = Estimator(
        image_uri=image,
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.large",
        sagemaker_session=sagemaker.session.Session(),
        hyperparameters={"steps": 2},
        tags=ON_DOCKER,
    )
    estimator.fit(job_name="sdk", wait=False)
    assert client.finished_job("sdk")["TrainingJobStatus"] == "Completed"
    predictor = estimator.deploy(1, "ml.m5.large", endpoint_name="sdk", wait=False)
    assert client.settled_endpoint("sdk")["EndpointStatus"] == "InService"
    assert predictor.predict(b"woof") == b"trained model: woof"
    [container] = json.loads((client.runs / ".local" / "endpoints" / "sdk" / "container.json").read_text())["hosts"]
    assert container["mounts"][0]["target"] == "/opt/ml/model"
    predictor.delete_model()
    delete(client, "sdk")


def test_kennels_own_verbs_take_any_image(client: Client, image: str, make_folder: Callable[..., Path]) -> None:
    def kennel(*words: str) -> str:
        environ = {**os.environ, "KENNEL_RUNS": str(client.runs)}
        done = subprocess.run(
            [sys.executable, "-m", "kennel.cli", *words], env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    folder = str(make_folder())
    printed = kennel("train", "--data", folder, "--name", "by-verb", "--on", "docker", "--image", image)
    assert "step=2 loss=0.3333" in printed and "Completed after" in printed
    assert "ask it:" in kennel("deploy", "by-verb", "--on", "docker", "--image", image)
    listed = {line.split()[0]: line.split()[1:3] for line in kennel("list").splitlines() if "by-verb" in line}
    assert listed == {"by-verb": ["Completed", "docker"]}  # the job's line is the last; the endpoint's has its name too
    assert client.ask("by-verb", b"woof")["Body"] == b"trained model: woof"
    assert "deleted model by-verb" in kennel("delete", "--endpoint-name", "by-verb", "--on", "docker")
