"""Rules as the processing jobs that SageMaker evaluates them in: by their ARNs, as DescribeTrainingJob gives them."""

from collections.abc import Iterator
from typing import Final

from kennel.local.debug_layout import RULE_MEMBERS
from kennel.local.faults import ApiError
from kennel.local.store import Store
from kennel.local.validation import Json, Operation

_STATUSES: Final = {"InProgress": "InProgress", "Stopping": "Stopping", "Stopped": "Stopped", "Error": "Failed"}


class RuleProcessingJobs:
    """DescribeProcessingJob for the rules of training jobs; other processing jobs are not run here."""

    def __init__(self, jobs: Store) -> None:
        self._jobs = jobs

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {"DescribeProcessingJob": self.describe}

    def describe(self, request: Json) -> Json:
        name = request["ProcessingJobName"]
        for training, rule, status in self._rules():
            if status["RuleEvaluationJobArn"].endswith(f":processing-job/{name}"):
                return _describe(name, training, rule, status)
        raise ApiError("ResourceNotFound", f"Could not find requested job with name: {name}")

    def _rules(self) -> Iterator[tuple[Json, Json, Json]]:
        """Each rule's training job, its entry and its status."""
        for record in self._jobs.all():
            for member, status_member in RULE_MEMBERS.items():
                entries = {each["RuleConfigurationName"]: each for each in record.description.get(member, [])}
                for status in record.description.get(status_member, []):
                    if "RuleEvaluationJobArn" in status:  # not of an older version
                        yield record.description, entries[status["RuleConfigurationName"]], status


def _describe(name: str, training: Json, rule: Json, status: Json) -> Json:
    resources = {
        "InstanceCount": 1,
        "InstanceType": rule.get("InstanceType", "ml.t3.medium"),
        "VolumeSizeInGB": rule.get("VolumeSizeInGB") or 10,
    }
    return {
        "ProcessingJobName": name,
        "ProcessingJobArn": status["RuleEvaluationJobArn"],
        "ProcessingJobStatus": _STATUSES.get(status["RuleEvaluationStatus"], "Completed"),
        "ExitMessage": status.get("StatusDetails", ""),
        "AppSpecification": {"ImageUri": rule["RuleEvaluatorImage"]},
        "ProcessingResources": {"ClusterConfig": resources},
        "Environment": rule.get("RuleParameters", {}),
        "TrainingJobArn": training["TrainingJobArn"],
        "RoleArn": training["RoleArn"],
        "CreationTime": training["CreationTime"],
        "LastModifiedTime": status["LastModifiedTime"],
    }
