"""The SDK v2's Transformer against the local SageMaker: logs, waiting, attaching, stopping, every argument it has."""

import os
import warnings
from collections.abc import Iterator

import pytest
from batch_service import Batch

from kennel.local import daemon
from local_service import BUCKET, ROLE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, at import
    import sagemaker.session
    import sagemaker.utils
    from sagemaker.exceptions import UnexpectedStatusException
    from sagemaker.inputs import BatchDataCaptureConfig
    from sagemaker.model import Model
    from sagemaker.transformer import Transformer

from test_sdk import HurriedTime

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/kennel-serve:1"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own


@pytest.fixture
def session(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> Iterator["sagemaker.session.Session"]:
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    for key, value in daemon.environment(batch.client.state).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(sagemaker.session, "time", HurriedTime())
    made = sagemaker.session.Session()  # has validated the configuration
    monkeypatch.setattr(sagemaker.utils, "validate_sagemaker_config", lambda config: None)
    yield made


def test_model_makes_a_transformer_whose_logs_are_shown(
    batch: Batch, session: "sagemaker.session.Session", capsys: pytest.CaptureFixture[str]
) -> None:
    batch.put(sdk__a_txt=b"a", sdk__b_txt=b"b")
    model = Model(IMAGE, role=ROLE, name="sdk-model", sagemaker_session=session)
    transformer = model.transformer(1, "ml.m5.large", env={"MINE": "the job's"})
    transformer.transform(f"s3://{BUCKET}/sdk/", content_type="text/plain")  # waits, and shows the logs
    printed = capsys.readouterr().out
    assert "INFO serving" in printed
    assert "[sagemaker logs]: MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD" in printed
    assert transformer.output_path.startswith(f"s3://{BUCKET}/")
    listed = sagemaker.s3.S3Downloader.list(transformer.output_path, sagemaker_session=session)
    assert sorted(listed) == [f"{transformer.output_path}/{name}.txt.out" for name in "ab"]
    transformer.delete_model()
    assert not batch.sagemaker.list_models(NameContains="sdk-model")["Models"]


def test_every_argument_arrives(batch: Batch, session: "sagemaker.session.Session") -> None:
    batch.put(args__l_csv=b"7,1,2\n8,3,4\n")
    transformer = Transformer(
        "model",
        2,
        "ml.m5.large",
        strategy="MultiRecord",
        assemble_with="Line",
        output_path=f"s3://{BUCKET}/out/sdk-args",
        accept="text/csv",
        max_concurrent_transforms=3,
        max_payload=2,
        tags=[{"Key": "who", "Value": "me"}],
        sagemaker_session=session,
    )
    transformer.transform(
        f"s3://{BUCKET}/args/l.csv",
        content_type="text/csv",
        compression_type="None",
        split_type="Line",
        job_name="sdk-args",
        input_filter="$[1:]",
        join_source="Input",
        output_filter="$[0,-1]",
        experiment_config={"ExperimentName": "e"},
        model_client_config={"InvocationsTimeoutInSeconds": 60, "InvocationsMaxRetries": 1},
        logs=False,
    )
    assert batch.outputs("sdk-args") == {"l.csv.out": b"7,3.0\n8,7.0\n"}
    job = batch.job("sdk-args")
    assert job["ExperimentConfig"] == {"ExperimentName": "e"}
    assert "InstanceCount=2: on this one machine one server takes the place of all" in batch.log("sdk-args")

    attached = Transformer.attach("sdk-args", sagemaker_session=session)
    for name in ("model_name", "strategy", "assemble_with", "accept", "max_payload", "max_concurrent_transforms"):
        assert getattr(attached, name) == getattr(transformer, name)
    assert (attached.instance_count, attached.output_path) == (2, transformer.output_path)
    attached.wait(logs=False)


def test_job_that_is_not_waited_for_is_stopped(batch: Batch, session: "sagemaker.session.Session") -> None:
    batch.put(wait__a_txt=b"sleep 60")
    transformer = Transformer("model", 1, "ml.m5.large", sagemaker_session=session)
    transformer.transform(f"s3://{BUCKET}/wait/", job_name="sdk-stopped", wait=False)
    transformer.stop_transform_job(wait=False)
    assert batch.finished("sdk-stopped")["TransformJobStatus"] == "Stopped"
    transformer.stop_transform_job(wait=False)  # a second time is no error


def test_failure_says_which_object_and_why(batch: Batch, session: "sagemaker.session.Session") -> None:
    batch.put(sdkbad__a_txt=b"status 415")
    transformer = Transformer("model", 1, "ml.m5.large", sagemaker_session=session)
    with pytest.raises(
        UnexpectedStatusException, match="See job logs for more information.*sdkbad/a.txt: 415: .*no pict"
    ):
        transformer.transform(f"s3://{BUCKET}/sdkbad/", job_name="sdk-bad", logs=False)


def test_data_capture_is_refused_in_words(batch: Batch, session: "sagemaker.session.Session") -> None:
    batch.put(captured__a_txt=b"a")
    transformer = Transformer("model", 1, "ml.m5.large", sagemaker_session=session)
    capture = BatchDataCaptureConfig(destination_s3_uri=f"s3://{BUCKET}/captured-out")
    with pytest.raises(batch.sagemaker.exceptions.ClientError, match="DataCaptureConfig is not supported by the local"):
        transformer.transform(f"s3://{BUCKET}/captured/", job_name="captured", batch_data_capture_config=capture)
