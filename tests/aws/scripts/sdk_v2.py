"""What somebody wrote for SageMaker with the Python SDK v2: nothing in it knows where it runs.

python sdk_v2.py FOLDER PHOTO: uploads, trains with logs, deploys, predicts, deletes; prints the answer last.
"""

import json
import sys

import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.predictor import Predictor
from sagemaker.serializers import IdentitySerializer

folder, photo = sys.argv[1:]
session = sagemaker.Session()
data = session.upload_data(folder, key_prefix="pictures")

estimator = Estimator(
    image_uri="123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel-train:1",
    role="arn:aws:iam::123456789012:role/sagemaker",
    instance_count=1,
    instance_type="ml.g5.xlarge",
    sagemaker_session=session,
    hyperparameters={
        "weights": "none",
        "trainable": "all",
        "epochs": 2,
        "batch-size": 8,
        "image-size": 32,
        "lr": 0.002,
    },
    metric_definitions=[{"Name": "validation:accuracy", "Regex": r"valid_accuracy=([0-9.]+)"}],
)
estimator.fit({"training": data})  # waits, and prints the job's log
print("metrics:", estimator.latest_training_job.describe()["FinalMetricDataList"])

predictor = estimator.deploy(
    initial_instance_count=1,
    instance_type="ml.m5.large",
    image_uri="123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel-serve:1",
    predictor_cls=Predictor,
    serializer=IdentitySerializer("image/jpeg"),
    deserializer=JSONDeserializer(),
)
with open(photo, "rb") as file:
    answer = predictor.predict(file.read())
predictor.delete_model()
predictor.delete_endpoint()
print()  # deploy() ends its row of dashes without a newline
print(json.dumps({"answer": answer, "model_data": estimator.model_data}))
