# ruff: noqa
"""Another course project's notebook: nothing in it knows where it runs.

python course_package.py FOLDER: an Estimator with a source folder, dependencies and its own bucket paths, and one that
fails; prints what was seen as JSON.
"""

import json
import sys
import tarfile
import tempfile
from pathlib import Path

import boto3
import sagemaker
from sagemaker.estimator import Estimator
from sagemaker.exceptions import UnexpectedStatusException

here = Path(__file__).parent / "course_package"
session = sagemaker.Session()
bucket = session.default_bucket()
train = session.upload_data(f"{sys.argv[1]}/train", key_prefix="course/train")
valid = session.upload_data(f"{sys.argv[1]}/valid", key_prefix="course/valid")

hyperparameters = {
    "epochs": 2,
    "batch-size": 8,
    "lr": 1e-2,
    "optimizer": "adam w",
    "augment": True,
    "verbose": "no",
    "layers": [1, 2],
    "k": 3,
}
settings = dict(
    image_uri="123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel-train:1",
    role="arn:aws:iam::123456789012:role/sagemaker",
    instance_count=1,
    instance_type="ml.m5.xlarge",
    entry_point="train.py",
    source_dir=str(here / "source"),
    dependencies=[str(here / "shared_code" / "course_utils")],
    output_path=f"s3://{bucket}/course/output",
    code_location=f"s3://{bucket}/course/code",
    base_job_name="course-package",
    environment={"COURSE": "deep learning"},
    metric_definitions=[{"Name": "validation:accuracy", "Regex": r"valid_accuracy: ([0-9.]+);"}],
    keep_alive_period_in_seconds=60,
    max_run=600,
    disable_profiler=True,
    debugger_hook_config=False,
)
estimator = Estimator(hyperparameters=hyperparameters, **settings)
estimator.fit({"train": train, "validation": valid}, logs="All")

with tempfile.TemporaryDirectory() as folder:
    key = estimator.model_data.split("/", 3)[3]
    boto3.client("s3").download_file(bucket, key, f"{folder}/model.tar.gz")
    with tarfile.open(f"{folder}/model.tar.gz") as tar:
        members = tar.getnames()

reason = None
try:
    Estimator(hyperparameters={**hyperparameters, "size": 2}, **settings).fit({"train": train, "validation": valid})
except UnexpectedStatusException as error:
    reason = str(error)

attached = Estimator.attach(estimator.latest_training_job.name)
print()
print(
    json.dumps(
        {
            "answer": estimator.latest_training_job.describe()["TrainingJobStatus"],
            "name": estimator.latest_training_job.name,
            "metrics": estimator.latest_training_job.describe()["FinalMetricDataList"],
            "model_data": estimator.model_data,
            "members": members,
            "reason": reason,
            "attached": [attached.hyperparameters()["epochs"], attached.model_data],
        },
        default=str,
    )
)
