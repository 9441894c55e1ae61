"""What survives the end of the service: every run, its model, its name. Endpoints do not."""

import json
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from kennel.errors import UserError
from kennel.local import daemon
from kennel.local.settings import Layout
from kennel.local.state import ServiceState, is_locked, read_state
from local_service import BUCKET, Client, all_of, is_gone, left_of, training_request, wait_until

Start = Callable[[], Client]


def kill_service(client: Client) -> None:
    os.kill(client.state.pid, signal.SIGKILL)
    lock = Layout(client.runs).lock_file
    wait_until(lambda: not is_locked(lock), what="its end")  # its last thread may outlive its first


def test_runs_models_and_endpoints_after_a_restart(start: Start, own_runs: Path) -> None:
    client = start()
    client.s3.create_bucket(Bucket="my-own-bucket")
    client.train("kept", OutputDataConfig={"S3OutputPath": "s3://my-own-bucket/out"}, Tags=[{"Key": "a", "Value": "b"}])
    before = client.finished_job("kept")
    model_data = before["ModelArtifacts"]["S3ModelArtifacts"]
    client.deploy("served", model_data)
    client.settled_endpoint("served")
    assert daemon.stop(own_runs)
    assert read_state(own_runs) is None

    client = start()
    after = client.job("kept")
    for each in (before, after):
        del each["ResponseMetadata"]
    assert after == before
    assert client.sagemaker.list_training_jobs()["TrainingJobSummaries"][0]["TrainingJobName"] == "kept"
    assert client.sagemaker.list_tags(ResourceArn=after["TrainingJobArn"])["Tags"] == [{"Key": "a", "Value": "b"}]
    found = client.logs.filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix="kept/")
    assert len(found["events"]) == 3
    with pytest.raises(client.sagemaker.exceptions.ResourceInUse):
        client.train("kept")

    description = client.endpoint("served")
    assert description["EndpointStatus"] == "Failed"
    assert "The local SageMaker ended, and the endpoint's server with it" in description["FailureReason"]
    client.sagemaker.delete_endpoint(EndpointName="served")
    client.deploy("again", model_data)  # out of runs/, since the local S3 has forgotten it
    assert client.settled_endpoint("again")["EndpointStatus"] == "InService"
    assert client.ask("again", b"x")["Body"] == b"trained model: x"

    client.s3.delete_object(Bucket="my-own-bucket", Key="out/kept/output/model.tar.gz")
    with pytest.raises(ClientError, match="404"):
        client.s3.head_object(Bucket="my-own-bucket", Key="out/kept/output/model.tar.gz")


def test_service_killed_during_a_job_fails_it_and_keeps_its_checkpoints(start: Start, own_runs: Path) -> None:
    client = start()
    checkpoints = {"S3Uri": f"s3://{BUCKET}/saved"}
    client.train("cut", steps=1000, orders={"step-s": "0.1", "family": "1"}, CheckpointConfig=checkpoints)
    client.wait_for_line("cut", "step=3")
    family = all_of(client)[1:]
    assert len(family) >= 5
    kill_service(client)

    client = start()
    assert all(is_gone(each) for each in family)
    job = client.job("cut")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    folder = own_runs / "cut" / "ml" / "checkpoints"
    assert "the local SageMaker ended while the job was in Training" in job["FailureReason"]
    assert f"a job with CheckpointConfig S3Uri {folder.as_uri()} goes on from there" in job["FailureReason"]
    assert "SIGTERM: saving" in (own_runs / "cut" / "log.txt").read_text()

    last = int((folder / "step.txt").read_text())
    for name, uri in (("by-file", folder.as_uri()), ("by-s3", checkpoints["S3Uri"])):
        client.train(name, steps=last + 3, CheckpointConfig={"S3Uri": uri})
        assert client.finished_job(name)["TrainingJobStatus"] == "Completed"
        assert (own_runs / name / "log.txt").read_text().startswith(f"step={last + 1} ")
        (folder / "step.txt").write_text(str(last))

    kill_service(client)
    assert daemon.stop(own_runs) is False
    assert read_state(own_runs) is None


