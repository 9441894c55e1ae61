"""Lays out the folder a program sees as /opt/ml, as SageMaker does: configuration, channels, code.

The files of input/config are those found in dumps of real jobs.
"""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import kennel
from kennel.local.channels import bring_items, is_manifest, is_sharded, items_of, source_of_channel
from kennel.local.faults import invalid
from kennel.local.json_file import write_json
from kennel.local.places import DOCKER, runs_on
from kennel.local.source import bring_source, source_of
from kennel.local.storage import LocalS3, read_address
from kennel.local.validation import Json
from kennel.paths import MlPaths
from kennel.script_mode import OWN_PROGRAM

# Where train.py and inference.py stand: beside the package, in a checkout and in an installation alike.
CODE_ROOT: Final = Path(kennel.__file__).resolve().parent.parent
_OPT_ML: Final = PurePosixPath("/opt/ml")
_PROFILER_CONFIG: Final = "profilerconfig"


@dataclass(frozen=True)
class View:
    """What a job's program sees. base: stands for /opt/ml. hosts: every host's name, the program's own at `index`."""

    base: PurePosixPath
    checkpoints: PurePosixPath
    hosts: tuple[str, ...]
    interface: str
    index: int = 0


def lay_out(ml: MlPaths, request: Json, view: View) -> None:
    """Makes the folders and the configuration files of a training job."""
    for folder in (ml.input_config_dir, ml.input_data_dir, ml.model_dir, ml.output_data_dir):
        folder.mkdir(parents=True, exist_ok=True)
    if "CheckpointConfig" not in request:
        ml.checkpoints_dir.mkdir(exist_ok=True)
    write_configuration(ml.input_config_dir, request, view)


def write_configuration(folder: Path, request: Json, view: View) -> None:
    """The files of input/config as one host of the job finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _configuration(request, view).items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def bring_code(ml: MlPaths, request: Json, s3: LocalS3) -> None:
    """Fills code/ with the script the job brings along, or with this checkout's train.py as an image has its own.

    Raises KennelError or OSError for a source that is not there any more.
    """
    source = source_of(request)
    if source is not None and source.address is not None:
        bring_source(source, ml.code_dir, s3)
        return
    ml.code_dir.mkdir(parents=True, exist_ok=True)
    (ml.code_dir / OWN_PROGRAM).symlink_to(CODE_ROOT / OWN_PROGRAM)


def link_channel(channel: Json, ml: MlPaths, s3: LocalS3) -> None:
    """Puts a channel's data into input/data/<channel>: s3:// is downloaded, file:// is linked and copies nothing."""
    target = ml.input_data_dir / channel["ChannelName"]
    if is_manifest(channel):
        bring_items(items_of(channel, s3), target, s3)
        return
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


def _configuration(request: Json, view: View) -> dict[str, Any]:
    """The files of input/config by name."""
    algorithm = request["AlgorithmSpecification"]
    channels = request.get("InputDataConfig", [])
    files: dict[str, Any] = {
        "hyperparameters": request.get("HyperParameters", {}),
        "inputdataconfig": {each["ChannelName"]: _channel(each, algorithm) for each in channels},
        "resourceconfig": _resources(request["ResourceConfig"], view),
        "metric-definition-regex": algorithm.get("MetricDefinitions", []),
        "init-config": _init_config(request, algorithm, channels, view),
    }
    if "CheckpointConfig" in request:
        files["checkpointconfig"] = {"LocalPath": str(view.checkpoints)}
    if "DebugHookConfig" in request:
        hook = {"HookParameters": None, "CollectionConfigurations": None, **request["DebugHookConfig"]}
        files["debughookconfig"] = {**hook, "LocalPath": _local_path(view, hook, "output/tensors")}
    if "TensorBoardOutputConfig" in request:
        board = request["TensorBoardOutputConfig"]
        files["tensorboardoutputconfig"] = {**board, "LocalPath": _local_path(view, board, "output/tensorboard")}
    if is_profiled(request):
        files[_PROFILER_CONFIG] = _profiler_config(request, view.base)
    return files


def is_profiled(request: Json) -> bool:
    """Whether a job's ProfilerConfig is there and enabled."""
    config = request.get("ProfilerConfig")
    return config is not None and not config.get("DisableProfiler", False)


def seen_base(ml: MlPaths, request: Json) -> PurePosixPath:
    """What a job's program takes for /opt/ml: in a container that, as a process the folder on this machine."""
    return _OPT_ML if runs_on(request) == DOCKER else PurePosixPath(ml.base)


def write_profiler_config(folder: Path, request: Json, base: PurePosixPath) -> None:
    """Writes input/config's file of the profiler anew, in a running job whose program sees `base` as /opt/ml."""
    if folder.is_dir() and "ProfilerConfig" in request:
        write_json(folder / f"{_PROFILER_CONFIG}.json", _profiler_config(request, base))


def _profiler_config(request: Json, base: PurePosixPath) -> Json:
    """With the folder smdebug's profiler writes to; a script's own hook would otherwise write to /opt/ml."""
    config = {"ProfilingIntervalInMilliseconds": 500, "ProfilingParameters": {}, **request["ProfilerConfig"]}
    parameters = config["ProfilingParameters"] or {}
    if not parameters or base == _OPT_ML:
        return config
    path = PurePosixPath(parameters.get("LocalPath", _OPT_ML / "output" / "profiler"))
    here = base / path.relative_to(_OPT_ML) if path.is_relative_to(_OPT_ML) else path
    return {**config, "ProfilingParameters": {**parameters, "LocalPath": str(here)}}


def checkpoint_path(request: Json) -> str:
    """CheckpointConfig.LocalPath, or SageMaker's default for it."""
    return str(request.get("CheckpointConfig", {}).get("LocalPath", "/opt/ml/checkpoints"))


def _local_path(view: View, config: Json, default: str) -> str:
    path = config.get("LocalPath", f"/opt/ml/{default}")
    return str(place_of(MlPaths(Path(view.base)), path, "localPath"))


def _channel(channel: Json, algorithm: Json) -> Json:
    source = channel["DataSource"]["S3DataSource"]
    return {
        **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
        "TrainingInputMode": channel.get("InputMode", algorithm["TrainingInputMode"]),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }


def _resources(resources: Json, view: View) -> Json:
    """The hosts of the job. Their names must resolve, or sagemaker-training waits for them without end."""
    group = {"instance_group_name": "homogeneousCluster", "instance_type": resources.get("InstanceType")}
    return {
        "current_host": view.hosts[view.index],
        "current_instance_type": resources.get("InstanceType"),
        "current_group_name": "homogeneousCluster",
        "hosts": list(view.hosts),
        "instance_groups": [{**group, "hosts": list(view.hosts)}],
        "network_interface_name": view.interface,
    }


def _init_config(request: Json, algorithm: Json, channels: list[Json], view: View) -> Json:
    sources = {
        each["ChannelName"]: {"s3Uri": source_of_channel(each)["S3Uri"], "sharded": is_sharded(each)}
        for each in channels
    }
    return {
        "inputMode": algorithm["TrainingInputMode"],
        "channels": {name: {"s3DataSource": source} for name, source in sources.items()},
        "checkpointChannel": {"outputPath": request.get("CheckpointConfig", {}).get("S3Uri"), "allowEmpty": True},
        "hostConfig": {"clusterSize": len(view.hosts), "hostNumber": view.index},
        "jobRunInfo": {"jobRunNumber": 1},
    }
