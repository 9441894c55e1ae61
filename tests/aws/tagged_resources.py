"""Shows moto's tagging API what the local SageMaker has: else it would know of moto's own resources only.

with tagging_of(account):
    boto3.client("resourcegroupstaggingapi").get_resources(...)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from account import NUMBER, REGION, Account
from moto.core.base_backend import BackendDict, BaseBackend
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource

_KINDS = (
    ("list_training_jobs", "TrainingJobSummaries", "TrainingJobArn"),
    ("list_hyper_parameter_tuning_jobs", "HyperParameterTuningJobSummaries", "HyperParameterTuningJobArn"),
    ("list_transform_jobs", "TransformJobSummaries", "TransformJobArn"),
    ("list_models", "Models", "ModelArn"),
    ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigArn"),
    ("list_endpoints", "Endpoints", "EndpointArn"),
)


class LocalResources(BaseBackend, TaggableResourcesMixin):
    """What the local SageMaker has, with its tags."""

    SERVICE_NAMESPACE = "sagemaker"
    client: Any = None

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        """As moto's tagging API asks for them."""
        for operation, key, arn in _KINDS if self.client else ():
            for page in self.client.get_paginator(operation).paginate():
                for each in page[key]:
                    tags = self.client.list_tags(ResourceArn=each[arn])["Tags"]
                    kind = f"sagemaker:{each[arn].split(':')[5].split('/')[0]}"
                    pairs = {tag["Key"]: tag["Value"] for tag in tags}
                    yield TaggedResource(arn=each[arn], tags=pairs, resource_type=kind)


@contextmanager
def tagging_of(account: Account) -> Iterator[None]:
    """Meanwhile the tagging API knows the account's SageMaker."""
    backends = BackendDict(LocalResources, "sagemaker")
    backends[NUMBER][REGION].client = boto3.client("sagemaker", endpoint_url=account.local_url)
    try:
        yield
    finally:
        backends.reset()
