"""Whether a bucket can be used: there, ours, in the jobs' region; and the command that makes one.

    check_bucket(boto3.client("s3"), "my-bucket", region="eu-west-1")
    create_command("my-bucket", "eu-west-1")

Exercise it: pytest tests/aws/test_upload_command.py
"""

from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.errors import UserError

# Where CreateBucket makes buckets that are given no place, and refuses this one as a place.
_FIRST_REGION: Final = "us-east-1"


def check_bucket(client: Any, bucket: str, *, region: str) -> None:  # noqa: ANN401  boto3's `s3`
    """Raises UserError for a bucket that jobs of that region cannot use; ClientError for what says nothing of it."""
    there = find_region(client, bucket)
    if there is None:
        raise UserError(f"There is no bucket '{bucket}'. Make it: {create_command(bucket, region)}")
    if there != region:
        raise UserError(
            f"The bucket '{bucket}' is in {there}, and jobs would run in {region}: SageMaker reads only buckets of its "
            f"own region. Give --region {there}, or make a bucket here: {create_command('NAME', region)}"
        )


def find_region(client: Any, bucket: str) -> str | None:  # noqa: ANN401
    """Where it is; None where there is none of that name. Raises UserError for one that we may not look into."""
    try:
        answer = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return None
        if status == 403:
            raise UserError(
                f"The bucket '{bucket}' is another account's, or you may not look into it (s3:ListBucket). Take "
                f"another (--bucket), or make one: {create_command('NAME', client.meta.region_name)}"
            ) from error
        raise
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return str(answer.get("BucketRegion") or headers.get("x-amz-bucket-region") or _FIRST_REGION)


def create_command(bucket: str, region: str) -> str:
    """The aws command that makes it; private, as buckets are unless somebody changes it."""
    where = "" if region == _FIRST_REGION else f" --create-bucket-configuration LocationConstraint={region}"
    return f"aws s3api create-bucket --bucket {bucket} --region {region}{where}"
