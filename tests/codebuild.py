"""CodeBuild's way with a buildspec, on this machine: its phases for real, in order, in one shell.

What is done as there: variables (start-build before buildspec), one bash for all commands of version 0.2, a failing
command ends its phase and never its `finally`, post_build after a failed build, artifacts and reports gathered
whatever happened. What is left out: runtime-versions, caches, secrets; what is not understood here is an error.
"""

import contextlib
import glob
import json
import os
import select
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jsonschema
import yaml

SCHEMA: Final = Path(__file__).with_name("buildspec.schema.json")
PHASES: Final = ("install", "pre_build", "build", "post_build")
# Nothing of the test's own surroundings counts in a build.
NOT_PASSED_ON: Final = ("AWS_", "CODEBUILD_", "ECR_", "KENNEL_", "PYTEST_", "COMMIT", "TAG", "TESTS")


class BuildspecError(Exception):
    """CodeBuild would refuse the file: YAML_FILE_ERROR."""


@dataclass(frozen=True)
class Phase:
    """status: SUCCEEDED, FAILED or SKIPPED. failed_command: the one that ended it, with its exit status."""

    name: str
    status: str
    failed_command: str = ""


@dataclass(frozen=True)
class Build:
    """What is left of a build. artifacts: the uploaded files, in artifact_folder. reports: test counts by group."""

    status: str
    phases: tuple[Phase, ...]
    log: str
    exported: dict[str, str]
    artifact_name: str
    artifact_folder: Path
    artifacts: tuple[str, ...]
    reports: dict[str, dict[str, int]]

    def phase(self, name: str) -> Phase:
        return next(phase for phase in self.phases if phase.name == name)


def load_buildspec(text: str) -> dict[str, Any]:
    """The buildspec, if CodeBuild would take it. Raises BuildspecError naming the place and the fault."""
    try:
        spec = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  a SafeLoader that refuses more
    except yaml.YAMLError as error:
        raise BuildspecError(f"not YAML: {error}") from error
    faults = sorted(_validator().iter_errors(spec), key=lambda fault: list(map(str, fault.absolute_path)))
    if faults:
        raise BuildspecError("; ".join(_sentence(fault) for fault in faults))
    return dict(spec)


def replacing(spec: Mapping[str, Any], beginning: str, command: str) -> dict[str, Any]:
    """The same buildspec with another command in place of those that begin like that."""
    changed = json.loads(json.dumps(spec))
    found = 0
    for phase in changed["phases"].values():
        for number, text in enumerate(phase.get("commands", ())):
            if text.startswith(beginning):
                phase["commands"][number] = command
                found += 1
    assert found, f"no command begins with '{beginning}'"
    return dict(changed)


def run_buildspec(
    spec: Mapping[str, Any],
    source: Path,
    output: Path,
    *,
    environment: Mapping[str, str] | None = None,
    commit: str = "",
    timeout_s: float = 600,
) -> Build:
    """Runs all phases in `source`, which stands for the downloaded source; `output` gets log.txt and artifacts/.

    environment: what start-build or the project sets, before the buildspec's own variables. timeout_s: for the whole
    build; then everything it started is killed.
    """
    _refuse_unknown(spec)
    output.mkdir(parents=True, exist_ok=True)
    variables = _variables(spec, source, environment or {}, commit)
    with Shell(spec.get("env", {}).get("shell", "/bin/sh"), source, variables, output / "log.txt") as shell:
        deadline = time.monotonic() + timeout_s
        phases = _run_phases(spec["phases"], shell, deadline)
        exported = {name: shell.variable(name) for name in spec.get("env", {}).get("exported-variables", ())}
        name = shell.expand(spec.get("artifacts", {}).get("name", "artifact"))
    phases, artifacts = _upload(spec.get("artifacts"), source, output / "artifacts", phases)
    return Build(
        "SUCCEEDED" if all(phase.status == "SUCCEEDED" for phase in phases) else "FAILED",
        tuple(phases),
        (output / "log.txt").read_text(errors="replace"),
        exported,
        name,
        output / "artifacts",
        tuple(artifacts),
        {group: _count_tests(report, source) for group, report in spec.get("reports", {}).items()},
    )


