"""What AWS and boto3 refuse, as sentences for a person."""

import botocore.exceptions
import pytest
from botocore.exceptions import ClientError

from kennel.aws.words import CredentialsError, explained, in_words, is_expired, passing_cause
from kennel.errors import KennelError, UserError


def refused(code: str, message: str = "", status: int = 400) -> ClientError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "CreateTrainingJob")


QUOTA = (
    "The account-level service limit 'ml.g5.xlarge for training job usage' is 0 Instances, with current utilization of "
    "0 Instances and a request delta of 1 Instances."
)
DENIED = (
    "User: arn:aws:iam::1:user/me is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/k because"
)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (refused("ExpiredTokenException"), CredentialsError, "have expired .CreateTrainingJob.. Renew them"),
        (refused("ExpiredToken"), CredentialsError, "have expired"),
        (refused("UnrecognizedClientException"), CredentialsError, "does not know these credentials"),
        (refused("InvalidSignatureException", "too old"), CredentialsError, "this machine's clock"),
        (refused("ThrottlingException", "Rate exceeded"), KennelError, "Rate exceeded, also after several tries"),
        (refused("AccessDeniedException", DENIED), UserError, "allow iam:PassRole on arn:aws:iam::1:role/k: iam/"),
        (refused("AccessDenied"), UserError, "AWS refused CreateTrainingJob: AccessDenied. The policies"),
        (refused("ResourceLimitExceeded", QUOTA), UserError, "quota 'ml.g5.xlarge for training job usage' .it is 0."),
        (refused("ValidationException", 'No S3 objects found under S3 URL "s3://a"'), UserError, "scripts/upload.sh"),
        (refused("ValidationException", "Could not assume role arn:x"), UserError, "trust sagemaker.amazonaws.com"),
        (refused("ValidationException", "Something new"), UserError, "AWS refused CreateTrainingJob: Something new$"),
        (refused("ResourceInUse", "dogs-1 exists"), UserError, "dogs-1 exists. Choose another name"),
        (refused("403", "Forbidden", 403), UserError, "Forbidden. The policies that are needed are in iam/"),
        (refused("NoSuchBucket", "The specified bucket does not exist", 404), UserError, "Look at --bucket and at the"),
        (refused("ValidationException", "Requested resource not found."), UserError, "kennel list --on aws"),
        (refused("InternalFailure", "oops", 500), KennelError, "AWS refused CreateTrainingJob: oops"),
    ],
)
def test_an_answer_is_explained(error: ClientError, kind: type[KennelError], message: str) -> None:
    with pytest.raises(KennelError, match=message) as raised, in_words():
        raise error
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (botocore.exceptions.NoCredentialsError(), CredentialsError, "There are no AWS credentials"),
        (botocore.exceptions.ProfileNotFound(profile="dogs"), UserError, "dogs.* AWS_PROFILE names it"),
        (botocore.exceptions.NoRegionError(), UserError, "There is no AWS region. Give --region"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="https://x"), KennelError, "AWS cannot be reached"),
        (
            botocore.exceptions.TokenRetrievalError(provider="sso", error_msg="expired"),
            CredentialsError,
            "cannot be had",
        ),
    ],
)
def test_what_never_came_to_aws_is_explained(error: Exception, kind: type[KennelError], message: str) -> None:
    with pytest.raises(KennelError, match=message) as raised, in_words():
        raise error
    assert type(raised.value) is kind


def test_a_head_of_s3_that_says_nothing_hints_at_credentials() -> None:
    response = {"Error": {"Code": "400", "Message": "Bad Request"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert "most often the credentials have expired" in str(explained(ClientError(response, "HeadBucket")))


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (refused("ThrottlingException"), "AWS wants to be asked less often (CreateTrainingJob: ThrottlingException)."),
        (refused("503", "", 503), "AWS has a fault of its own (CreateTrainingJob: 503)."),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="https://x"), "AWS cannot be reached (Read timeout on"),
        (refused("ExpiredToken"), None),
        (refused("ValidationException"), None),
        (ValueError(), None),
    ],
)
def test_what_passes_by_itself_is_told_from_what_does_not(error: Exception, cause: str | None) -> None:
    assert str(passing_cause(error)).startswith(str(cause))


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), in_words():
        raise ZeroDivisionError


def test_an_expired_session_is_told_from_others() -> None:
    assert is_expired(refused("ExpiredToken")) and not is_expired(refused("AccessDenied"))
    assert not is_expired(ValueError())
    assert explained(refused("RequestExpired")).exit_status == 5
