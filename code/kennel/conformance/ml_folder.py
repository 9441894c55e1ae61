"""The folder a training container sees as /opt/ml, laid out and mounted as SageMaker does it.

Written from dumps of real jobs, apart from kennel.local, so that what the one gets wrong the other does not hide.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kennel.conformance.containers import Mount

JOB_NAME: Final = "kennel-conformance"
_INSTANCE: Final = "ml.m5.xlarge"
_BUCKET: Final = "s3://kennel-conformance"


@dataclass(frozen=True)
class Job:
    """What a training job is told.

    channels: name -> folder, mounted and never copied. is_quoted: hyperparameters as the SDK sends them, JSON inside
    the string. has_extras: every file that was seen beside the three documented ones, with their nulls, keys nobody
    documented, and a `<channel>-manifest` beside each channel.
    """

    channels: Mapping[str, Path]
    hyperparameters: Mapping[str, str]
    metric_definitions: Sequence[Mapping[str, str]] = ()
    hosts: Sequence[str] = ("algo-1",)
    is_quoted: bool = False
    has_extras: bool = True
    is_input_read_only: bool = True


@dataclass(frozen=True)
class MlFolder:
    """One host's folder. A restarted job has the checkpoints of the first and nothing else of it."""

    base: Path
    job: Job
    checkpoints_dir: Path

    @property
    def model_dir(self) -> Path:
        return self.base / "model"

    @property
    def output_dir(self) -> Path:
        return self.base / "output"

    def mounts(self) -> list[Mount]:
        """One mount a folder: one over /opt/ml would hide what the image has in /opt/ml/code."""
        is_read_only = self.job.is_input_read_only
        return [
            Mount(self.base / "input", "/opt/ml/input", is_read_only),
            *(
                Mount(folder, f"/opt/ml/input/data/{name}", is_read_only)
                for name, folder in sorted(self.job.channels.items())
            ),
            Mount(self.model_dir, "/opt/ml/model"),
            Mount(self.output_dir, "/opt/ml/output"),
            Mount(self.checkpoints_dir, "/opt/ml/checkpoints"),
        ]

    def environment(self) -> dict[str, str]:
        """What the platform sets in every training container."""
        return {
            "TRAINING_JOB_NAME": JOB_NAME,
            "TRAINING_JOB_ARN": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{JOB_NAME}",
            "AWS_REGION": "us-east-1",
        }

    def failure(self) -> str | None:
        """The text of the failure file; None if there is none."""
        path = self.output_dir / "failure"
        return path.read_text(errors="replace") if path.is_file() else None


def lay_out(base: Path, job: Job, *, host: str = "algo-1", checkpoints_dir: Path | None = None) -> MlFolder:
    """Makes one host's folder. checkpoints_dir: those that a restarted job finds; empty ones of its own otherwise."""
    ml = MlFolder(base, job, checkpoints_dir or base / "checkpoints")
    config_dir = base / "input" / "config"
    for folder in (config_dir, *(base / "input" / "data" / name for name in job.channels)):
        folder.mkdir(parents=True)
    for folder in (ml.model_dir, ml.output_dir, ml.output_dir / "data", ml.checkpoints_dir):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)  # an image may name a USER; whose the folders are on SageMaker is not documented
    for name, content in configuration(job, host).items():
        (config_dir / f"{name}.json").write_text(json.dumps(content))
    if job.has_extras:
        for name in job.channels:
            (base / "input" / "data" / f"{name}-manifest").write_text(json.dumps([{"prefix": f"{_BUCKET}/{name}/"}]))
    return ml


def configuration(job: Job, host: str) -> dict[str, Any]:
    """The files of input/config by name."""
    documented = {
        "hyperparameters": {
            name: json.dumps(value) if job.is_quoted else value for name, value in job.hyperparameters.items()
        },
        "inputdataconfig": {name: _channel() for name in job.channels},
        "resourceconfig": _resources(job.hosts, host),
    }
    return documented | _extras(job, documented, host) if job.has_extras else documented


def _channel() -> dict[str, Any]:
    return {
        "ContentType": "application/x-image",
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }


def _resources(hosts: Sequence[str], host: str) -> dict[str, Any]:
    return {"current_host": host, "hosts": sorted(hosts), "network_interface_name": "eth0"}


def _extras(job: Job, documented: Mapping[str, Any], host: str) -> dict[str, Any]:
    """What a real folder holds besides: newer keys in resourceconfig.json, and files with nulls in them."""
    group = {"instance_group_name": "homogeneousCluster", "instance_type": _INSTANCE, "hosts": sorted(job.hosts)}
    return {
        "resourceconfig": {
            **documented["resourceconfig"],
            "current_instance_type": _INSTANCE,
            "current_group_name": "homogeneousCluster",
            "instance_groups": [group],
            "topology": {},
        },
        "metric-definition-regex": [dict(each) for each in job.metric_definitions],
        "checkpointconfig": {"LocalPath": "/opt/ml/checkpoints"},
        "debughookconfig": {
            "S3OutputPath": f"{_BUCKET}/debug",
            "LocalPath": "/opt/ml/output/tensors",
            "HookParameters": None,
            "CollectionConfigurations": None,
        },
        "tensorboardoutputconfig": {
            "S3OutputPath": f"{_BUCKET}/tensorboard",
            "LocalPath": "/opt/ml/output/tensorboard/",
        },
        "profilerconfig": {
            "ProfilingIntervalInMilliseconds": 500,
            "ProfilingParameters": {},
            "S3OutputPath": f"{_BUCKET}/profiler",
            "DisableProfiler": True,
        },
        "init-config": _init_config(job, host),
        "trainingjobconfig": {"TRAINING_JOB_NAME": JOB_NAME, "ENABLE_NETWORK_ISOLATION": True, "VPC_CONFIG": None},
        "upstreamoutputdataconfig": [],
    }


def _init_config(job: Job, host: str) -> dict[str, Any]:
    return {
        "inputMode": "FILE",
        "channels": {
            name: {"s3DataSource": {"s3Uri": f"{_BUCKET}/{name}/", "sharded": False}, "compressionType": None}
            for name in job.channels
        },
        "checkpointChannel": {"outputPath": f"{_BUCKET}/checkpoints", "allowEmpty": True},
        "hostConfig": {"clusterSize": len(job.hosts), "hostNumber": sorted(job.hosts).index(host)},
        "jobRunInfo": {"jobRunNumber": 1},
    }