@dataclass
class Shell:
    """One shell that runs commands one after the other; directory, variables and functions stay, as in version 0.2."""

    program: str
    folder: Path
    variables: Mapping[str, str]
    log: Path
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _answers: int = field(default=-1, init=False)

    def __enter__(self) -> "Shell":
        self.log.write_bytes(b"")
        self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def run(self, command: str, deadline: float) -> int:
        """The command's exit status. A command that ends the shell itself (`exit 3`) leaves a fresh one behind."""
        with self.log.open("ab") as log:
            log.write(f"[Container] Running command {command}\n".encode())
        script = self.log.with_name("command.sh")
        script.write_text(command + "\n")
        answer = self._ask(f". {_quoted(str(script))} </dev/null 3>&-; printf '%s\\n' \"$?\"", deadline)
        if answer is not None:
            return int(answer)
        status = self._end()
        self._start()
        return status or 1

    def export(self, name: str, value: str) -> None:
        self._ask(f"export {name}={_quoted(value)}; echo", time.monotonic() + 10)

    def variable(self, name: str) -> str:
        return self._ask(f"printf '%s\\n' \"${{{name}-}}\"", time.monotonic() + 10) or ""

    def expand(self, text: str) -> str:
        """Text with this shell's variables put in."""
        return self._ask(f"printf '%s\\n' \"{text}\"", time.monotonic() + 10) or ""

    def _ask(self, line: str, deadline: float) -> str | None:
        """What the line prints beside the log; None when the shell ended. Raises TimeoutError at the deadline."""
        assert self._process and self._process.stdin
        self._process.stdin.write(f"{line} >&3\n".encode())
        self._process.stdin.flush()
        answer = b""
        while not answer.endswith(b"\n"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the build did not end in time; its log ends:\n{self.log.read_text()[-2000:]}")
            if select.select([self._answers], [], [], 0.1)[0]:
                read = os.read(self._answers, 65536)
                if not read:
                    return None
                answer += read
            elif self._process.poll() is not None:
                return None
        return answer.decode().rstrip("\n")

    def _start(self) -> None:
        self._answers, write_end = os.pipe()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # the shell answers on descriptor 3, which its commands do not get
                ["bash", "-c", f"exec {self.program} 3>&{write_end} {write_end}>&-"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=dict(self.variables),
                pass_fds=(write_end,),
                start_new_session=True,
            )
        os.close(write_end)

    def _end(self) -> int:
        """Ends the shell with all that it started; its exit status."""
        assert self._process and self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what it left running; the container would be gone too
        status = self._process.wait()
        os.close(self._answers)
        return status


def _run_phases(phases: Mapping[str, Any], shell: Shell, deadline: float) -> list[Phase]:
    """install and pre_build must succeed for what follows; post_build follows build however that ended."""
    done: list[Phase] = []
    is_over = False
    for name in PHASES:
        if name not in phases:
            continue
        if is_over:
            done.append(Phase(name, "SKIPPED"))
            continue
        phase = _run_phase(name, phases[name], shell, deadline)
        done.append(phase)
        if phase.status == "FAILED":
            shell.export("CODEBUILD_BUILD_SUCCEEDING", "0")
            is_over = name != "build" or phases[name].get("on-failure") == "ABORT"
    return done


def _run_phase(name: str, phase: Mapping[str, Any], shell: Shell, deadline: float) -> Phase:
    failed = _run_commands(phase.get("commands", ()), shell, deadline)
    if failed:
        shell.export("CODEBUILD_BUILD_SUCCEEDING", "0")
    failed_at_last = _run_commands(phase.get("finally", ()), shell, deadline)
    failed = failed or failed_at_last
    return Phase(name, "FAILED" if failed else "SUCCEEDED", failed)


def _run_commands(commands: Any, shell: Shell, deadline: float) -> str:  # noqa: ANN401  a list of YAML's
    """Runs them until one fails; that one with its exit status, or ""."""
    for command in commands:
        status = shell.run(command, deadline)
        if status:
            return f"{command} (exit status {status})"
    return ""


def _variables(spec: Mapping[str, Any], source: Path, environment: Mapping[str, str], commit: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(NOT_PASSED_ON)}
    own = {
        "CODEBUILD_BUILD_ID": "kennel:00000000-0000-0000-0000-000000000000",
        "CODEBUILD_BUILD_NUMBER": "1",
        "CODEBUILD_BUILD_SUCCEEDING": "1",
        "CODEBUILD_CI": "true",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": commit,
        "CODEBUILD_SRC_DIR": str(source),
    }
    declared = {key: str(value) for key, value in spec.get("env", {}).get("variables", {}).items()}
    return inherited | declared | own | dict(environment)


def _upload(
    artifacts: Mapping[str, Any] | None, source: Path, folder: Path, phases: list[Phase]
) -> tuple[list[Phase], list[str]]:
    """Copies the artifacts, also of a failed build; none at all fails the upload, as there."""
    if not artifacts:
        return phases, []
    base = source / artifacts.get("base-directory", ".")
    found = sorted({name for pattern in artifacts["files"] for name in _files(base, pattern)})
    for name in found:
        target = folder / (Path(name).name if artifacts.get("discard-paths") in (True, "yes") else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base / name, target)
    upload = Phase("upload_artifacts", "SUCCEEDED" if found else "FAILED", "" if found else "no matching files")
    return [*phases, upload], found


def _count_tests(report: Mapping[str, Any], source: Path) -> dict[str, int]:
    """tests, failures, errors and skipped over all files of a report group."""
    assert report.get("file-format", "JUNITXML") == "JUNITXML", report
    base = source / report.get("base-directory", ".")
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for name in sorted({name for pattern in report["files"] for name in _files(base, pattern)}):
        root = ElementTree.parse(base / name).getroot()  # noqa: S314  written by the build just before
        for suite in root.iter("testsuite"):
            for key in counts:
                counts[key] += int(suite.get(key, "0"))
    return counts


def _files(base: Path, pattern: str) -> list[str]:
    found = glob.glob(pattern, root_dir=base, recursive=True, include_hidden=True)
    return [name for name in found if (base / name).is_file()]


def _refuse_unknown(spec: Mapping[str, Any]) -> None:
    unknown = set(spec) - {"version", "env", "phases", "reports", "artifacts", "cache"}
    unknown |= set(spec.get("env", {})) - {"shell", "variables", "exported-variables"}
    for phase in spec["phases"].values():
        unknown |= set(phase) - {"runtime-versions", "commands", "finally", "on-failure"}
        assert phase.get("on-failure", "ABORT") == "ABORT", f"{phase['on-failure']} is not played here"
    assert not unknown, f"not played here: {sorted(unknown)}"


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which plain YAML would keep the last."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = sorted({str(key) for key in keys if keys.count(key) > 1})
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"'{', '.join(twice)}' is there twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _sentence(fault: jsonschema.ValidationError) -> str:
    place = "/".join(str(part) for part in fault.absolute_path) or "buildspec"
    return f"{place}: {fault.message}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
