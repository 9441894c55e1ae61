"""A course project's tuning notebook, cell by cell: nothing in it knows where it runs.

python sdk_v2_tuner_script.py FOLDER: tunes a script with a PyTorch estimator, then trains once more with the best.
"""

import json
import os
import sys

import sagemaker
from sagemaker.pytorch import PyTorch
from sagemaker.tuner import (
    CategoricalParameter,
    ContinuousParameter,
    HyperparameterTuner,
    IntegerParameter,
)

session = sagemaker.Session()
bucket = session.default_bucket()
role = "arn:aws:iam::123456789012:role/service-role/AmazonSageMaker-ExecutionRole"
inputs = session.upload_data(path=sys.argv[1], bucket=bucket, key_prefix="dogImages")
script = os.path.join(os.path.dirname(__file__), "sdk_v2_tuner_script", "hpo.py")

hyperparameter_ranges = {
    "lr": ContinuousParameter(0.001, 0.1),
    "batch_size": CategoricalParameter([32, 64, 128, 256, 512]),
    "optimizer": CategoricalParameter(["adam", "sgd momentum"]),
    "epochs": IntegerParameter(1, 3),
}
objective_metric_name = "average test loss"
objective_type = "Minimize"
metric_definitions = [{"Name": "average test loss", "Regex": "Test set: Average loss: ([0-9\\.]+)"}]

estimator = PyTorch(
    entry_point=script,
    base_job_name="dog-breed-hpo",
    role=role,
    framework_version="1.4.0",
    instance_count=1,
    instance_type="ml.g4dn.xlarge",
    py_version="py3",
)
tuner = HyperparameterTuner(
    estimator,
    objective_metric_name,
    hyperparameter_ranges,
    metric_definitions,
    max_jobs=3,
    max_parallel_jobs=2,
    objective_type=objective_type,
)
tuner.fit({"training": inputs}, wait=True)

attached = HyperparameterTuner.attach(tuner.latest_tuning_job.name)
best_estimator = attached.best_estimator()
found = best_estimator.hyperparameters()

hyperparameters = {
    "batch_size": int(found["batch_size"].replace('"', "")),
    "lr": float(found["lr"]),
    "optimizer": found["optimizer"].replace('"', ""),
    "epochs": found["epochs"],
}
final = PyTorch(
    entry_point=script,
    base_job_name="dog-breed",
    role=role,
    framework_version="1.4.0",
    py_version="py3",
    instance_count=1,
    instance_type="ml.g4dn.xlarge",
    hyperparameters=hyperparameters,
    metric_definitions=metric_definitions,
)
final.fit({"training": inputs})

more = tuner.transfer_learning_tuner()
more.base_tuning_job_name = "dog-breed-more"  # the SDK's own names have minutes, and this may be the same one
more.max_jobs, more.max_parallel_jobs = 1, 1
more.fit({"training": inputs})
print()
print(
    json.dumps(
        {
            "answer": tuner.describe()["HyperParameterTuningJobStatus"],
            "rows": json.loads(tuner.analytics().dataframe().to_json(orient="records")),
            "best": tuner.best_training_job(),
            "class": type(best_estimator).__name__,
            "hyperparameters": hyperparameters,
            "final": final.latest_training_job.describe()["FinalMetricDataList"][0]["Value"],
            "more": more.describe()["HyperParameterTuningJobStatus"],
        }
    )
)
