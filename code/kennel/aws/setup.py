"""Whether an AWS account is ready for Kennel: everything is asked of the account itself, and nothing is changed.

    rows = look(account)                # a row a thing: ok, missing with the command that makes it, or not known
    all(row.state == OK for row in rows if row.is_needed)

Exercise it: pytest tests/aws/test_setup.py
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from botocore.exceptions import ClientError, EndpointConnectionError

from kennel.aws.account_rows import ADVICE, MISSING, OK, UNKNOWN, Account, Row, asking
from kennel.aws.buckets import create_command, find_region
from kennel.aws.images import find_own_image, push_commands
from kennel.aws.prices import TRAINING, PriceList
from kennel.aws.quotas import Shortage, find_quota
from kennel.aws.role_rows import STACK, execution_role, scheduler_role
from kennel.delivery.ecr import Ecr
from kennel.delivery.registry import Reference

_NO_BLOCK: Final = "NoSuchPublicAccessBlockConfiguration"
_NO_RULES: Final = "NoSuchLifecycleConfiguration"
_ABORT: Final = {
    "Rules": [
        {
            "ID": "unfinished-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        }
    ]
}


def look(account: Account) -> list[Row]:
    """All checks, side by side; the rows in a fixed order. Raises CredentialsError."""
    checks = (service, bucket, execution_role, scheduler_role, images, quotas, prices)
    with ThreadPoolExecutor(len(checks)) as pool:
        return [row for rows in pool.map(lambda check: check(account), checks) for row in rows]


def stack_command(account: Account) -> str:
    """What makes the roles, both repositories, and a project that builds the images there, all at once."""
    bucket = account.profile.bucket or f"kennel-{account.number}-{account.region}"
    return (
        f"aws cloudformation deploy --region {account.region} --template-file docker/cloudformation.yaml "
        f"--stack-name {STACK} --capabilities CAPABILITY_IAM --parameter-overrides "
        f"SourceLocation=https://github.com/OWNER/REPOSITORY.git BucketName={bucket}"
    )


@asking("sagemaker", "sagemaker:ListTrainingJobs")
def service(account: Account) -> Iterator[Row]:
    """Whether SageMaker answers in this region."""
    try:
        account.client("sagemaker").list_training_jobs(MaxResults=1)
    except EndpointConnectionError as error:
        yield Row("sagemaker", MISSING, f"nobody answers in {account.region}: {error}. Take another --region")
        return
    yield Row("sagemaker", OK, f"answers in {account.region}")


@asking("bucket", "s3:ListBucket")
def bucket(account: Account) -> Iterator[Row]:
    """For data, checkpoints and models."""
    name = account.profile.bucket
    if name is None:
        command = create_command(f"kennel-{account.number}-{account.region}", account.region)
        yield Row("bucket", MISSING, "none is named (--bucket, KENNEL_BUCKET or kennel.toml)", (command,))
        return
    there = find_region(account.client("s3"), name)
    if there is None:
        yield Row("bucket", MISSING, f"there is no '{name}'", (create_command(name, account.region),))
    elif there != account.region:
        said = f"'{name}' is in {there}; SageMaker reads only buckets of its own region"
        yield Row("bucket", MISSING, said, (create_command("NAME", account.region),))
    else:
        yield Row("bucket", OK, f"s3://{name} in {there}")
        yield from _access(account)
        yield from _leftovers(account)


@asking("public access", "s3:GetBucketPublicAccessBlock", is_needed=False)
def _access(account: Account) -> Iterator[Row]:
    name = account.profile.bucket
    try:
        answer = account.client("s3").get_public_access_block(Bucket=name)
        is_blocked = all(answer["PublicAccessBlockConfiguration"].values())
    except ClientError as error:
        if error.response["Error"]["Code"] != _NO_BLOCK:
            raise
        is_blocked = False
    if is_blocked:
        yield Row("public access", OK, "blocked", (), is_needed=False)
        return
    every = "BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"
    command = f"aws s3api put-public-access-block --bucket {name} --public-access-block-configuration {every}"
    yield Row("public access", ADVICE, "not all of it is blocked", (command,), is_needed=False)


@asking("unfinished uploads", "s3:GetLifecycleConfiguration", is_needed=False)
def _leftovers(account: Account) -> Iterator[Row]:
    """Parts of uploads that were never finished are billed until somebody deletes them."""
    name = account.profile.bucket
    try:
        rules = account.client("s3").get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    except ClientError as error:
        if error.response["Error"]["Code"] != _NO_RULES:
            raise
        rules = []
    if any(each["Status"] == "Enabled" and "AbortIncompleteMultipartUpload" in each for each in rules):
        yield Row("unfinished uploads", OK, "deleted by a rule of the bucket", (), is_needed=False)
        return
    command = (
        f"aws s3api put-bucket-lifecycle-configuration --bucket {name} --lifecycle-configuration '{json.dumps(_ABORT)}'"
    )
    said = "no rule deletes them, and their parts are billed"
    if rules:  # the command would take the place of those
        yield Row("unfinished uploads", ADVICE, f"{said}: add AbortIncompleteMultipartUpload to the rules", (), False)
    else:
        yield Row("unfinished uploads", ADVICE, said, (command,), is_needed=False)


def images(account: Account) -> list[Row]:
    """Both images in ECR, as SageMaker takes them."""
    return [row for kind in ("train", "serve") for row in _image(account, kind)]


def _image(account: Account, kind: str) -> list[Row]:
    thing = f"{kind} image"

    @asking(thing, "ecr:DescribeImages and ecr:BatchGetImage")
    def check(account: Account) -> Iterator[Row]:
        reference, ecr = Reference.parse(account.images[kind]), account.client("ecr")
        found = find_own_image(str(reference), ecr, commit=account.commit, variants=("", "-cpu"))
        if found is None:
            yield _missing_image(account, thing, reference)
        elif found.problems:
            yield Row(thing, MISSING, found.problems[0], (push_commands(kind),))
        else:
            yield Row(thing, OK, f"{found.by_digest} ({found.tag})")

    return check(account)


def _missing_image(account: Account, thing: str, reference: Reference) -> Row:
    kind = thing.split()[0]
    try:
        account.client("ecr").describe_repositories(repositoryNames=[reference.repository])
    except ClientError as error:
        if error.response["Error"]["Code"] != "RepositoryNotFoundException":
            raise
        create = Ecr(reference.registry).create_command(reference.repository).rpartition("\nor: ")[2]
        commands = (create, f"AWS_REGION={account.region} {push_commands(kind)}")
        return Row(thing, MISSING, f"there is no repository '{reference.repository}'", commands)
    return Row(thing, MISSING, f"nothing in '{reference.repository}'", (push_commands(kind),))


@asking("quotas", "servicequotas:ListServiceQuotas")
def quotas(account: Account) -> Iterator[Row]:
    """Of the usual instance types; without the first no training runs."""
    client = account.client("service-quotas")
    for number, (use, instance) in enumerate(account.instances.items()):
        thing, is_needed = f"{instance} for {use}", number == 0
        quota = find_quota(instance, use, client=client)
        if quota is None:
            yield Row(thing, UNKNOWN, "Service Quotas does not say (servicequotas:ListServiceQuotas)", (), is_needed)
        elif quota.value < 1:
            ask = Shortage(quota, 1, account.region).sentence.rpartition(": ")[2]
            yield Row(thing, MISSING, f"{quota.value:g} at once; more takes minutes to days", (ask,), is_needed)
        else:
            yield Row(thing, OK, f"{quota.value:g} at once", (), is_needed)


@asking("price list", "pricing:GetProducts", is_needed=False)
def prices(account: Account) -> Iterator[Row]:
    """For estimates and --max-cost."""
    instance = next(iter(account.instances.values()))
    price = PriceList().hourly(instance, TRAINING, region=account.region)
    if price is None:
        said = f"no price of {instance}: pricing:GetProducts is needed for it, and for --max-cost"
        yield Row("price list", UNKNOWN, said, (), is_needed=False)
    else:
        yield Row("price list", OK, f"{instance}: {price}", (), is_needed=False)
