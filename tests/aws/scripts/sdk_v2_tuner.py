"""What somebody wrote for SageMaker's hyperparameter tuning with the Python SDK v2: nothing in it knows where it runs.

python sdk_v2_tuner.py FOLDER PHOTO: uploads, searches, searches on, deploys the best, predicts, deletes.
"""

import json
import sys

import sagemaker
from sagemaker.analytics import HyperparameterTuningJobAnalytics
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.predictor import Predictor
from sagemaker.serializers import IdentitySerializer
from sagemaker.tuner import (
    CategoricalParameter,
    ContinuousParameter,
    HyperparameterTuner,
    WarmStartConfig,
    WarmStartTypes,
)

folder, photo = sys.argv[1:]
session = sagemaker.Session()
data = session.upload_data(folder, key_prefix="pictures")
metrics = [
    {"Name": "validation:loss", "Regex": r"valid_loss=([0-9\.]+)"},
    {"Name": "validation:accuracy", "Regex": r"valid_accuracy=([0-9\.]+)"},
]
ranges = {
    "lr": ContinuousParameter(0.001, 0.1, scaling_type="Logarithmic"),
    "batch-size": CategoricalParameter([4, 8]),
}
estimator = Estimator(
    image_uri="123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel-train:1",
    role="arn:aws:iam::123456789012:role/sagemaker",
    instance_count=1,
    instance_type="ml.g5.xlarge",
    sagemaker_session=session,
    hyperparameters={"weights": "none", "epochs": 3, "image-size": 32},
)
tuner = HyperparameterTuner(
    estimator,
    objective_metric_name="validation:loss",
    hyperparameter_ranges=ranges,
    metric_definitions=metrics,
    objective_type="Minimize",
    strategy="Bayesian",
    max_jobs=3,
    max_parallel_jobs=2,
    early_stopping_type="Auto",
    base_tuning_job_name="breeds",
    tags=[{"Key": "project", "Value": "breeds"}],
)
tuner.fit({"training": data})
name = tuner.latest_tuning_job.name
first = tuner.analytics().dataframe()
print(first.sort_values("FinalObjectiveValue"))
print("best:", tuner.best_training_job())

child = HyperparameterTuner(
    estimator,
    objective_metric_name="validation:loss",
    hyperparameter_ranges=ranges,
    metric_definitions=metrics,
    objective_type="Minimize",
    max_jobs=1,
    warm_start_config=WarmStartConfig(WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM, parents={name}),
    base_tuning_job_name="breeds-more",
)
child.fit({"training": data}, wait=False)
child.wait()

attached = HyperparameterTuner.attach(name, sagemaker_session=session)
best = attached.best_estimator()
predictor = best.deploy(
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
analytics = HyperparameterTuningJobAnalytics(name, sagemaker_session=session)
print()  # deploy() ends its row of dashes without a newline
print(
    json.dumps(
        {
            "answer": answer,
            "name": name,
            "rows": json.loads(first.to_json(orient="records")),
            "best": tuner.best_training_job(),
            "hyperparameters": best.hyperparameters(),
            "status": tuner.describe()["HyperParameterTuningJobStatus"],
            "child": child.describe()["HyperParameterTuningJobStatus"],
            "overall": child.describe()["OverallBestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"],
            "summaries": [each["ObjectiveStatus"] for each in analytics.training_job_summaries()],
        }
    )
)
