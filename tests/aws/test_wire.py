"""What SDK v3 would send for the same training, search and endpoint: the same as Kennel's launchers, but for a list.

v2, which Kennel uses, ends in July 2027. wire/v3-*.json are what v3 sends for wire/description.json, recorded
by wire/record_v3.py. Each difference is listed here with what moving will have to do about it; a new one fails, and so
does one that is gone. docs/sdk-v3.md is written from this.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kennel.aws.profile import Profile
from kennel.launch import jobs, tuning
from kennel.launch.dry_run import held
from kennel.launch.endpoint.endpoint_plan import EndpointPlan
from kennel.launch.endpoint.endpoint_requests import config_request, make_model
from kennel.launch.jobs import TrainingJob, create_training_job
from kennel.launch.places import Place
from kennel.launch.resources import Resources
from kennel.launch.search_ranges import SearchRanges
from kennel.launch.tuning import Search, TuningJob, create_tuning_job

WIRE = Path(__file__).parent / "wire"
GIVEN = json.loads((WIRE / "description.json").read_text())
ABSENT = "(absent)"
_QUOTES = "v2's callers quote, as its own framework estimators do, and v3 sends texts bare; Kennel's programs read both"
_PATH = "v3 writes SageMaker's default out"
_DROPPED = "v3's tuner drops it without a word: put it into the request, through botocore's before-parameter-build"
_TYPE, _KEY = GIVEN["instance_type"], GIVEN["kms_key"]
_MACHINES = {"InstanceType": _TYPE, "InstanceCount": GIVEN["instance_count"], "VolumeSizeInGB": GIVEN["volume_gb"]}
_TRAINING = "TrainingJobDefinition"
_RANGES = "HyperParameterTuningJobConfig.ParameterRanges"
# By operation and member: what v2 sends, what v3 sends, and what that means for moving.
KNOWN: dict[str, dict[str, tuple[object, object, str]]] = {
    "CreateTrainingJob": {
        "TrainingJobName": ("dogs", "dogs-(time)", "ModelTrainer takes no name: TrainingJob.create of the core does"),
        "HyperParameters.epochs": ('"5"', "5", _QUOTES),
        "HyperParameters.learning_rate": ('"0.01"', "0.01", _QUOTES),
        "HyperParameters.sagemaker_instance_type": (f'"{_TYPE}"', _TYPE, _QUOTES),
        "CheckpointConfig.LocalPath": (ABSENT, "/opt/ml/checkpoints", _PATH),
        "OutputDataConfig.CompressionType": (ABSENT, "GZIP", _PATH),
        "ProfilerConfig": ({"DisableProfiler": True}, ABSENT, "v3 has no argument for it: TrainingJob.create does"),
    },
    "CreateHyperParameterTuningJob": {
        f"{_RANGES}.CategoricalParameterRanges": ([], ABSENT, "v3 leaves empty lists out"),
        f"{_RANGES}.IntegerParameterRanges": ([], ABSENT, "v3 leaves empty lists out"),
        f"{_TRAINING}.StaticHyperParameters.epochs": ('"5"', "5", _QUOTES),
        f"{_TRAINING}.StaticHyperParameters.sagemaker_instance_type": (f'"{_TYPE}"', _TYPE, _QUOTES),
        f"{_TRAINING}.CheckpointConfig.LocalPath": (ABSENT, "/opt/ml/checkpoints", _PATH),
        f"{_TRAINING}.OutputDataConfig.CompressionType": (ABSENT, "GZIP", _PATH),
        f"{_TRAINING}.HyperParameterTuningResourceConfig": (
            {**_MACHINES, "VolumeKmsKeyId": _KEY},
            ABSENT,
            "v3 sends the older ResourceConfig; the volume's key is lost on the way",
        ),
        f"{_TRAINING}.ResourceConfig": (ABSENT, _MACHINES, "as above"),
        f"{_TRAINING}.EnableNetworkIsolation": (True, ABSENT, _DROPPED),
        f"{_TRAINING}.EnableInterContainerTrafficEncryption": (True, ABSENT, _DROPPED),
    },
}


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, object, object]]:  # noqa: ANN401  JSON
    """Each member that is not the same, with both values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            place = f"{path}.{key}" if path else key
            yield from differences(ours.get(key, ABSENT), theirs.get(key, ABSENT), place)
    elif _are_named(ours) and _are_named(theirs):
        yield from differences(_by_key(ours), _by_key(theirs), path)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f"{path}.{index}")
    elif ours != theirs:
        yield path, ours, theirs


