"""For tests of what is watched on AWS: an account with prices, and jobs of the stand-in programs."""

from typing import Any

from account import Account
from stand_in_prices import Prices, product

from kennel import cli
from kennel.aws.profile import Profile
from kennel.aws.tags import as_list, tags_for
from local_service import BUCKET, ROLE, training_request, wait_until

TYPE = "ml.m5.large"
FINISHED = ("Completed", "Failed", "Stopped", "InService")


def prices() -> Prices:
    """What the stand-in jobs' machines cost: a dollar a second, so that a moment shows."""
    return Prices(*(product(TYPE, each, "3600") for each in ("Training", "BatchTransform", "Hosting")))


def train(account: Account, name: str, *, steps: int = 3, **orders: str) -> None:
    """A training job of the stand-in program, which a person started before."""
    orders = {key.replace("_", "-"): value for key, value in orders.items()}
    request = training_request(name, steps=steps, orders=orders)
    # Only what Kennel made may be stopped: iam/person.json.
    account.admin("sagemaker").create_training_job(**request, Tags=as_list(tags_for(name, Profile())))


def ended_training(account: Account, name: str, *, steps: int = 1) -> str:
    """The address of its model."""
    train(account, name, steps=steps)
    client = account.admin("sagemaker")

    def job() -> dict[str, Any]:
        return dict(client.describe_training_job(TrainingJobName=name))

    wait_until(lambda: job()["TrainingJobStatus"] in FINISHED, what=f"the end of {name}")
    return str(job()["ModelArtifacts"]["S3ModelArtifacts"])


OBJECTIVE = {"Name": "objective", "Regex": "objective=([0-9.]+)"}
LR = {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}


def tune(account: Account, name: str, *, jobs: int = 3, metric: dict[str, str] | None = None, **orders: str) -> None:
    """A search of a stand-in program, over lr. metric: as it prints it. orders: hyperparameters of all."""
    metric = metric or OBJECTIVE
    request = training_request("unused", orders={key.replace("_", "-"): value for key, value in orders.items()})
    del request["TrainingJobName"]
    static = request.pop("HyperParameters")
    request["AlgorithmSpecification"]["MetricDefinitions"] = [metric]
    account.admin("s3").create_bucket(Bucket="pictures")
    account.admin("s3").put_object(Bucket="pictures", Key="dogs/a.jpg", Body=b"x")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://pictures/dogs/"}}
    inputs = {"InputDataConfig": [{"ChannelName": "data", "DataSource": source}]}
    account.admin("sagemaker").create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": metric["Name"]},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {"ContinuousParameterRanges": [LR]},
        },
        TrainingJobDefinition={**request, "StaticHyperParameters": {**static, "objective": "yes"}, **inputs},
    )


def endpoint(account: Account, name: str, **environment: str) -> None:
    """An endpoint of the stand-in server, which needs no model to be healthy or not."""
    client = account.admin("sagemaker")
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/kennel-serve:1"
    container = {"Image": image, "Environment": environment}
    client.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InitialInstanceCount": 2, "InstanceType": TYPE}
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)


def transform(account: Account, name: str, model_uri: str) -> None:
    """A transform job of one file."""
    client, s3 = account.admin("sagemaker"), account.admin("s3")
    container = {"Image": "kennel-serve:1", "ModelDataUrl": model_uri}
    client.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    s3.put_object(Bucket=BUCKET, Key=f"in/{name}/a.jpg", Body=b"picture")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/in/{name}/"}
    client.create_transform_job(
        TransformJobName=name,
        ModelName=name,
        TransformInput={"DataSource": {"S3DataSource": source}, "ContentType": "image/jpeg"},
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/out/{name}"},
        TransformResources={"InstanceType": TYPE, "InstanceCount": 1},
    )


def attach(name: str, *more: object) -> int:
    return cli.main(["attach", name, "--on", "aws", *(str(each) for each in more)])
