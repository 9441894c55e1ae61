"""What somebody wrote for SageMaker Debugger with the Python SDK v2: nothing in it knows where it runs.

python sdk_v2_debugger.py FOLDER RULE_FILE NOTE: trains with a hook, a profiler, built-in rules and one of the user's
own, watches the growing trial, switches the profiler meanwhile, and then writes the note on which that rule fires and
stops the job; prints what was seen as JSON.
"""

import json
import sys
import time
from pathlib import Path

import sagemaker
from sagemaker.debugger import CollectionConfig, DebuggerHookConfig, ProfilerConfig, ProfilerRule, Rule, rule_configs
from sagemaker.estimator import Estimator
from smdebug.trials import create_trial

folder, rule_file, note = sys.argv[1:]
session = sagemaker.Session()
estimator = Estimator(
    image_uri="123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel-train:1",
    role="arn:aws:iam::123456789012:role/sagemaker",
    instance_count=1,
    instance_type="ml.m5.large",
    sagemaker_session=session,
    hyperparameters={
        "weights": "none",
        "trainable": "all",
        "epochs": 500,
        "patience": 500,
        "batch-size": 8,
        "image-size": 32,
        "lr": 0.002,
    },
    debugger_hook_config=DebuggerHookConfig(
        hook_parameters={"train.save_interval": "2", "eval.save_interval": "2"},
        collection_configs=[CollectionConfig(name="losses")],
    ),
    profiler_config=ProfilerConfig(system_monitor_interval_millis=500),
    rules=[
        Rule.sagemaker(rule_configs.overfit(), rule_parameters={"ratio_threshold": "1000"}),
        Rule.sagemaker(rule_configs.exploding_tensor(), rule_parameters={"collection_names": "losses"}),
        Rule.custom(
            name="EnoughSeen",
            image_uri="759209512951.dkr.ecr.us-west-2.amazonaws.com/sagemaker-debugger-rule-evaluator:latest",
            instance_type="ml.t3.medium",
            volume_size_in_gb=10,
            source=rule_file,
            rule_to_invoke="EnoughSeen",
            rule_parameters={"note": note},
            actions=rule_configs.ActionList(rule_configs.StopTraining()),
        ),
        ProfilerRule.sagemaker(rule_configs.ProfilerReport()),
    ],
)
estimator.fit({"training": session.upload_data(folder, key_prefix="pictures")}, wait=False)
path = estimator.latest_job_debugger_artifacts_path()
profiles = estimator.latest_job_profiler_artifacts_path()
job = estimator.latest_training_job

trial = create_trial(path)  # waits until something was saved
steps_meanwhile = len(trial.steps())
status_meanwhile = job.describe()["TrainingJobStatus"]
estimator.update_profiler(system_monitor_interval_millis=1000)
interval = job.describe()["ProfilerConfig"]["ProfilingIntervalInMilliseconds"]
estimator.disable_profiling()
disabled = job.describe()["ProfilingStatus"]
estimator.enable_default_profiling()
enabled = job.describe()["ProfilingStatus"]
Path(note).touch()
while job.describe()["TrainingJobStatus"] in ("InProgress", "Stopping"):  # job.wait() takes Stopping for a failure
    time.sleep(0.5)
while any(rule["RuleEvaluationStatus"] == "InProgress" for rule in job.rule_job_summary()):
    time.sleep(0.5)

description = job.describe()
trial = create_trial(path)
losses = trial.tensor_names(collection="losses")
print(
    json.dumps(
        {
            "answer": {rule["RuleConfigurationName"]: rule for rule in job.rule_job_summary()},
            "status": [
                description["TrainingJobStatus"],
                description["SecondaryStatusTransitions"][-1]["StatusMessage"],
            ],
            "model": description["ModelArtifacts"]["S3ModelArtifacts"],
            "meanwhile": [status_meanwhile, steps_meanwhile],
            "profiler": [interval, disabled, enabled],
            "steps": trial.steps(),
            "loss": float(trial.tensor(losses[0]).value(trial.tensor(losses[0]).steps()[0])),
            "paths": [path, profiles],
        },
        default=str,
    )
)
