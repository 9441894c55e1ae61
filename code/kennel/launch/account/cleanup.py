"""What exists at a place, and how to be rid of it: on this machine all of it, on AWS what Kennel made.

    print(table(place))
    delete(place, Which(is_all=True), say=print, ask=lambda question: True)

Exercise it: pytest tests/unit/launch/test_places.py tests/aws/test_cleanup_on_aws.py
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.aws.words import in_words
from kennel.errors import UserError
from kennel.launch.account import inventory_table
from kennel.launch.account.clearance import Which, clear
from kennel.launch.account.cost import costs_of
from kennel.launch.account.inventory import find
from kennel.launch.account.inventory_table import trainings
from kennel.launch.places import Place, runs_folder
from kennel.local.places import runs_on

_TUNING_JOB: Final = "HyperParameterTuningJobName"
_TRIAL: Final = re.compile(r"(.+)-\d{3,}-[0-9a-f]{8}")


@dataclass(frozen=True)
class Listing:
    """Jobs and endpoints, newest first, as the API summarizes them. places: by ARN, where each runs or ran.

    A tuning job's own training jobs are folded into its line; it counts them.
    """

    training_jobs: tuple[dict[str, Any], ...]
    endpoints: tuple[dict[str, Any], ...]
    places: Mapping[str, str]
    tuning_jobs: tuple[dict[str, Any], ...] = ()
    transform_jobs: tuple[dict[str, Any], ...] = ()

    def table(self) -> str:
        """Endpoints and training jobs; tuning and transform jobs where there are any."""
        alone = tuple(each for each in self.training_jobs if not self._is_trial(each["TrainingJobName"]))
        return "\n".join(
            [
                *self._lines(self.endpoints, "Endpoint", "endpoint"),
                *(self._lines(self.tuning_jobs, "HyperParameterTuningJob", "tuning job") if self.tuning_jobs else ()),
                *(self._lines(self.transform_jobs, "TransformJob", "transform job") if self.transform_jobs else ()),
                *self._lines(alone, "TrainingJob", "training job"),
            ]
        )

    def _lines(self, summaries: tuple[dict[str, Any], ...], kind: str, title: str) -> list[str]:
        if not summaries:
            return [f"no {title}"]
        rows = [
            f"{each[f'{kind}Name']:<48} {each[f'{kind}Status']:<12} {self.places[each[f'{kind}Arn']]:<7} "
            f"{each['CreationTime']:%Y-%m-%d %H:%M:%S}{trainings(each)}"
            for each in summaries
        ]
        return [f"{title:<48} {'state':<12} {'on':<7} created", *rows]

    @property
    def arns(self) -> list[str]:
        """Of everything that has a line."""
        alone = [each["TrainingJobArn"] for each in self.training_jobs if not self._is_trial(each["TrainingJobName"])]
        tuning = [each["HyperParameterTuningJobArn"] for each in self.tuning_jobs]
        transform = [each["TransformJobArn"] for each in self.transform_jobs]
        return [*alone, *(each["EndpointArn"] for each in self.endpoints), *tuning, *transform]

    def _is_trial(self, name: str) -> bool:
        """Whether a training job is of a tuning job that is listed, by the form of its name."""
        parted = _TRIAL.fullmatch(name)
        return parted is not None and parted.group(1) in {each[_TUNING_JOB] for each in self.tuning_jobs}


def table(place: Place) -> str:
    """What there is, for a person: here all jobs and endpoints, on AWS all that is ours with what it costs."""
    if not place.is_aws:
        return list_all(place).table()
    with in_words():
        inventory = find(place)
        return inventory_table.table(inventory, costs_of(inventory, place))


def delete(place: Place, which: Which, *, say: Callable[[str], None], ask: Callable[[str], bool]) -> None:
    """Deletes what was meant; `say` is told of each thing. ask: see kennel.launch.account.clearance, on AWS only.

    Raises UserError for what only AWS has, and what clearance raises.
    """
    if place.is_aws:
        with in_words():
            return clear(place, which, say=say, ask=ask)
    if which.job or which.with_data or which.is_dry:
        raise UserError(
            f"--name, --data and --dry-run need --on aws. Runs of --on {place.name} are folders of {runs_folder()}, "
            "and nothing there costs: delete what you do not need."
        )
    deleted = delete_endpoint(which.endpoint, place) if which.endpoint else delete_all(place)
    say("\n".join(deleted) or "nothing to delete")


def list_all(place: Place) -> Listing:
    """Everything at `place`, all pages."""
    client = place.sagemaker
    newest = {"SortBy": "CreationTime", "SortOrder": "Descending"}
    training_jobs = tuple(_pages(client, "list_training_jobs", "TrainingJobSummaries", newest))
    endpoints = tuple(_pages(client, "list_endpoints", "Endpoints", newest))
    tuning_jobs = tuple(_pages(client, "list_hyper_parameter_tuning_jobs", "HyperParameterTuningJobSummaries", newest))
    transform_jobs = tuple(_pages(client, "list_transform_jobs", "TransformJobSummaries", newest))
    listing = Listing(training_jobs, endpoints, {}, tuning_jobs, transform_jobs)
    return dataclasses.replace(listing, places={arn: _place_of(arn, client) for arn in listing.arns})


def _place_of(arn: str, client: Any) -> str:  # noqa: ANN401  boto3 makes its clients' classes as it runs
    """Where a resource runs, by its tag."""
    try:
        return runs_on({"Tags": client.list_tags(ResourceArn=arn)["Tags"]})
    except ClientError:  # deleted since it was listed
        return "?"


def delete_endpoint(name: str, place: Place) -> list[str]:
    """Deletes the endpoint, its configuration and its models; returns a line for each. UserError if there is none."""
    client = place.sagemaker
    try:
        description = client.describe_endpoint(EndpointName=name)
    except ClientError as error:
        raise UserError(f"There is no endpoint '{name}'. See what there is with: kennel list") from error
    if description["EndpointStatus"] != "Deleting":  # somebody else has asked already
        client.delete_endpoint(EndpointName=name)
    client.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 300})
    deleted = [f"deleted endpoint {name}"]
    config_name = description["EndpointConfigName"]
    try:
        config = client.describe_endpoint_config(EndpointConfigName=config_name)
    except ClientError:  # somebody deleted it before: what is left to delete is the endpoint
        return deleted
    client.delete_endpoint_config(EndpointConfigName=config_name)
    deleted.append(f"deleted endpoint configuration {config_name}")
    for variant in config["ProductionVariants"]:
        client.delete_model(ModelName=variant["ModelName"])
        deleted.append(f"deleted model {variant['ModelName']}")
    return deleted


def delete_all(place: Place) -> list[str]:
    """Deletes every endpoint, configuration and model; trained runs are files, and stay."""
    client = place.sagemaker
    deleted = []
    for endpoint in list_all(place).endpoints:
        deleted += delete_endpoint(endpoint["EndpointName"], place)
    for config in _pages(client, "list_endpoint_configs", "EndpointConfigs", {}):
        client.delete_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
        deleted.append(f"deleted endpoint configuration {config['EndpointConfigName']}")
    for model in _pages(client, "list_models", "Models", {}):
        client.delete_model(ModelName=model["ModelName"])
        deleted.append(f"deleted model {model['ModelName']}")
    return deleted


def _pages(client: Any, operation: str, key: str, arguments: dict[str, str]) -> list[dict[str, Any]]:  # noqa: ANN401
    return [item for page in client.get_paginator(operation).paginate(**arguments) for item in page[key]]
