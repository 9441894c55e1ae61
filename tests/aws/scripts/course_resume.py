# ruff: noqa
"""A third course project's notebook: spot training with checkpoints, FastFile channels, a stop, and going on.

python course_resume.py FOLDER: prints what was seen as JSON.
"""

import json
import sys
import time
import uuid
from pathlib import Path

import boto3
import sagemaker
from sagemaker.inputs import TrainingInput
from sagemaker.pytorch import PyTorch

session = sagemaker.Session()
bucket = session.default_bucket()
checkpoints = f"s3://{bucket}/checkpoints/{uuid.uuid4()}"
inputs = {
    name: TrainingInput(session.upload_data(f"{sys.argv[1]}/{name}", key_prefix=f"resume/{name}"), input_mode=mode)
    for name, mode in (("train", "FastFile"), ("test", "File"))
}


def estimator(epochs, pause):
    return PyTorch(
        entry_point="train.py",
        source_dir=str(Path(__file__).parent / "course_resume"),
        role="arn:aws:iam::123456789012:role/sagemaker",
        framework_version="2.5",
        py_version="py311",
        instance_count=1,
        instance_type="ml.m5.xlarge",
        hyperparameters={"epochs": epochs, "pause": pause, "checkpoint-dir": "/opt/ml/checkpoints"},
        use_spot_instances=True,
        max_run=3600,
        max_wait=7200,
        checkpoint_s3_uri=checkpoints,
        debugger_hook_config=False,
        disable_profiler=True,
    )


def keys():
    found = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=checkpoints.split("/", 3)[3])
    return [item["Key"].rpartition("/")[2] for item in found.get("Contents", [])]


first = estimator(1000, 0.2)
first.fit(inputs, wait=False)
while "last.pth" not in keys():
    assert first.latest_training_job.describe()["TrainingJobStatus"] == "InProgress", (
        first.latest_training_job.describe()
    )
    time.sleep(0.5)
session.stop_training_job(first.latest_training_job.name)
while (stopped := first.latest_training_job.describe())["TrainingJobStatus"] in ("InProgress", "Stopping"):
    time.sleep(0.5)

log = boto3.client("logs").filter_log_events(
    logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=first.latest_training_job.name
)
done = sum(event["message"].startswith("epoch=") for event in log["events"])
second = estimator(done + 2, 0.0)
second.fit(inputs)
print()
print(
    json.dumps(
        {
            "answer": [stopped["TrainingJobStatus"], second.latest_training_job.describe()["TrainingJobStatus"]],
            "stopped": first.latest_training_job.name,
            "name": second.latest_training_job.name,
            "done": done,
            "keys": keys(),
        }
    )
)
