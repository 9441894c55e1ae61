"""What exists at a place, and how to be rid of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from kennel.errors import UserError
from kennel.launch.places import Place
from kennel.local.places import runs_on


@dataclass(frozen=True)
class Listing:
    """Training jobs and endpoints, newest first, as the API summarizes them. places: by ARN, where each runs or ran."""

    training_jobs: tuple[dict[str, Any], ...]
    endpoints: tuple[dict[str, Any], ...]
    places: Mapping[str, str]

    def table(self) -> str:
        return "\n".join(
            [*self._lines(self.endpoints, "Endpoint"), *self._lines(self.training_jobs, "TrainingJob", "training job")]
        )

    def _lines(self, summaries: tuple[dict[str, Any], ...], kind: str, title: str = "endpoint") -> list[str]:
        if not summaries:
            return [f"no {title}"]
        rows = [
            f"{each[f'{kind}Name']:<48} {each[f'{kind}Status']:<12} {self.places[each[f'{kind}Arn']]:<7} "
            f"{each['CreationTime']:%Y-%m-%d %H:%M:%S}"
            for each in summaries
        ]
        return [f"{title:<48} {'state':<12} {'on':<7} created", *rows]


def list_all(place: Place) -> Listing:
    """Everything at `place`, all pages."""
    client = place.sagemaker
    newest = {"SortBy": "CreationTime", "SortOrder": "Descending"}
    training_jobs = tuple(_pages(client, "list_training_jobs", "TrainingJobSummaries", newest))
    endpoints = tuple(_pages(client, "list_endpoints", "Endpoints", newest))
    arns = [each["TrainingJobArn"] for each in training_jobs] + [each["EndpointArn"] for each in endpoints]
    return Listing(training_jobs, endpoints, {arn: _place_of(arn, client) for arn in arns})


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
