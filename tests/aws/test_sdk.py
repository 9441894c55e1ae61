"""The SageMaker SDK v2, which knows nothing of Kennel but the service's variables: fit, deploy, predict, delete."""

import datetime
import os
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from kennel.local import daemon
from local_service import BUCKET, ROLE, Client, wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, at import
    import sagemaker.session
    import sagemaker.utils
    from sagemaker.estimator import Estimator
    from sagemaker.inputs import TrainingInput
    from sagemaker.model import Model
    from sagemaker.predictor import Predictor
    from sagemaker.telemetry import telemetry_logging

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/kennel-{}:1"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own


class HurriedTime:
    """The SDK's clock: its polls of 5 to 30 seconds take a hundredth of that."""

    def __init__(self) -> None:
        self.skipped_s = 0.0

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 100)
        self.skipped_s += seconds

    def time(self) -> float:
        return time.time() + self.skipped_s

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  the rest of the time module
        return getattr(time, name)


@pytest.fixture
def session(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator["sagemaker.session.Session"]:
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    for key, value in daemon.environment(client.state).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(sagemaker.session, "time", HurriedTime())
    made = sagemaker.session.Session()  # has validated the configuration
    # The SDK validates it again at each of 46 look-ups of these tests, 0.2 s each.
    monkeypatch.setattr(sagemaker.utils, "validate_sagemaker_config", lambda config: None)
    monkeypatch.setattr(telemetry_logging, "_send_telemetry_request", lambda *args: pytest.fail("it calls home"))
    yield made


def estimator(session: "sagemaker.session.Session", **orders: object) -> Estimator:
    return Estimator(
        image_uri=IMAGE.format("train"),
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.large",
        sagemaker_session=session,
        hyperparameters=orders,
        metric_definitions=[{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
    )


def test_sdk_fits_deploys_predicts_and_deletes(
    client: Client, session: "sagemaker.session.Session", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1.jpg").write_text("cat")
    assert session.default_bucket() == BUCKET
    uploaded = session.upload_data(str(tmp_path), key_prefix="sdk-data")
    job = estimator(session, steps=3)
    job.fit({"far": uploaded, "near": TrainingInput(tmp_path.as_uri())}, job_name="sdk-fit", logs=True)
    printed = capsys.readouterr().out
    assert "step=2 loss=0.3333" in printed and "Training job completed" in printed and "Billable seconds" in printed
    assert (client.runs / "sdk-fit" / "ml" / "input" / "data" / "far" / "1.jpg").read_text() == "cat"

    predictor = job.deploy(1, "ml.m5.large", endpoint_name="sdk-one", image_uri=IMAGE.format("serve"))
    assert predictor.predict(b"woof") == b"trained model: woof"
    predictor.delete_model()
    predictor.delete_endpoint()
    wait_until(lambda: not client.sagemaker.list_endpoints(NameContains="sdk-one")["Endpoints"], what="its deletion")
    assert not client.sagemaker.list_endpoint_configs(NameContains="sdk-one")["EndpointConfigs"]
    assert not client.sagemaker.list_models(NameContains="kennel-serve")["Models"]


def test_sdk_shows_the_failure_reason(session: "sagemaker.session.Session") -> None:
    job = estimator(session, fail="There are no pictures.")
    with pytest.raises(sagemaker.exceptions.UnexpectedStatusException, match="AlgorithmError: There are no pictures"):
        job.fit(job_name="sdk-fails", logs=False)


def test_sdk_attaches_to_a_job_and_serves_its_model(client: Client, session: "sagemaker.session.Session") -> None:
    client.train("sdk-attached")
    client.finished_job("sdk-attached")
    attached = Estimator.attach("sdk-attached", sagemaker_session=session)
    assert attached.hyperparameters() == {"steps": "3"}
    model = Model(IMAGE.format("serve"), model_data=attached.model_data, role=ROLE, sagemaker_session=session)
    model.deploy(1, "ml.m5.large", endpoint_name="sdk-two", wait=False)
    assert client.settled_endpoint("sdk-two")["EndpointStatus"] == "InService"
    predictor = Predictor("sdk-two", sagemaker_session=session)
    assert predictor.predict(b"wuff") == b"trained model: wuff"
    predictor.delete_endpoint()
    model.delete_model()


def test_metrics_of_a_training_become_a_dataframe(client: Client, session: "sagemaker.session.Session") -> None:
    job = estimator(session, steps=3)
    job.fit(job_name="sdk-curve", logs=False)
    log = (client.runs / "sdk-curve" / "log.txt").read_text()
    printed = [float(found) for found in re.findall("loss=([0-9.]+)", log)]
    frame = job.training_job_analytics.dataframe()
    assert len(printed) == 3 and set(frame["metric_name"]) == {"loss"}
    described = client.job("sdk-curve")
    found = boto3.client("cloudwatch").get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs",
        MetricName="loss",
        Dimensions=[{"Name": "TrainingJobName", "Value": "sdk-curve"}],
        StartTime=described["TrainingStartTime"],
        EndTime=described["TrainingEndTime"] + datetime.timedelta(minutes=1),
        Period=60,
        Statistics=["SampleCount", "Sum", "Average"],
    )["Datapoints"]
    assert sum(each["SampleCount"] for each in found) == 3
    assert sum(each["Sum"] for each in found) == pytest.approx(sum(printed))
    assert frame["value"].tolist() == [each["Average"] for each in found]
    assert sagemaker.TrainingJobAnalytics("sdk-curve", ["nothing"], sagemaker_session=session).dataframe().empty


def test_who_asks_is_a_role(session: "sagemaker.session.Session") -> None:
    """The SDK gives AWS's own address of STS, which no variable changes."""
    role = sagemaker.get_execution_role(session)
    assert role == "arn:aws:iam::123456789012:role/kennel-local"
    assert session.account_id() == "123456789012"
    iam = boto3.client("iam")
    assert iam.get_role(RoleName="kennel-local")["Role"]["Arn"] == role
    iam.create_role(RoleName="own", AssumeRolePolicyDocument="{}")
    iam.attach_role_policy(RoleName="own", PolicyArn="arn:aws:iam::aws:policy/AmazonSageMakerFullAccess")
    simulated = iam.simulate_principal_policy(PolicySourceArn=role, ActionNames=["s3:GetObject", "ecr:BatchGetImage"])
    assert [(each["EvalActionName"], each["EvalDecision"]) for each in simulated["EvaluationResults"]] == [
        ("s3:GetObject", "allowed"),
        ("ecr:BatchGetImage", "allowed"),
    ]
