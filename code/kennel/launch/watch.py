"""One view of what goes on at AWS, until it has ended: for jobs of every kind and for endpoints.

description = watch("training", "dogs-1", place)        # the last description; Ctrl-C asks: detach or stop
"""

import time
from typing import Any, Final

from kennel.launch.places import Place

KINDS: Final = ("training", "tuning", "transform", "endpoint")
_DESCRIBE: Final = {
    "training": ("describe_training_job", "TrainingJobName", "TrainingJobStatus"),
    "tuning": ("describe_hyper_parameter_tuning_job", "HyperParameterTuningJobName", "HyperParameterTuningJobStatus"),
    "transform": ("describe_transform_job", "TransformJobName", "TransformJobStatus"),
    "endpoint": ("describe_endpoint", "EndpointName", "EndpointStatus"),
}
_ENDED: Final = ("Completed", "Failed", "Stopped", "InService", "RollbackFailed", "UpdateRollbackFailed")


def watch(kind: str, name: str, place: Place) -> dict[str, Any]:
    """Shows it until it has ended; its last description. kind: one of KINDS."""
    operation, key, status = _DESCRIBE[kind]
    while True:
        description = dict(getattr(place.sagemaker, operation)(**{key: name}))
        if description[status] in _ENDED:
            return description
        time.sleep(1)
