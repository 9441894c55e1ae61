"""The parts of a tuning job that stand in either of two places of its request and its description.

With TrainingJobDefinition they are in HyperParameterTuningJobConfig, with TrainingJobDefinitions in the definition.
"""

from kennel.local.tuning_ranges import Range, read_ranges
from kennel.local.validation import Json


def tuning_definition(job: Json) -> Json:
    """The one definition that all trials are made from."""
    if "TrainingJobDefinition" in job:
        return dict(job["TrainingJobDefinition"])
    return dict(job["TrainingJobDefinitions"][0])


def tuning_objective(job: Json) -> Json:
    """{"Type", "MetricName"}."""
    config = job["HyperParameterTuningJobConfig"]
    return dict(tuning_definition(job).get("TuningObjective") or config["HyperParameterTuningJobObjective"])


def tuning_ranges(job: Json) -> tuple[Range, ...]:
    """The ranges that are searched. Raises ApiError for one that cannot be."""
    config = job["HyperParameterTuningJobConfig"]
    return read_ranges(tuning_definition(job).get("HyperParameterRanges") or config.get("ParameterRanges", {}))
