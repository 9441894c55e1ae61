"""The roads by which a course project's inference.py comes to an endpoint; nothing in it knows where it runs.

python sdk_v2_pytorch_model_roads.py FOLDER PHOTO: trains with the project's own script, and deploys what it saved by
the estimator, by a plain Model, and by boto3 from archives packed by hand, one of them with a script that has a fault.
Prints the answers to the photo last.
"""

import json
import os
import sys
import tarfile
import time
from pathlib import Path

import boto3
import numpy as np
import sagemaker
from PIL import Image
from sagemaker.deserializers import JSONDeserializer
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.pytorch import PyTorch
from sagemaker.serializers import IdentitySerializer

folder, photo = sys.argv[1:]
breeds = Path(__file__).parent / "breeds"
payload = Path(photo).read_bytes()
role = "arn:aws:iam::123456789012:role/sagemaker"
session = sagemaker.Session()
client = boto3.client("sagemaker")
os.chdir(folder)
image = {"serializer": IdentitySerializer("image/jpeg"), "deserializer": JSONDeserializer()}
size = {"initial_instance_count": 1, "instance_type": "ml.m5.large", "wait": False}

estimator = PyTorch(
    entry_point="train_breeds.py",
    source_dir=str(breeds),
    role=role,
    framework_version="2.5",
    py_version="py311",
    instance_count=1,
    instance_type="ml.m5.large",
    hyperparameters={"seed": 3},
    metric_definitions=[{"Name": "loss", "Regex": "Testing Loss: ([0-9.]+)"}],
    debugger_hook_config=False,
    disable_profiler=True,
    sagemaker_session=session,
)
estimator.fit({"train": session.upload_data(photo, key_prefix="breeds")}, wait=False)
waiter = client.get_waiter("training_job_completed_or_stopped")
waiter.wait(TrainingJobName=estimator.latest_training_job.name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})

predictors = {"estimator": estimator.deploy(entry_point="inference.py", **size, **image)}

# Without an entry_point it is the script that trained, which has a model_fn; arrays go and come.
predictors["train"] = estimator.deploy(**size)

# Without a source_dir the SDK leaves the archive as it is, and names the script's own in S3.
model = Model(
    image_uri="123456789012.dkr.ecr.us-east-1.amazonaws.com/kennel-serve:1",
    model_data=estimator.model_data,
    entry_point=str(breeds / "inference.py"),
    role=role,
    predictor_cls=Predictor,
    sagemaker_session=session,
)
predictors["model"] = model.deploy(**size, **image)

session.download_data(".", *estimator.model_data.removeprefix("s3://").split("/", 1))
with tarfile.open("model.tar.gz") as tar:
    tar.extractall("packed", filter="data")


def deploy_by_hand(name, script):  # noqa: ANN001, ANN201
    with tarfile.open(f"{name}.tar.gz", "w:gz") as tar:
        tar.add("packed", arcname=".")
        tar.add(script, arcname="./code/inference.py")
    container = {
        "Image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.5-cpu-py311",
        "ModelDataUrl": session.upload_data(f"{name}.tar.gz", key_prefix="packed"),
    }
    variant = {"VariantName": "one", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=role)
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)


deploy_by_hand("by-hand", breeds / "inference.py")
predictors["boto3"] = Predictor("by-hand", sagemaker_session=session, **image)
Path("faulty.py").write_text(
    "import torch\n\ndef model_fn(model_dir):\n    return torch.load(model_dir + '/net.pth')\n"
)
deploy_by_hand("faulty", "faulty.py")

answers = {}
for name, predictor in predictors.items():
    waiter = client.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName=predictor.endpoint_name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    if name == "train":
        pixels = np.asarray(Image.open(photo).resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float32) / 255
        answers[name] = predictor.predict(pixels.transpose(2, 0, 1)[None]).tolist()
    else:
        answers[name] = predictor.predict(payload)
    predictor.delete_endpoint()
while (faulty := client.describe_endpoint(EndpointName="faulty"))["EndpointStatus"] == "Creating":
    time.sleep(1)
client.delete_endpoint(EndpointName="faulty")
print()
print(json.dumps({"answer": answers | {"faulty": faulty["FailureReason"]}}))
