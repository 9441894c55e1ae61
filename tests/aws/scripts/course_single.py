"""A course project's notebook, cell by cell: nothing in it knows where it runs.

python course_single.py FOLDER: a PyTorch estimator with Debugger's rules and the profiler; prints what was seen.
"""

import json
import os
import sys

import boto3
import sagemaker
from sagemaker.debugger import (
    CollectionConfig,
    DebuggerHookConfig,
    FrameworkProfile,
    ProfilerConfig,
    ProfilerRule,
    Rule,
    rule_configs,
)
from sagemaker.pytorch import PyTorch
from smdebug.pytorch import modes
from smdebug.trials import create_trial

sagemaker_session = sagemaker.Session()
bucket = sagemaker_session.default_bucket()
region = boto3.session.Session().region_name
role = "arn:aws:iam::123456789012:role/service-role/AmazonSageMaker-ExecutionRole"

inputs = sagemaker_session.upload_data(path=sys.argv[1], bucket=bucket, key_prefix="dogImages")

rules = [
    Rule.sagemaker(rule_configs.vanishing_gradient()),
    Rule.sagemaker(rule_configs.loss_not_decreasing()),
    Rule.sagemaker(rule_configs.overfit()),
    ProfilerRule.sagemaker(rule_configs.LowGPUUtilization()),
    ProfilerRule.sagemaker(rule_configs.ProfilerReport()),
]
hook_config = DebuggerHookConfig(
    hook_parameters={"train.save_interval": "1", "eval.save_interval": "1"},
    collection_configs=[
        CollectionConfig(name="losses", parameters={"train.save_interval": "2", "eval.save_interval": "1"})
    ],
)
profiler_config = ProfilerConfig(
    system_monitor_interval_millis=500, framework_profile_params=FrameworkProfile(num_steps=10)
)
estimator = PyTorch(
    entry_point=os.path.join(os.path.dirname(__file__), "course_single", "train_model.py"),
    base_job_name="dog-pytorch",
    role=role,
    instance_count=1,
    instance_type="ml.m5.xlarge",
    framework_version="1.8",
    py_version="py36",
    hyperparameters={"batch_size": 8, "learning_rate": 1e-3, "epochs": 2},
    metric_definitions=[{"Name": "Test Loss", "Regex": "Test set: Average loss: ([0-9\\.]+)"}],
    debugger_hook_config=hook_config,
    profiler_config=profiler_config,
    rules=rules,
)
estimator.fit({"training": inputs}, wait=True)

job_name = estimator.latest_training_job.name
client = estimator.sagemaker_session.sagemaker_client
description = client.describe_training_job(TrainingJobName=job_name)
trial = create_trial(estimator.latest_job_debugger_artifacts_path())
losses = [name for name in trial.tensor_names(collection="losses")]
attached = PyTorch.attach(job_name)
attached.logs()
print()
print(
    json.dumps(
        {
            "answer": description["TrainingJobStatus"],
            "name": job_name,
            "image": description["AlgorithmSpecification"]["TrainingImage"],
            "metrics": [metric["MetricName"] for metric in description["FinalMetricDataList"]],
            "train_steps": len(trial.steps(mode=modes.TRAIN)),
            "eval_steps": len(trial.steps(mode=modes.EVAL)),
            "losses": losses,
            "model_data": [estimator.model_data, attached.model_data],
            "rules": [rule["RuleConfigurationName"] for rule in estimator.latest_training_job.rule_job_summary()],
            "hyperparameters": attached.hyperparameters(),
        }
    )
)
