"""What is run: the image's own train.py, or the script a framework estimator sent, which then wins over it.

sagemaker-training 5.1.4 lets the image's SAGEMAKER_PROGRAM win over the job's hyperparameter, leaves a code folder that
has something in it as it is without a word, and runs `pip install` in the environment it runs in itself. Here the job's
script wins, what cannot be fetched is named, and the environment stays as it is (kennel.requirements_file).
"""

import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError
from sagemaker_training import _entry_point_type, environment, files, process

from kennel.errors import UserError
from kennel.paths import ml_paths
from kennel.requirements_file import provide_requirements
from kennel.script_mode import (
    OWN_PROGRAM,
    PROGRAM,
    SUBMIT_DIRECTORY,
    check_distribution,
    check_program,
    text_of,
    wants_torchrun,
)

_FETCHING: Final = (BotoCoreError, ClientError, tarfile.TarError, EOFError, OSError, ValueError)
_SHOWN: Final = 8
_NAMES: Final = {
    _entry_point_type.PYTHON_PROGRAM: "python",
    _entry_point_type.PYTHON_PACKAGE: "package",
    _entry_point_type.COMMAND: "command",
}


@dataclass(frozen=True)
class UserScript:
    """What the job says of its program.

    is_users: somebody's script, which knows nothing of Kennel; else the image's. uri: where its source is, if anywhere.
    asks_for_torchrun: the job wants it started once for each GPU of each host.
    """

    program: str
    uri: str | None
    is_users: bool
    asks_for_torchrun: bool


def choose_program(hyperparameters: Mapping[str, object]) -> UserScript:
    """The program of this job; also puts its name where the toolkit looks for it. Raises UserError."""
    asked = text_of(hyperparameters, PROGRAM)
    uri = text_of(hyperparameters, SUBMIT_DIRECTORY) or os.environ.get(SUBMIT_DIRECTORY.upper())
    if asked is not None:
        os.environ[PROGRAM.upper()] = asked
    program = os.environ.get(PROGRAM.upper()) or OWN_PROGRAM
    is_users = uri is not None or asked not in (None, OWN_PROGRAM)
    if is_users:
        check_program(program)
        check_distribution(hyperparameters)
    return UserScript(program, uri, is_users, is_users and wants_torchrun(hyperparameters))


def prepare_script(script: UserScript, variables: Mapping[str, str]) -> None:
    """Brings the source and what it requires; afterwards this process's environment is what the script starts with.

    variables: SM_HOSTS and the others. Raises UserError for a source or requirements that are not there.
    """
    code_dir = Path(environment.code_dir)
    if script.uri is not None:
        _fetch(script.uri, code_dir)
    if script.is_users:
        _check_is_there(script, code_dir)
    os.environ.update(variables)
    paths = [code_dir, code_dir / "src"] if kind_of(script.program) == "package" else [code_dir]
    if (code_dir / "requirements.txt").is_file():
        said = provide_requirements(code_dir / "requirements.txt", ml_paths().base / "packages", os.environ)
        print(said, flush=True)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, paths), *([before] if before else [])])
    if kind_of(script.program) == "command" and (code_dir / script.program).is_file():
        (code_dir / script.program).chmod(0o755)


def kind_of(program: str) -> str:
    """python: a file. package: a module of a source with a setup.py. command: anything else, which a shell starts."""
    return _NAMES[_entry_point_type.get(environment.code_dir, program)]


def command_of(program: str, arguments: list[str]) -> list[str]:
    """What starts a program of the source folder, run in that folder."""
    if kind_of(program) != "package":
        command: list[str] = process.ProcessRunner(program, arguments, {}, 1)._create_command()
        return command
    # The toolkit would install the source with pip first; its folder, and src/ in it, are on PYTHONPATH instead.
    module = process.validate_entry_point(program).removesuffix(".py").replace("/", ".")
    return [process.python_executable(), "-m", module, *arguments]


def _fetch(uri: str, code_dir: Path) -> None:
    """Fills the code folder, unless the platform has: the local SageMaker does, AWS does not."""
    if code_dir.is_dir() and any(code_dir.iterdir()):
        print(f"The source is in {code_dir}: {uri}", flush=True)
        return
    try:
        files.download_and_extract(uri.removeprefix("file://"), str(code_dir))
    except _FETCHING as error:
        raise UserError(
            f"The source at '{uri}' ('{SUBMIT_DIRECTORY}') cannot be fetched: {error}. Expected a tar.gz in S3 that "
            "the job's role may read, or a folder."
        ) from error


def _check_is_there(script: UserScript, code_dir: Path) -> None:
    program = code_dir / script.program
    if program.is_file() or (kind_of(script.program) == "package" and program.with_suffix(".py").is_file()):
        return
    names = sorted(path.name for path in code_dir.iterdir())
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    raise UserError(
        f"There is no '{script.program}' ('{PROGRAM}') in {code_dir}. It has: {', '.join(names[:_SHOWN]) or 'nothing'}"
        f"{more}. Give the estimator's entry_point as a path in its source_dir."
    )
