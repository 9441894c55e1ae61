"""Which script answers for a model: somebody's inference.py in the archive's code/, or none, and then Kennel.

    SAGEMAKER_PROGRAM            inference.py: the script's file
    SAGEMAKER_SUBMIT_DIRECTORY   /opt/ml/model/code: its folder; file://FOLDER, or s3://BUCKET/KEY.tar.gz

These are what the SageMaker SDK sets when it is given entry_point= and source_dir=. An archive that has a model.json
and no script is Kennel's own. Exercise it: pytest tests/unit/serving/test_source_dir.py
"""

import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from sagemaker_inference import environment, parameters

from kennel.errors import ArchiveError, ContractError, UserError
from kennel.model.archive import CARD_FILE

SUBMIT_DIRECTORY: Final = "SAGEMAKER_SUBMIT_DIRECTORY"
_MODEL_DIR: Final = PurePosixPath("/opt/ml/model")
_JIT_SUFFIXES: Final = (".pt", ".pth")
_SHOWN: Final = 8


@dataclass(frozen=True)
class SourceDir:
    """A folder with somebody's code. program: the script's file in it; None where the archive is a network alone."""

    folder: Path
    program: Path | None


def find_script(model_dir: Path, environ: Mapping[str, str]) -> SourceDir | None:
    """Where the script of a model is; None for an archive of Kennel's without one.

    Code that is in S3 comes into a new temporary folder. Raises ArchiveError for an archive with neither a script nor
    anything that can be served without, and UserError for a script or folder that the environment names and that is not
    there.
    """
    asked = environ.get(parameters.USER_PROGRAM_ENV, "").strip()
    folder = _folder(environ.get(SUBMIT_DIRECTORY, "").strip(), model_dir)
    program = _program(folder, asked or environment.DEFAULT_MODULE_NAME)
    if program is not None:
        return SourceDir(folder, program)
    if asked and not (has_card(model_dir) and asked == environment.DEFAULT_MODULE_NAME):
        raise UserError(
            f"{parameters.USER_PROGRAM_ENV} is '{asked}', and {folder} has no such file: {_content(folder)}. "
            "Deploy with entry_point= naming the script (in source_dir=, if that is given)."
        )
    if has_card(model_dir):
        return None
    if len(jit_files(model_dir)) == 1:
        return SourceDir(folder, None)
    raise ArchiveError(
        f"{model_dir} has no {CARD_FILE} and no code/{environment.DEFAULT_MODULE_NAME}: {_content(model_dir)}. "
        f"Expected a Kennel training's model.tar.gz, or an archive with a script that has a model_fn: "
        f"entry_point='{environment.DEFAULT_MODULE_NAME}' in the SDK's PyTorchModel() or deploy(){_hint(model_dir)}."
    )


def has_card(model_dir: Path) -> bool:
    """Whether an archive is Kennel's own; it may be one folder deep."""
    return (model_dir / CARD_FILE).is_file() or len(list(model_dir.glob(f"[!.]*/{CARD_FILE}"))) == 1


def jit_files(model_dir: Path) -> list[Path]:
    """The files that may be a network in TorchScript; model.pt alone, where there is one."""
    named = model_dir / "model.pt"
    if named.is_file():
        return [named]
    return sorted(path for path in model_dir.glob("*") if path.suffix in _JIT_SUFFIXES and path.is_file())


def _folder(address: str, model_dir: Path) -> Path:
    if address.startswith("s3://"):
        return _fetched(address, Path(tempfile.mkdtemp(prefix="script-")) / "code")
    if not address:
        return model_dir / "code"
    path = PurePosixPath(address.removeprefix("file://"))
    if path.is_relative_to(_MODEL_DIR):  # which may stand elsewhere
        return model_dir / path.relative_to(_MODEL_DIR)
    folder = model_dir / path
    if not folder.is_dir():
        raise UserError(
            f"{SUBMIT_DIRECTORY} is '{address}', and {folder} is not a folder. Expected {_MODEL_DIR}/code, "
            "file://FOLDER, or s3://BUCKET/KEY.tar.gz."
        )
    return folder


def _program(folder: Path, name: str) -> Path | None:
    """The file of a program that is named as a file or as a module."""
    stem = folder / name.removesuffix(".py")
    candidates = (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _fetched(address: str, folder: Path) -> Path:
    """The folder that a sourcedir.tar.gz in S3 was unpacked into."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = address.removeprefix("s3://").partition("/")
    folder.mkdir()
    archive = folder.with_name("sourcedir.tar.gz")
    try:
        boto3.Session().client("s3").download_file(bucket, key, str(archive))
    except (ClientError, BotoCoreError, ValueError) as error:
        raise UserError(f"{SUBMIT_DIRECTORY} is '{address}', which cannot be read: {error}.") from error
    try:
        with tarfile.open(archive, "r:gz") as tar:
            _extract(tar, folder)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ContractError(f"{SUBMIT_DIRECTORY} is '{address}', which is no tar.gz of code ({error}).") from error
    archive.unlink()
    return folder


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    for member in tar.getmembers():
        path = PurePosixPath(member.name)
        if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
            raise tarfile.TarError(f"'{member.name}' is a link, a device, or outside the folder")
    # Python before 3.11.4, such as Debian 12's, has no filters; can go when it is no longer supported.
    options: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    tar.extractall(folder, **options)  # noqa: S202  every member was looked at


def _content(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else None
    if names is None:
        return "there is no such folder"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it holds {', '.join(names[:_SHOWN])}{more}" if names else "it is empty"


def _hint(model_dir: Path) -> str:
    """What is nearly right."""
    scripts = sorted(path.relative_to(model_dir) for path in model_dir.glob("code/*.py"))
    if scripts:
        return f". If {scripts[0]} is that script, say so: {parameters.USER_PROGRAM_ENV}={scripts[0].name}"
    if nested := sorted(model_dir.glob("*/code/*.py")):
        return f". {nested[0].relative_to(model_dir)} is a folder too deep: pack from inside {nested[0].parts[-3]}/"
    if (model_dir / environment.DEFAULT_MODULE_NAME).is_file():
        return f". {environment.DEFAULT_MODULE_NAME} is at the top of the archive; it belongs into code/"
    return ""
