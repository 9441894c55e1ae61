"""Who runs what where on AWS: the role, bucket, region and network of this project's jobs.

    # kennel.toml, beside the project; or ~/.config/kennel/profile.toml; or the file that KENNEL_PROFILE names
    role = "arn:aws:iam::123456789012:role/kennel-execution"
    region = "eu-west-1"
    bucket = "my-bucket"
    tags = { team = "vision" }

    profile = read_profile(region="eu-west-1")      # flags; over KENNEL_ROLE and the like; over the file

Exercise it: pytest tests/unit/aws/test_profile.py
"""

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kennel.errors import UserError

FILE: Final = "kennel.toml"
_HOME_FILE: Final = Path("kennel", "profile.toml")
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_KEY: Final = re.compile(r"[\w .:/=+@-]{1,128}")
_VALUE: Final = re.compile(r"[\w .:/=+@-]{0,256}")
_MOST_TAGS: Final = 40  # of 50; the rest is for ours
# For the AWS region everybody's own tools read these two.
_REGION_VARIABLES: Final = ("KENNEL_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True)
class Profile:
    """One project's settings. source: the file they are from, if any.

    role: what jobs and models run as. scheduler_role: what deletes endpoints when their time is over (--ttl).
    prefix: below it is everything in the bucket. subnets, security_groups: both or neither. kms_key: of outputs and
    volumes. tags: on all that is made, beside Kennel's own.
    """

    role: str | None = None
    scheduler_role: str | None = None
    region: str | None = None
    bucket: str | None = None
    prefix: str = "kennel"
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    kms_key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    source: Path | None = None


_NAMES: Final = tuple(each.name for each in dataclasses.fields(Profile) if each.name != "source")
_LISTS: Final = ("subnets", "security_groups")


def read_profile(environ: Mapping[str, str] = os.environ, *, folder: Path | None = None, **flags: object) -> Profile:
    """The settings: each from its flag, else its variable (KENNEL_ROLE; lists with commas), else the file.

    folder: where the search for kennel.toml begins, upwards (the working directory). flags: by the profile's names;
    None is none given. Raises UserError for a file that cannot be read, a name that is none, or a value that AWS would
    refuse.
    """
    path = _find_file(environ, folder or Path.cwd())
    found = _read_file(path) if path else {}
    found |= _from_variables(environ)
    found |= {name: value for name, value in flags.items() if value is not None}
    where = str(path) if path else "the environment or the flags"
    return _checked(found, where=where, source=path)


def _find_file(environ: Mapping[str, str], folder: Path) -> Path | None:
    if named := environ.get("KENNEL_PROFILE"):
        path = Path(named).expanduser()
        if not path.is_file():
            raise UserError(f"KENNEL_PROFILE names {path}, and there is no such file.")
        return path
    config = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~", ".config")).expanduser()
    places = [*(each / FILE for each in (folder, *folder.parents)), config / _HOME_FILE]
    return next((place for place in places if place.is_file()), None)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} cannot be read as TOML: {error}") from error


def _from_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _NAMES:
        names = _REGION_VARIABLES if name == "region" else (f"KENNEL_{name.upper()}",)
        text = next((environ[each] for each in names if environ.get(each)), None)
        if text is None:
            continue
        found[name] = text.split(",") if name in _LISTS else _pairs(text) if name == "tags" else text
    return found


def _pairs(text: str) -> dict[str, str]:
    """`a=b,c=d` as a mapping."""
    pairs = [each.partition("=") for each in text.split(",") if each]
    if not all(name and middle for name, middle, _ in pairs):
        raise UserError(f"KENNEL_TAGS is '{text}'. Expected key=value,key=value.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _checked(found: Mapping[str, Any], *, where: str, source: Path | None) -> Profile:
    unknown = sorted(set(found) - set(_NAMES))
    if unknown:
        raise UserError(f"'{unknown[0]}' in {where} is no setting of a profile. Known are: {', '.join(_NAMES)}.")
    values = {name: _typed(name, value, where) for name, value in found.items()}
    for name, pattern, example in (
        ("role", _ROLE, "arn:aws:iam::123456789012:role/kennel-execution"),
        ("scheduler_role", _ROLE, "arn:aws:iam::123456789012:role/kennel-scheduler"),
        ("bucket", _BUCKET, "my-bucket (without s3://)"),
        ("region", _REGION, "eu-west-1"),
    ):
        if name in values and not pattern.fullmatch(values[name]):
            raise UserError(f"{name} '{values[name]}' ({where}) is not one AWS has. Expected such as {example}.")
    _check_tags(values.get("tags", {}), where)
    profile = Profile(**values, source=source)
    if bool(profile.subnets) != bool(profile.security_groups):
        raise UserError(f"subnets and security_groups ({where}) belong together: give both, or neither.")
    return profile


def _typed(name: str, value: object, where: str) -> Any:  # noqa: ANN401  as the field is
    """The value as its field has it. Raises UserError for one of another kind."""
    if name in _LISTS:
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list | tuple) and all(isinstance(each, str) and each.strip() for each in values):
            return tuple(each.strip() for each in values)
        raise UserError(f"{name} ({where}) is {value!r}. Expected a list of ids.")
    if name == "tags":
        if isinstance(value, Mapping) and all(isinstance(each, str) for each in value.values()):
            return dict(value)
        raise UserError(f"tags ({where}) are {value!r}. Expected names and texts, such as {{ team = 'vision' }}.")
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{name} ({where}) is {value!r}. Expected a text.")
    return value.strip()


def _check_tags(tags: Mapping[str, str], where: str) -> None:
    if len(tags) > _MOST_TAGS:
        raise UserError(f"{len(tags)} tags ({where}) are more than {_MOST_TAGS}, which leaves room for Kennel's own.")
    for key, value in tags.items():
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value) or key.lower().startswith("aws:"):
            raise UserError(f"Tag '{key}={value}' ({where}) is not one AWS takes: letters, digits and . : / = + - @ _.")
