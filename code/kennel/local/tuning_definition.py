"""The training job definitions of a tuning job, with what is searched for each, wherever in the request it stands.

With TrainingJobDefinition the objective and the ranges are in HyperParameterTuningJobConfig; with
TrainingJobDefinitions each has its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kennel.local.tuning_ranges import Range, read_ranges
from kennel.local.validation import Json


@dataclass(frozen=True)
class Searched:
    """One definition. name: its DefinitionName, or "". objective: {"Type", "MetricName"}."""

    name: str
    content: Json
    objective: Mapping[str, str]
    ranges: tuple[Range, ...]

    @property
    def static(self) -> dict[str, str]:
        return dict(self.content.get("StaticHyperParameters", {}))


def definitions(job: Json) -> tuple[Searched, ...]:
    """Those of a request, or of a description. Raises ApiError for a range that cannot be searched."""
    config = job["HyperParameterTuningJobConfig"]
    return tuple(
        Searched(
            name=content.get("DefinitionName", ""),
            content=content,
            objective=content.get("TuningObjective") or config["HyperParameterTuningJobObjective"],
            ranges=read_ranges(content.get("HyperParameterRanges") or config.get("ParameterRanges", {})),
        )
        for content in definition_contents(job)
    )


def definition_contents(job: Json) -> list[Json]:
    """The definitions as they were given, from either member."""
    return [job["TrainingJobDefinition"]] if "TrainingJobDefinition" in job else list(job["TrainingJobDefinitions"])


def resource_config(content: Json) -> Json:
    """A definition's ResourceConfig, from HyperParameterTuningResourceConfig where that was given, as the SDK v2 does.

    Of several InstanceConfigs the first: all of them are this machine.
    """
    if "HyperParameterTuningResourceConfig" not in content:
        return dict(content.get("ResourceConfig", {}))
    given = content["HyperParameterTuningResourceConfig"]
    instance = given["InstanceConfigs"][0] if "InstanceConfigs" in given else given
    members = ("InstanceType", "InstanceCount", "VolumeSizeInGB")
    keys = {"VolumeKmsKeyId": given["VolumeKmsKeyId"]} if "VolumeKmsKeyId" in given else {}
    return {**{member: instance[member] for member in members if member in instance}, **keys}
