"""The requirements.txt beside somebody's script: what of it is missing here, and how it is installed for one job alone.

SageMaker's toolkits run `pip install -r requirements.txt` in the environment that runs them. Here that environment is
shared, a checkout's or an image's, and mostly has no network: so what is there already is enough, what is not is said
before the script starts, and with KENNEL_REQUIREMENTS=install pip puts it into a folder that only this job sees:

    print(provide_requirements(Path("/opt/ml/code/requirements.txt"), Path("/tmp/packages"), os.environ))

Read by training and serving, which may not import each other.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement

from kennel.errors import UserError

SWITCH: Final = "KENNEL_REQUIREMENTS"
INSTALL: Final = "install"
# Options of one requirement, which say nothing of what is installed.
_OF_ONE_LINE: Final = re.compile(r"\s--?(hash|config-settings?|global-option|C)\b.*$")
_COMMENT: Final = re.compile(r"(^|\s)#.*$")
_NESTED: Final = re.compile(r"^(?:-r|--requirement)[\s=]*(.+)$")
# Options that say where pip looks; with `install` they are kept.
_SOURCES: Final = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--trusted-host")
_EDITABLE: Final = re.compile(r"^(?:-e|--editable)[\s=]*(.+)$")


class RequirementsError(UserError):
    """What a requirements.txt asks for is not here, and was not or could not be installed."""


def provide_requirements(file: Path, target: Path, environ: MutableMapping[str, str]) -> str:
    """Makes sure that what `file` asks for can be imported; a sentence for the log.

    With KENNEL_REQUIREMENTS=install in `environ` what is missing is installed into `target`, which comes to the
    front of its PYTHONPATH. Raises RequirementsError naming what is missing, or with pip's last line.
    """
    switch = environ.get(SWITCH, "")
    if switch not in ("", INSTALL):
        raise RequirementsError(f"{SWITCH} has value '{switch}'. Expected '{INSTALL}', or leave it out.")
    missing = missing_requirements(file)
    if not missing:
        return f"{file.name}: all of it is installed already."
    if switch != INSTALL:
        raise RequirementsError(
            f"{file.name} asks for what is not installed: {', '.join(missing)}. Set {SWITCH}={INSTALL} in the job's "
            f"environment (environment={{'{SWITCH}': '{INSTALL}'}}), or that of the local SageMaker when it starts, to "
            "have it installed for this job alone; or take the lines out of the file."
        )
    install_requirements(file, target)
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(target), environ.get("PYTHONPATH")]))
    environ["PATH"] = os.pathsep.join(filter(None, [str(target / "bin"), environ.get("PATH")]))
    return f"{file.name}: installed for this job alone, in {target}: {', '.join(missing)}."


def missing_requirements(file: Path) -> list[str]:
    """The lines that what is installed does not satisfy, in the file's order; lines for other machines do not count.

    A line for which another version is installed says so: `torch==2.5.0 (2.15.0 is installed)`. Addresses, folders and
    editable installs count as missing: nothing says what they hold.
    Raises RequirementsError for a file that cannot be read, or a line that is none of pip's.
    """
    return [line + _other_version(line) for line in _requirements(file) if not _is_installed_line(line, file)]


def install_requirements(file: Path, target: Path) -> None:
    """Installs what `file` asks for and this environment lacks into the folder `target`.

    The environment stays as it is, and what is installed in it already is not fetched again.
    Raises RequirementsError with pip's last line of an error.
    """
    if find_spec("pip") is None:
        raise RequirementsError(
            f"{file.name} cannot be installed: there is no pip in {sys.prefix}. Build an image that has what it asks "
            "for, or pack it into the source folder."
        )
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        _pip(file, "--dry-run", "--report", str(report), "--requirement", file.name)
        wanted = [_wanted(each) for each in json.loads(report.read_text())["install"]]
        if wanted:
            target.mkdir(parents=True, exist_ok=True)
            pinned = Path(scratch) / "pinned.txt"
            pinned.write_text("\n".join(wanted) + "\n")
            _pip(file, "--no-deps", "--target", str(target), *_sources(file), "--requirement", str(pinned))


def _wanted(item: dict[str, Any]) -> str:
    """A line of a requirements file for one thing that pip would install."""
    found = item["download_info"]
    name, url = item["metadata"]["name"], found["url"]
    if not item.get("is_direct"):
        return f"{name}=={item['metadata']['version']}"
    if "vcs_info" in found:
        url = f"{found['vcs_info']['vcs']}+{url}@{found['vcs_info']['commit_id']}"
    return f"{name} @ {url}"


def _pip(file: Path, *arguments: str) -> None:
    """Runs `pip install` in the file's folder, so that paths in the file mean what they say."""
    command = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *arguments]
    # A caller's settings may ask for another place than ours.
    environ = {key: value for key, value in os.environ.items() if key not in ("PIP_TARGET", "PIP_PREFIX", "PIP_USER")}
    done = subprocess.run(command, cwd=file.parent, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.upper().startswith("ERROR")] or lines
        print(done.stdout + done.stderr, flush=True)
        raise RequirementsError(f"pip could not install {file.name}: {errors[-1] if errors else 'it gave no reason'}")


