"""The profile of a project on AWS: a file, the environment over it, flags over both."""

from pathlib import Path

import pytest

from kennel.aws.profile import Profile, read_profile
from kennel.errors import UserError

ROLE = "arn:aws:iam::123456789012:role/kennel-execution"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder inside a project, with no profile anywhere."""
    inside = tmp_path / "project" / "deep"
    inside.mkdir(parents=True)
    return inside


def read(folder: Path, environ: dict[str, str] | None = None, **flags: object) -> Profile:
    return read_profile({"HOME": str(folder / "home"), **(environ or {})}, folder=folder, **flags)


def test_without_a_file_there_are_defaults(folder: Path) -> None:
    assert read(folder) == Profile()


def test_a_file_above_is_found_and_read(folder: Path) -> None:
    path = folder.parent / "kennel.toml"
    path.write_text(
        f'role = "{ROLE}"\nbucket = "pictures"\nsubnets = ["subnet-1"]\nsecurity_groups = ["sg-1", "sg-2"]\n'
        '[tags]\nteam = "vision"\n'
    )
    found = read(folder)
    assert found == Profile(
        role=ROLE,
        bucket="pictures",
        subnets=("subnet-1",),
        security_groups=("sg-1", "sg-2"),
        tags={"team": "vision"},
        source=path,
    )


def test_flags_are_over_the_environment_and_that_is_over_the_file(folder: Path) -> None:
    (folder / "kennel.toml").write_text('bucket = "of-file"\nregion = "eu-west-1"\nprefix = "of-file"\n')
    environ = {"KENNEL_BUCKET": "of-environment", "AWS_DEFAULT_REGION": "us-east-1", "KENNEL_TAGS": "a=1, b=2"}
    found = read(folder, environ, bucket="of-flag", kms_key=None)
    assert (found.bucket, found.region, found.prefix) == ("of-flag", "us-east-1", "of-file")
    assert found.tags == {"a": "1", "b": "2"}


def test_a_file_at_home_counts_where_there_is_none_above(folder: Path) -> None:
    home = folder / "home" / ".config" / "kennel"
    home.mkdir(parents=True)
    (home / "profile.toml").write_text('bucket = "home"\n')
    assert read(folder).bucket == "home"
    other = folder / "other.toml"
    other.write_text('bucket = "named"\n')
    assert read(folder, {"KENNEL_PROFILE": str(other)}).bucket == "named"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bucket = ", "cannot be read as TOML"),
        ('buckets = "a"', "'buckets' in .* is no setting of a profile. Known are: role, "),
        ('bucket = "s3://a"', "bucket 's3://a' .* Expected such as my-bucket"),
        ('role = "kennel"', "role 'kennel' .* is not one AWS has"),
        ('region = "Ireland"', "region 'Ireland'"),
        ("bucket = 3", "bucket .* is 3. Expected a text"),
        ('subnets = ["subnet-1"]', "belong together"),
        ('subnets = [""]', "Expected a list of ids"),
        ("tags = { team = 1 }", "tags .* Expected names and texts"),
        ('tags = { "aws:x" = "1" }', "Tag 'aws:x=1'"),
    ],
)
def test_what_cannot_be_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "kennel.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        read(folder)


def test_a_named_file_has_to_be_there(folder: Path) -> None:
    with pytest.raises(UserError, match="KENNEL_PROFILE names .*/none.toml, and there is no such file"):
        read(folder, {"KENNEL_PROFILE": str(folder / "none.toml")})
