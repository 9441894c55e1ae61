"""Amazon ECR as a place for images: its address, its token, its repositories.

What the registry's own API answers as well is in kennel.delivery.registry; this is what only AWS's API can say or do.
"""

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from kennel.delivery.registry import Credentials, RegistryError
from kennel.errors import KennelError, UserError

# The end matters: a token of AWS is sent to these hosts.
_HOST: Final = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.(amazonaws\.com(\.cn)?|on\.aws)"
)
STACK: Final = "aws cloudformation deploy --template-file docker/cloudformation.yaml --stack-name kennel ..."


@dataclass(frozen=True)
class Ecr:
    """One ECR registry. host: <account>.dkr.ecr.<region>.amazonaws.com, or what a test lets stand for it."""

    host: str

    @property
    def is_amazons(self) -> bool:
        return bool(_HOST.fullmatch(self.host))

    def credentials(self) -> Credentials:
        """The token of this AWS identity: good for twelve hours, kept in memory only."""
        with _explained(f"asking ECR for a token to {self.host}"):
            given = self._client().get_authorization_token()["authorizationData"][0]["authorizationToken"]
        username, _, password = base64.b64decode(given).decode().partition(":")
        return Credentials(username, password)

    def log_in_docker(self) -> None:
        """As `aws ecr get-login-password | docker login --password-stdin`: for builds that read a cache from ECR."""
        login = self.credentials()
        outcome = subprocess.run(
            ["docker", "login", "--username", login.username, "--password-stdin", self.host],
            input=login.password,
            capture_output=True,
            text=True,
            check=False,
        )
        if outcome.returncode:
            raise KennelError(f"docker login {self.host} failed: {outcome.stderr.strip()}")

    def has_repository(self, name: str) -> bool:
        with _explained(f"asking ECR for the repository '{name}'"):
            try:
                self._client().describe_repositories(**self._registry(), repositoryNames=[name])
            except ClientError as error:
                if error.response["Error"]["Code"] == "RepositoryNotFoundException":
                    return False
                raise
        return True

    def create_command(self, name: str) -> str:
        """What makes the repository as the template would: immutable tags, but for the build cache's."""
        return (
            f"{STACK}\nor: aws ecr create-repository --region {self._region} --repository-name {name}"
            " --image-tag-mutability IMMUTABLE_WITH_EXCLUSION"
            " --image-tag-mutability-exclusion-filters 'filterType=WILDCARD,filter=cache*'"
        )

    def delete(self, repository: str, digest: str) -> None:
        """ECR deletes by its own API only; the registry API's DELETE is not supported there."""
        with _explained(f"deleting {repository}@{digest}"):
            answer = self._client().batch_delete_image(
                **self._registry(), repositoryName=repository, imageIds=[{"imageDigest": digest}]
            )
        if answer["failures"]:
            raise RegistryError(f"{self.host}/{repository}@{digest} is still there: {answer['failures']}")

    @property
    def _region(self) -> str:
        found = _HOST.fullmatch(self.host)
        return found["region"] if found else _default_region()

    def _registry(self) -> dict[str, str]:
        found = _HOST.fullmatch(self.host)
        return {"registryId": found["account"]} if found else {}

    def _client(self) -> Any:  # noqa: ANN401  botocore makes its types at run time
        return boto3.client("ecr", region_name=self._region)


def own_registry() -> str:
    """The ECR host of this AWS identity's account, in its region. Raises UserError without either."""
    region = _default_region()
    with _explained("asking AWS which account this is"):
        account = boto3.client("sts", region_name=region).get_caller_identity()["Account"]
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{account}.dkr.ecr.{region}.{suffix}"


def _default_region() -> str:
    region = boto3.session.Session().region_name
    if not region:
        raise UserError("No AWS region is set. Set AWS_REGION, such as eu-west-1, or name the place with --registry")
    return str(region)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """AWS's errors as sentences that say what was tried."""
    try:
        yield
    except ClientError as error:
        raise UserError(f"AWS refused {what}: {error}") from error
    except BotoCoreError as error:
        raise UserError(f"Could not go on {what}: {error} Or name another registry with --registry") from error