def _requirements(file: Path, above: tuple[Path, ...] = ()) -> Iterator[str]:
    """Every line that names something to install, nested files' included."""
    for line in _lines(file):
        nested = _NESTED.match(line)
        if nested:
            inner = file.parent / nested[1].strip()
            if inner in (file, *above):
                raise RequirementsError(f"{file.name} includes itself: '{line}'. Take the line out.")
            yield from _requirements(inner, (file, *above))
        elif editable := _EDITABLE.match(line):
            yield editable[1].strip()
        elif not line.startswith("-"):  # -c only bounds what others ask for; the rest says how to look
            yield _OF_ONE_LINE.sub("", line).strip()


def _sources(file: Path) -> list[str]:
    """Options of the file that say where pip looks, as words of a command line."""
    words: list[str] = []
    for line in _lines(file):
        if line.split("=")[0].split()[0] in _SOURCES:
            words += re.split(r"[\s=]+", line, maxsplit=1)
    return words


def _lines(file: Path) -> list[str]:
    """The file's lines without comments, continued ones joined. Raises RequirementsError."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise RequirementsError(f"{file} cannot be read: {error.strerror}.") from error
    is_wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))  # `pip freeze >` of an old PowerShell
    text = data.decode("utf-16" if is_wide else "utf-8-sig", errors="replace")
    joined = re.sub(r"\\\r?\n", " ", text)
    return [line for line in (_COMMENT.sub("", each).strip() for each in joined.splitlines()) if line]


def _is_installed_line(line: str, file: Path) -> bool:
    if re.match(r"^(\w+\+)?\w+://|^\.{0,2}/|.*\.(whl|zip|tar\.gz)$|^\.{1,2}$", line) or (file.parent / line).is_dir():
        return False
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        raise RequirementsError(f"{file.name} has a line pip does not read: '{line}' ({error}).") from error
    return _is_installed(requirement, seen=frozenset())


def _other_version(line: str) -> str:
    name = re.match(r"[\w.-]+", line)
    try:
        return f" ({distribution(name[0]).version} is installed)" if name else ""
    except (PackageNotFoundError, ValueError):
        return ""


def _is_installed(requirement: Requirement, *, seen: frozenset[str], extra: str = "") -> bool:
    """Whether it is here in a version that will do, with what its extras ask for. extra: whose own line this is."""
    if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
        return True
    if requirement.url or str(requirement) in seen:
        return not requirement.url
    try:
        found = distribution(requirement.name)
    except PackageNotFoundError:
        return False
    if not requirement.specifier.contains(found.version, prereleases=True):
        return False
    inner = [Requirement(text) for text in found.requires or ()]
    return all(
        _is_installed(each, seen=seen | {str(requirement)}, extra=name)
        for name in requirement.extras
        for each in inner
        if each.marker and not each.marker.evaluate({"extra": ""})
    )