def _are_named(value: Any) -> bool:  # noqa: ANN401  JSON
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) and "Key" in each for each in value)


def _by_key(tags: list[dict[str, str]]) -> dict[str, str]:
    """Tags have no order."""
    return {each["Key"]: each["Value"] for each in tags}


@pytest.fixture(scope="module")
def sent() -> dict[str, Any]:
    """What the launchers of today send, by operation."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
        for module in (jobs, tuning):
            patch.setattr(module, "metric_definitions", lambda: GIVEN["metrics"])
        patch.setattr("kennel.aws.tags.__version__", "0")
        place = Place(
            name="aws",
            role=GIVEN["role"],
            train_image=GIVEN["train_image"],
            serve_image=GIVEN["serve_image"],
            instance_type="ml.g5.xlarge",
            profile=Profile(
                role=GIVEN["role"],
                region=GIVEN["region"],
                bucket=GIVEN["bucket"],
                subnets=tuple(GIVEN["subnets"]),
                security_groups=tuple(GIVEN["security_groups"]),
                kms_key=GIVEN["kms_key"],
                tags=GIVEN["tags"],
            ),
        )
        with held(place.boto) as requests:
            _send(place)
        return {each.operation: each.parameters for each in requests}


def _send(place: Place) -> None:
    resources = Resources(
        GIVEN["instance_type"],
        instance_count=GIVEN["instance_count"],
        volume_gb=GIVEN["volume_gb"],
        max_run_s=GIVEN["max_run_s"],
        is_spot=True,
        max_wait_s=GIVEN["max_wait_s"],
        is_streamed=True,
        is_isolated=True,
    )
    job = TrainingJob(GIVEN["name"], {"data": GIVEN["data"]}, GIVEN["hyperparameters"])
    create_training_job(job, place, resources)
    tuned = GIVEN["tuned"]
    number = {
        "Name": tuned["name"],
        "MinValue": tuned["low"],
        "MaxValue": tuned["high"],
        "ScalingType": tuned["scaling"],
    }
    ranges = SearchRanges(WIRE / "description.json", {"ContinuousParameterRanges": [number]})
    search = Search(
        objective=GIVEN["objective"],
        max_jobs=GIVEN["max_jobs"],
        max_parallel_jobs=GIVEN["max_parallel_jobs"],
        seed=GIVEN["seed"],
    )
    create_tuning_job(TuningJob(job, ranges, search), place, resources)
    plan = EndpointPlan(
        GIVEN["name"], GIVEN["archive"], instance_type=GIVEN["endpoint_instance_type"], is_isolated=True
    )
    make_model(plan, place, GIVEN["name"])
    request = config_request(plan, place, GIVEN["name"], count=1, inference_ami=GIVEN["inference_ami"])
    place.sagemaker.create_endpoint_config(**request)
    place.sagemaker.create_endpoint(
        EndpointName=GIVEN["name"], EndpointConfigName=GIVEN["name"], Tags=place.tags_for(GIVEN["name"])
    )


@pytest.mark.parametrize("path", sorted(WIRE.glob("v3-*.json")), ids=lambda path: path.stem.removeprefix("v3-"))
def test_v3_sends_the_same_but_for_what_is_listed(sent: dict[str, Any], path: Path) -> None:
    operation = path.stem.removeprefix("v3-")
    found = {
        place: (ours, theirs) for place, ours, theirs in differences(sent[operation], json.loads(path.read_text()))
    }
    known = KNOWN.get(operation, {})
    assert found == {place: (ours, theirs) for place, (ours, theirs, _) in known.items()}


def test_all_operations_of_the_launchers_are_recorded(sent: dict[str, Any]) -> None:
    assert {path.stem.removeprefix("v3-") for path in WIRE.glob("v3-*.json")} == set(sent)
    assert set(KNOWN) <= set(sent)
