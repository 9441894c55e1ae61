"""What somebody wrote for SageMaker with boto3 alone: nothing in it knows where it runs.

python plain_boto3.py FOLDER PHOTO: uploads, trains, reads the log, deploys, predicts, deletes; prints the answer last.
"""

import json
import sys
import time
from pathlib import Path

import boto3

folder, photo = (Path(argument) for argument in sys.argv[1:])
account = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
role = "arn:aws:iam::123456789012:role/sagemaker"
s3, sagemaker, runtime, logs = (boto3.client(name) for name in ("s3", "sagemaker", "sagemaker-runtime", "logs"))

s3.create_bucket(Bucket="mine", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
for file in sorted(folder.rglob("*.jpg")):
    s3.upload_file(str(file), "mine", f"pictures/{file.relative_to(folder)}")

sagemaker.create_training_job(
    TrainingJobName="plain",
    AlgorithmSpecification={"TrainingImage": f"{account}/kennel-train:1", "TrainingInputMode": "File"},
    RoleArn=role,
    HyperParameters={"weights": "none", "trainable": "all", "epochs": "1", "batch-size": "8", "image-size": "32"},
    InputDataConfig=[
        {
            "ChannelName": split,
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://mine/pictures/{split}/"}},
        }
        for split in ("train", "valid", "test")
    ],
    OutputDataConfig={"S3OutputPath": "s3://mine/output"},
    ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
    StoppingCondition={"MaxRuntimeInSeconds": 3600},
)
sagemaker.get_waiter("training_job_completed_or_stopped").wait(
    TrainingJobName="plain", WaiterConfig={"Delay": 1, "MaxAttempts": 200}
)
job = sagemaker.describe_training_job(TrainingJobName="plain")
stream = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix="plain/")
name = stream["logStreams"][0]["logStreamName"]
events = logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=name, startFromHead=True)
lines = [event["message"] for event in events["events"]]

sagemaker.create_model(
    ModelName="plain",
    PrimaryContainer={
        "Image": f"{account}/kennel-serve:1",
        "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"],
    },
    ExecutionRoleArn=role,
)
variant = {"VariantName": "AllTraffic", "ModelName": "plain", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
sagemaker.create_endpoint_config(EndpointConfigName="plain", ProductionVariants=[variant])
sagemaker.create_endpoint(EndpointName="plain", EndpointConfigName="plain")
while (state := sagemaker.describe_endpoint(EndpointName="plain"))["EndpointStatus"] == "Creating":
    time.sleep(0.5)
assert state["EndpointStatus"] == "InService", state

response = runtime.invoke_endpoint(EndpointName="plain", Body=photo.read_bytes(), ContentType="image/jpeg")
answer = json.loads(response["Body"].read())
sagemaker.delete_endpoint(EndpointName="plain")
sagemaker.delete_endpoint_config(EndpointConfigName="plain")
sagemaker.delete_model(ModelName="plain")
print(
    json.dumps(
        {"answer": answer, "status": job["TrainingJobStatus"], "epochs": sum("epoch=1/1" in line for line in lines)}
    )
)
