"""AWS's refusals as sentences with a remedy: credentials, permissions, quotas, names, what is missing.

    with in_words():
        client.create_training_job(...)         # UserError, CredentialsError or KennelError

Sources of AWS's texts: its documentation and public reports of 2023 to 2026; AWS may change them, so a text that is not
known is passed on as it came.
Exercise it: pytest tests/unit/aws/test_words.py
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from kennel.errors import KennelError, UserError

_EXPIRED: Final = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_UNKNOWN_KEY: Final = ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "AuthFailure")
_CLOCK: Final = ("InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed")
_THROTTLED: Final = (
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "SlowDown",
    "RequestLimitExceeded",
)
# A HEAD of S3 has no body, and so no more to say than its status.
_DENIED: Final = ("AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "403")
_TAKEN: Final = ("ResourceInUse", "ResourceInUseException", "ConflictException")
_RENEW: Final = "Renew them (aws sso login, or new values of AWS_ACCESS_KEY_ID and so on) and say it again."
_QUOTA: Final = re.compile(r"service limit '(?P<name>[^']+)' is (?P<limit>[\d.]+)")
_ACTION: Final = re.compile(r"not authorized to perform: (?P<action>[\w-]+:\w+)(?: on resource: (?P<resource>\S+))?")
# What AWS says, and what to do about it. The first that fits counts.
_REMEDIES: Final = (
    (
        r"No S3 objects found under S3 URL",
        "Upload the pictures first (scripts/upload.sh --data DIR), in the job's own region; the execution role needs "
        "s3:ListBucket on that bucket.",
    ),
    (
        r"Could not assume role|execution role ARN .* is invalid",
        "The role must exist and trust sagemaker.amazonaws.com; one that was made a minute ago may not be known "
        "everywhere yet: try again. scripts/setup.sh checks it.",
    ),
    (
        r"Could not (find|access) model data",
        "The archive is gone, in another region, or the execution role may not read it (s3:GetObject).",
    ),
    (
        r"cannot pull|Requested image .* not found|does not grant ecr:",
        "The image is not in ECR under that name, or the execution role (or the repository's policy, for another "
        "account) does not allow pulling it. Push it with scripts/push.sh.",
    ),
    (
        r"Unsupported manifest media type",
        "SageMaker takes only Docker's own manifests. Build with scripts/build.sh and push with scripts/push.sh, which "
        "make no OCI index.",
    ),
    (
        r"Cannot create already existing|already exists",
        "Choose another name, or delete what has it (scripts/delete.sh).",
    ),
    (r"Cannot update in-progress endpoint", "Wait until the endpoint is InService or Failed, and say it again."),
    (
        r"Could not find endpoint configuration|has just been created|still being created",
        "What was made a moment ago is not known everywhere yet: say it again in a minute.",
    ),
    (r"Requested resource not found|can't find a tuning job", "See what there is with: kennel list --on aws"),
    (
        r"specified bucket does not exist",
        "Look at --bucket and at the region; scripts/setup.sh prints the command that makes one.",
    ),
    (
        r"must be addressed using the specified endpoint|Moved Permanently",
        "The bucket is in another region. Data, bucket and jobs have to be in one: look at --region.",
    ),
)


class CredentialsError(KennelError):
    """Nobody is signed in, or no longer; what runs on AWS goes on without us."""

    exit_status = 5


@contextmanager
def in_words() -> Iterator[None]:
    """Turns what boto3 raises into an error that says what to do. Others pass."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise explained(error) from error


def is_expired(error: Exception) -> bool:
    """Whether the session has ended while we were at it."""
    return isinstance(error, ClientError) and _code(error) in _EXPIRED


def passing_cause(error: Exception) -> str | None:
    """Why AWS did not answer, where asking again later helps: throttling, a lost network, a fault at AWS."""
    if isinstance(error, ConnectionError | HTTPClientError):
        return f"AWS cannot be reached ({error})."
    if not isinstance(error, ClientError):
        return None
    if _code(error) in _THROTTLED:
        return f"AWS wants to be asked less often ({error.operation_name}: {_code(error)})."
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return f"AWS has a fault of its own ({error.operation_name}: {_code(error)})."
    return None


def explained(error: ClientError | BotoCoreError) -> KennelError:
    """What boto3 raised as our error: whose fault it is, AWS's own words, and the remedy where one is known."""
    if not isinstance(error, ClientError):
        return _not_asked(error)
    code, message = _code(error), error.response.get("Error", {}).get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    what = f"AWS refused {error.operation_name}: {message or code}"
    if code in _EXPIRED:
        return CredentialsError(f"The credentials have expired ({error.operation_name}). {_RENEW}")
    if code in _UNKNOWN_KEY:
        return CredentialsError(f"AWS does not know these credentials ({code}). {_RENEW}")
    if code in _CLOCK:
        return CredentialsError(f"{what}. Either the secret key is wrong, or this machine's clock is: look at both.")
    if code in _THROTTLED:
        return KennelError(f"{what}, also after several tries. It was not done: wait a minute and say it again.")
    if code in _DENIED:
        return UserError(_denied(what, message))
    if code == "ResourceLimitExceeded":
        return UserError(_over_quota(what, message))
    if code == "400" and error.operation_name.startswith("Head"):
        return UserError(f"{what}. S3 does not say why; most often the credentials have expired. {_RENEW}")
    if code in _TAKEN:
        return UserError(f"{what}. Choose another name: those of jobs stay taken, also when the job is deleted.")
    remedy = next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, message)), "")
    raised = UserError if status < 500 else KennelError
    return raised(f"{what}. {remedy}".removesuffix(". ") if remedy else what)


def _denied(what: str, message: str) -> str:
    found = _ACTION.search(message)
    if found is None:
        return f"{what}. The policies that are needed are in iam/."
    where = f" on {found['resource']}" if found["resource"] else ""
    return f"{what}. Whoever administers the account has to allow {found['action']}{where}: iam/ has the whole policy."


def _over_quota(what: str, message: str) -> str:
    found = _QUOTA.search(message)
    name = f"'{found['name']}' (it is {found['limit']})" if found else "named there"
    return f"{what}. Ask for more of the quota {name} in Service Quotas, SageMaker; or use another instance type."


def _not_asked(error: Exception) -> KennelError:
    """For what boto3 raises before or without an answer."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return CredentialsError(
            f"There are no AWS credentials ({error}). Sign in: aws configure sso, or set AWS_PROFILE."
        )
    if isinstance(error, ProfileNotFound):
        return UserError(f"{error}. AWS_PROFILE names it; aws configure list-profiles shows which there are.")
    if isinstance(error, NoRegionError):
        return UserError("There is no AWS region. Give --region, or set AWS_REGION, or region in kennel.toml.")
    if isinstance(error, ConnectionError | HTTPClientError):
        return KennelError(f"AWS cannot be reached: {error}. Look at the network, a proxy, and the region's name.")
    words = type(error).__name__
    if any(each in words for each in ("Credential", "Token", "Login", "SSO")):
        return CredentialsError(f"The credentials cannot be had: {error}. {_RENEW}")
    return KennelError(f"{words}: {error}")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
