"""Somebody's training script, as a framework estimator sends it: checked when the job is created, brought to ml/code.

SageMaker leaves it to the program in the image to fetch the source. Here the service does, so that what is wrong with
it is said at once, and a container needs no way to the local S3: the toolkits of Kennel's and of AWS's images leave a
code folder alone that has something in it.
"""

import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from kennel.errors import ContractError, UserError
from kennel.local.faults import invalid
from kennel.local.images import is_aws_image
from kennel.local.storage import LocalS3, S3Address, read_address
from kennel.local.validation import Json
from kennel.requirements_file import INSTALL, SWITCH, provide_requirements
from kennel.script_mode import OWN_PROGRAM, PROGRAM, SUBMIT_DIRECTORY, check_distribution, check_program, text_of

REQUIREMENTS: Final = "requirements.txt"
_CHANNELS: Final = PurePosixPath("/opt/ml/input/data")
_NOT_COPIED: Final = (".git", "__pycache__", ".venv", ".ipynb_checkpoints")
_SHOWN: Final = 8


@dataclass(frozen=True)
class Source:
    """program: the script's path in the source. uri: as the job names it. address: where that is; None: in an image."""

    program: str
    uri: str | None
    address: S3Address | Path | None


def source_of(request: Json) -> Source | None:
    """The script a CreateTrainingJob request brings along; None where it leaves that to the image.

    Raises UserError for a program's name, and ContractError for an address, that cannot be used.
    """
    hyperparameters, environment = request.get("HyperParameters", {}), request.get("Environment", {})
    program = text_of(hyperparameters, PROGRAM)
    uri = text_of(hyperparameters, SUBMIT_DIRECTORY) or environment.get(SUBMIT_DIRECTORY.upper())
    if program is None and uri is None:
        return None
    name = program or environment.get(PROGRAM.upper()) or OWN_PROGRAM
    check_program(name)
    return Source(name, uri, None if uri is None else _address(uri, request))


def check_source(request: Json, s3: LocalS3) -> None:
    """Raises ApiError for a source that is not there, cannot be unpacked, or has no such program."""
    with tempfile.TemporaryDirectory() as scratch:
        _checked_source(request, s3, Path(scratch) / "code")


def check_source_here(request: Json, s3: LocalS3, *, switch: str) -> None:
    """The same where the script runs among the packages of this checkout: also asks for what requirements.txt needs.

    switch: the service's own KENNEL_REQUIREMENTS.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "code"
        source = _checked_source(request, s3, folder)
        if source is None:
            return
        is_ours = source.uri is None and source.program == OWN_PROGRAM and not is_aws_image(_image_of(request))
        if source.address is None and is_ours:
            return
        if source.address is None:
            raise invalid(_nowhere(source))
        wanted = request.get("Environment", {}).get(SWITCH) or switch
        if wanted != INSTALL and (_folder_of(source, folder) / REQUIREMENTS).is_file():
            try:
                provide_requirements(_folder_of(source, folder) / REQUIREMENTS, folder, {SWITCH: wanted})
            except UserError as error:
                raise invalid(str(error)) from error


def check_ways_to_train(request: Json) -> None:
    """Raises ApiError for a way to train together that Kennel's programs do not know."""
    try:
        check_distribution(request.get("HyperParameters", {}))
    except UserError as error:
        raise invalid(str(error)) from error


def bring_source(source: Source, folder: Path, s3: LocalS3) -> None:
    """Fills `folder` with the source. Raises ContractError or OSError where it is not there any more."""
    if isinstance(source.address, Path) and source.address.is_dir():
        ignore = shutil.ignore_patterns(*_NOT_COPIED)
        shutil.copytree(source.address, folder, dirs_exist_ok=True, ignore=ignore)
    elif source.address is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _unpack(source, folder, s3)


