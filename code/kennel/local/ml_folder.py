"""Lays out the folder a program sees as /opt/ml, as SageMaker does: configuration, channels, code.

The files of input/config are those found in dumps of real jobs.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any, Final

import kennel
from kennel.local.faults import invalid
from kennel.local.storage import LocalS3, read_address
from kennel.local.validation import Json
from kennel.paths import MlPaths

# Where train.py and inference.py stand: beside the package, in a checkout and in an installation alike.
CODE_ROOT: Final = Path(kennel.__file__).resolve().parent.parent
_OPT_ML: Final = PurePosixPath("/opt/ml")


def lay_out(ml: MlPaths, request: Json) -> None:
    """Makes the folders, the configuration files and the code of a training job."""
    for folder in (ml.input_config_dir, ml.input_data_dir, ml.model_dir, ml.output_data_dir, ml.code_dir):
        folder.mkdir(parents=True, exist_ok=True)
    checkpoints = request.get("CheckpointConfig")
    if checkpoints is None:
        ml.checkpoints_dir.mkdir(exist_ok=True)
    for name, content in _configuration(ml, request).items():
        (ml.input_config_dir / f"{name}.json").write_text(json.dumps(content))
    # A code folder with something in it keeps the toolkit from fetching the one the job names.
    if "sagemaker_submit_directory" not in request.get("HyperParameters", {}):
        (ml.code_dir / "train.py").symlink_to(CODE_ROOT / "train.py")


def bring_channel(channel: Json, ml: MlPaths, s3: LocalS3) -> None:
    """Puts a channel's data into input/data/<channel>: s3:// is downloaded, file:// is linked and copies nothing."""
    target = ml.input_data_dir / channel["ChannelName"]
    address = read_address(channel["DataSource"]["S3DataSource"]["S3Uri"])
    if not isinstance(address, Path):
        s3.download_folder(address, target)
    elif address.is_dir():
        target.symlink_to(address, target_is_directory=True)
    else:
        target.mkdir()
        (target / address.name).symlink_to(address)


def place_of(ml: MlPaths, local_path: str, member: str) -> Path:
    """Where a LocalPath of a request is on this machine. Raises ApiError for one that is not under /opt/ml."""
    path = PurePosixPath(local_path)
    if not path.is_relative_to(_OPT_ML) or path == _OPT_ML or ".." in path.parts:
        raise invalid(
            f"Value '{local_path}' at '{member}' cannot be used: as a process, a job has no folder outside /opt/ml. "
            f"Expected a folder such as /opt/ml/checkpoints; or run it with --on docker."
        )
    return ml.base / path.relative_to(_OPT_ML)


def _configuration(ml: MlPaths, request: Json) -> dict[str, Any]:
    """The files of input/config by name."""
    algorithm = request["AlgorithmSpecification"]
    channels = request.get("InputDataConfig", [])
    files: dict[str, Any] = {
        "hyperparameters": request.get("HyperParameters", {}),
        "inputdataconfig": {each["ChannelName"]: _channel(each, algorithm) for each in channels},
        "resourceconfig": _resources(request["ResourceConfig"]),
        "metric-definition-regex": algorithm.get("MetricDefinitions", []),
        "init-config": _init_config(request, algorithm, channels),
    }
    if "CheckpointConfig" in request:
        files["checkpointconfig"] = {"LocalPath": str(checkpoint_folder(ml, request))}
    if "DebugHookConfig" in request:
        hook = {"HookParameters": None, "CollectionConfigurations": None, **request["DebugHookConfig"]}
        files["debughookconfig"] = {**hook, "LocalPath": _local_path(ml, hook, "output/tensors")}
    if "TensorBoardOutputConfig" in request:
        board = request["TensorBoardOutputConfig"]
        files["tensorboardoutputconfig"] = {**board, "LocalPath": _local_path(ml, board, "output/tensorboard")}
    if "ProfilerConfig" in request:
        files["profilerconfig"] = request["ProfilerConfig"]
    return files


def checkpoint_folder(ml: MlPaths, request: Json) -> Path:
    """Where the job's checkpoints are on this machine."""
    local_path = request.get("CheckpointConfig", {}).get("LocalPath", "/opt/ml/checkpoints")
    return place_of(ml, local_path, "checkpointConfig.localPath")


def _local_path(ml: MlPaths, config: Json, default: str) -> str:
    return str(place_of(ml, config.get("LocalPath", f"/opt/ml/{default}"), "localPath"))


def _channel(channel: Json, algorithm: Json) -> Json:
    source = channel["DataSource"]["S3DataSource"]
    return {
        **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
        "TrainingInputMode": channel.get("InputMode", algorithm["TrainingInputMode"]),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }


def _resources(resources: Json) -> Json:
    """One host. Its name must resolve, or sagemaker-training waits for it without end; so it is not `algo-1`."""
    group = {"instance_group_name": "homogeneousCluster", "instance_type": resources.get("InstanceType")}
    return {
        "current_host": "localhost",
        "current_instance_type": resources.get("InstanceType"),
        "current_group_name": "homogeneousCluster",
        "hosts": ["localhost"],
        "instance_groups": [{**group, "hosts": ["localhost"]}],
        "network_interface_name": "lo",
    }


def _init_config(request: Json, algorithm: Json, channels: list[Json]) -> Json:
    sources = {each["ChannelName"]: each["DataSource"]["S3DataSource"]["S3Uri"] for each in channels}
    return {
        "inputMode": algorithm["TrainingInputMode"],
        "channels": {name: {"s3DataSource": {"s3Uri": uri, "sharded": False}} for name, uri in sources.items()},
        "checkpointChannel": {"outputPath": request.get("CheckpointConfig", {}).get("S3Uri"), "allowEmpty": True},
        "hostConfig": {"clusterSize": 1, "hostNumber": 0},
        "jobRunInfo": {"jobRunNumber": 1},
    }