def test_sigterm_to_the_service_stops_its_jobs_and_ends_everything(start: Start, own_runs: Path) -> None:
    client = start()
    client.train("stopped", steps=1000, orders={"step-s": "0.1", "family": "1"})
    client.wait_for_line("stopped", "step=1")
    family = all_of(client)
    os.kill(client.state.pid, signal.SIGTERM)
    wait_until(lambda: not left_of(own_runs) and daemon.status(own_runs) is None, what="the end of the service")
    wait_until(lambda: all(is_gone(each) for each in family), what="the end")
    job = json.loads((own_runs / "stopped" / "job.json").read_text())["description"]
    assert job["TrainingJobStatus"] == "Stopped"
    assert "The local SageMaker was stopped" in job["SecondaryStatusTransitions"][-1]["StatusMessage"]
    assert (own_runs / "stopped" / "model.tar.gz").exists()


def test_service_ends_when_idle_but_not_before_its_job(own_runs: Path) -> None:
    state = daemon.start(own_runs, idle_s=1.5)
    request = training_request("working", steps=25, orders={"step-s": "0.1"})  # over two seconds
    headers = {"X-Amz-Target": "SageMaker.CreateTrainingJob", "Content-Type": "application/x-amz-json-1.1"}
    post = urllib.request.Request(state.url, json.dumps(request).encode(), headers)
    with urllib.request.urlopen(post) as answer:
        assert json.loads(answer.read())["TrainingJobArn"].endswith(":training-job/working")
    wait_until(lambda: daemon.status(own_runs) is None, what="the service to end by itself")
    job = json.loads((own_runs / "working" / "job.json").read_text())["description"]
    assert job["TrainingJobStatus"] == "Completed"
    assert "idle for 1.5 s" in (own_runs / ".local" / "service.log").read_text()
    assert not left_of(own_runs)


def test_ensure_from_several_processes_gives_one_service(own_runs: Path) -> None:
    states: list[ServiceState] = []
    threads = [threading.Thread(target=lambda: states.append(daemon.ensure(own_runs))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(states) == 3 and len(set(states)) == 1
    assert daemon.status(own_runs) == states[0]


def test_port_in_use_is_named_with_its_owner_and_the_remedy(own_runs: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as caught:
            daemon.start(own_runs, port=port)
    message = str(caught.value)
    assert f"Port {port} cannot be used, process {os.getpid()} (" in message
    assert "Choose another with --port" in message
    assert not left_of(own_runs)


def test_second_service_on_a_runs_folder_is_refused(client: Client) -> None:
    port = client.state.port
    with pytest.raises(UserError, match=f"already answers for {client.runs} on port {port}, not 1. Stop it"):
        daemon.start(client.runs, port=1)
    assert daemon.start(client.runs, port=port) == client.state


def test_wrong_setting_is_named_when_the_service_starts(own_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_LOCAL_STOP_GRACE_S", "soon")
    with pytest.raises(UserError, match="KENNEL_LOCAL_STOP_GRACE_S has value 'soon'. Expected a number of seconds."):
        daemon.start(own_runs)


def test_second_sigterm_to_the_service_waits_for_nothing(own_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_LOCAL_STOP_GRACE_S", "900")
    client = Client(daemon.start(own_runs))
    client.train("stubborn", steps=10_000, orders={"step-s": "0.1", "on-sigterm": "ignore"})
    client.wait_for_line("stubborn", "step=1")
    os.kill(client.state.pid, signal.SIGTERM)
    wait_until(lambda: client.job("stubborn")["TrainingJobStatus"] == "Stopping", what="the job to be stopping")
    os.kill(client.state.pid, signal.SIGTERM)
    wait_until(lambda: not is_locked(Layout(own_runs).lock_file), what="the end of the service")
    assert not left_of(own_runs)