def _checked_source(request: Json, s3: LocalS3, folder: Path) -> Source | None:
    """The source, unpacked into `folder` unless it is one already. Raises ApiError."""
    try:
        source = source_of(request)
        if source is None or source.address is None:
            return source
        if not (isinstance(source.address, Path) and source.address.is_dir()):
            bring_source(source, folder, s3)
        _check_content(source, _folder_of(source, folder))
    except (ContractError, UserError, ClientError, BotoCoreError) as error:
        raise invalid(str(error)) from error
    return source


def _folder_of(source: Source, unpacked: Path) -> Path:
    is_folder = isinstance(source.address, Path) and source.address.is_dir()
    return source.address if is_folder and isinstance(source.address, Path) else unpacked


def _check_content(source: Source, folder: Path) -> None:
    program = folder / source.program
    is_package = (folder / "setup.py").is_file() and program.with_suffix(".py").is_file()
    if program.is_file() or is_package:
        return
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    raise ContractError(
        f"The source at '{source.uri}' has no '{source.program}' ('{PROGRAM}', the estimator's entry_point). It has: "
        f"{', '.join(names[:_SHOWN]) or 'nothing'}{more}."
    )


def _unpack(source: Source, folder: Path, s3: LocalS3) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        archive = source.address if isinstance(source.address, Path) else Path(scratch) / "source.tar.gz"
        if isinstance(source.address, S3Address):
            if not s3.has_object(source.address):
                raise ContractError(
                    f"There is no object '{source.uri}', which '{SUBMIT_DIRECTORY}' names. The local S3 holds what was "
                    "uploaded since the service started: create the estimator again, so that it uploads its source."
                )
            s3.download(source.address, archive)
        elif not archive.exists():
            raise ContractError(f"There is nothing at '{source.uri}', which '{SUBMIT_DIRECTORY}' names.")
        if archive.suffix == ".py":  # a script alone; the toolkit takes one too
            shutil.copy2(archive, folder)
            return
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ContractError(
                f"The source at '{source.uri}' cannot be unpacked: {error}. Expected a tar.gz whose files stay inside "
                "the folder it is unpacked into (tar -czf sourcedir.tar.gz -C FOLDER .)."
            ) from error


def _address(uri: str, request: Json) -> S3Address | Path | None:
    """Where a source is. Of a path under /opt/ml/input/data the channel tells; other paths may be in the image."""
    if "://" in uri:
        return read_address(uri)
    path = PurePosixPath(uri)
    if path.is_relative_to(_CHANNELS) and len(path.parts) > len(_CHANNELS.parts):
        return _address_in_channel(path.relative_to(_CHANNELS), request)
    return Path(uri) if path.is_absolute() and Path(uri).exists() else None


def _address_in_channel(path: PurePosixPath, request: Json) -> S3Address | Path | None:
    """How the SDK sends source to a job without a network: in a channel `code`."""
    for channel in request.get("InputDataConfig", []):
        if channel["ChannelName"] == path.parts[0] and "S3DataSource" in channel["DataSource"]:
            address = read_address(channel["DataSource"]["S3DataSource"]["S3Uri"])
            rest = "/".join(path.parts[1:])
            if isinstance(address, Path):
                return address / rest if address.is_dir() else address
            return address if address.key.endswith(rest) else address.below(rest)
    return None


def _image_of(request: Json) -> str:
    return str(request.get("AlgorithmSpecification", {}).get("TrainingImage", ""))


def _nowhere(source: Source) -> str:
    if source.uri is not None:
        return (
            f"'{SUBMIT_DIRECTORY}' names '{source.uri}', and there is nothing on this machine. Expected one such "
            "as s3://BUCKET/KEY, file:///FOLDER, or a folder; a path in an image needs --on docker."
        )
    return (
        f"'{PROGRAM}' names '{source.program}', and no '{SUBMIT_DIRECTORY}' says where it is. Give the estimator an "
        "entry_point (and a source_dir), or run an image that holds the program with --on docker."
    )
