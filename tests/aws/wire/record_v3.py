"""Records what SageMaker's SDK v3 sends for description.json: v3-<Operation>.json beside this file.

    python3 -m venv /tmp/v3 && /tmp/v3/bin/pip install sagemaker==3.27.0        # 750 MB
    /tmp/v3/bin/python tests/aws/wire/record_v3.py

Nothing is sent: each request is answered here. test_wire.py compares with what Kennel sends. Tests do not run this.
"""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import botocore.client
from botocore.awsrequest import AWSResponse

HERE = Path(__file__).parent
GIVEN = json.loads((HERE / "description.json").read_text())
MAKER = {"kennel:name": GIVEN["name"], "kennel:created-by": "kennel", "kennel:version": "0"}
TAGS = {**GIVEN["tags"], **MAKER}
NO_TELEMETRY = "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"
SENT: dict[str, Any] = {}


def answer(model: Any, params: dict[str, Any], **_: object) -> tuple[AWSResponse, dict[str, Any]]:  # noqa: ANN401
    """Keeps what makes something; describes what was made, as if it were done."""
    asked = json.loads(params["body"]) if params["body"] else {}
    made = {}
    if model.name.startswith("Create"):
        SENT[model.name] = asked
        if model.name == "CreateTrainingJob":  # named by the second
            asked["TrainingJobName"] = re.sub(r"\d{14}$", "(time)", asked["TrainingJobName"])
    if model.name.startswith("Describe"):
        kind = model.name.removeprefix("Describe")
        made = {key: value for key, value in SENT.get(f"Create{kind}", {}).items() if key != "Tags"}
        made |= {f"{kind}Arn": f"arn:aws:sagemaker:{GIVEN['region']}:123456789012:{kind.lower()}/{GIVEN['name']}"}
        made |= {f"{kind}Status": "Completed", "SecondaryStatus": "Completed", "CreationTime": 0, "LastModifiedTime": 0}
        made |= {"EndpointStatus": "InService", "TrainingJobStatusCounters": {}, "ObjectiveStatusCounters": {}}
    arns = model.output_shape.members if model.output_shape else {}
    made |= {
        name: f"arn:aws:sagemaker:::x/{GIVEN['name']}" for name in arns if name.endswith("Arn") and name not in made
    }
    return AWSResponse(params["url"], 200, {}, None), {**made, "ResponseMetadata": {"HTTPStatusCode": 200}}


def answer_all() -> None:
    """Every client of every session, for the SDK makes its own."""
    make = botocore.client.ClientCreator.create_client

    def made(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as botocore's own
        client = make(self, *args, **kwargs)
        client.meta.events.register_last("before-call", answer)
        return client

    botocore.client.ClientCreator.create_client = made


def trainer() -> Any:  # noqa: ANN401  of the SDK
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.training import configs
    from sagemaker.train import ModelTrainer

    base = f"s3://{GIVEN['bucket']}/kennel/jobs"
    return ModelTrainer(
        sagemaker_session=Session(default_bucket=GIVEN["bucket"]),
        role=GIVEN["role"],
        base_job_name=GIVEN["name"],
        training_image=GIVEN["train_image"],
        training_input_mode="File",
        compute=configs.Compute(
            instance_type=GIVEN["instance_type"],
            instance_count=GIVEN["instance_count"],
            volume_size_in_gb=GIVEN["volume_gb"],
            volume_kms_key_id=GIVEN["kms_key"],
            enable_managed_spot_training=True,
        ),
        networking=configs.Networking(
            subnets=GIVEN["subnets"],
            security_group_ids=GIVEN["security_groups"],
            enable_network_isolation=True,
            enable_inter_container_traffic_encryption=True,
        ),
        stopping_condition=configs.StoppingCondition(
            max_runtime_in_seconds=GIVEN["max_run_s"], max_wait_time_in_seconds=GIVEN["max_wait_s"]
        ),
        output_data_config=configs.OutputDataConfig(s3_output_path=base, kms_key_id=GIVEN["kms_key"]),
        checkpoint_config=configs.CheckpointConfig(s3_uri=f"{base}/{GIVEN['name']}/checkpoints"),
        hyperparameters={
            **GIVEN["hyperparameters"],
            "sagemaker_torch_distributed_enabled": "true",
            "sagemaker_instance_type": GIVEN["instance_type"],
        },
        tags=[configs.Tag(key=key, value=value) for key, value in TAGS.items()],
    ).with_metric_definitions(
        [configs.MetricDefinition(name=each["Name"], regex=each["Regex"]) for each in GIVEN["metrics"]]
    )


def channel() -> Any:  # noqa: ANN401  of the SDK
    from sagemaker.core.training import configs

    source = configs.S3DataSource(
        s3_data_type="S3Prefix", s3_uri=GIVEN["data"], s3_data_distribution_type="FullyReplicated"
    )
    return configs.Channel(
        channel_name="data", input_mode="FastFile", data_source=configs.DataSource(s3_data_source=source)
    )


def tune() -> None:
    from sagemaker.core.parameter import ContinuousParameter
    from sagemaker.train.tuner import HyperparameterTuner

    tuned = GIVEN["tuned"]
    HyperparameterTuner(
        model_trainer=trainer(),
        objective_metric_name=GIVEN["objective"],
        objective_type="Minimize",
        metric_definitions=GIVEN["metrics"],
        strategy="Bayesian",
        max_jobs=GIVEN["max_jobs"],
        max_parallel_jobs=GIVEN["max_parallel_jobs"],
        hyperparameter_ranges={
            tuned["name"]: ContinuousParameter(float(tuned["low"]), float(tuned["high"]), tuned["scaling"])
        },
        random_seed=GIVEN["seed"],
    ).tune(inputs=[channel()], job_name=GIVEN["name"], wait=False)


def deploy() -> None:
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.training.configs import Networking
    from sagemaker.serve import ModelBuilder

    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    builder = ModelBuilder(
        image_uri=GIVEN["serve_image"],
        s3_model_data_url=GIVEN["archive"],
        role_arn=GIVEN["role"],
        sagemaker_session=Session(default_bucket=GIVEN["bucket"]),
        instance_type=GIVEN["endpoint_instance_type"],
        network=Networking(
            subnets=GIVEN["subnets"], security_group_ids=GIVEN["security_groups"], enable_network_isolation=True
        ),
    )
    builder.build(model_name=GIVEN["name"], tags=tags)
    builder.deploy(
        endpoint_name=GIVEN["name"],
        initial_instance_count=1,
        instance_type=GIVEN["endpoint_instance_type"],
        wait=False,
        tags=tags,
        container_startup_health_check_timeout=GIVEN["start_s"],
        model_data_download_timeout=GIVEN["start_s"],
        inference_ami_version=GIVEN["inference_ami"],
    )


def main() -> None:
    """Replaces the recorded files."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nobody",
        "AWS_DEFAULT_REGION": GIVEN["region"],
        "SAGEMAKER_VALIDATE_ROLE": "false",  # it would simulate the role's policies
    }
    answer_all()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(NO_TELEMETRY)
        file.flush()
        os.environ["SAGEMAKER_USER_CONFIG_OVERRIDE"] = file.name
        send()
    for operation, request in SENT.items():
        (HERE / f"v3-{operation}.json").write_text(json.dumps(request, indent=2, sort_keys=True) + "\n")
        print(f"v3-{operation}.json")


def send() -> None:
    """All of the description, as far as `answer`."""
    trainer().train(input_data_config=[channel()], wait=False, logs=False)
    tune()
    deploy()


if __name__ == "__main__":
    main()
