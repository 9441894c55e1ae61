"""What a request's hook, profiler and rules must satisfy beyond each member's own limits.

Rules between members come first, as AWS has them; then each rule's own name and parameters are judged by those who
will evaluate it, in a process of a second (kennel.debug.configuration, kennel.profile.configuration).
"""

import json
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from kennel.errors import ContractError
from kennel.local.debug_layout import TENSORS, rules_of, source_of
from kennel.local.faults import ApiError, invalid
from kennel.local.log_file import tail
from kennel.local.machine import Machine, program_environ
from kennel.local.ml_folder import is_profiled
from kennel.local.processes import Program
from kennel.local.storage import LocalS3, S3Address, read_address
from kennel.local.validation import Json

INTERVALS_MS: Final = (100, 200, 500, 1000, 5000, 60000)
_STEP_KEY: Final = re.compile(r"((train|eval|predict|global)\.)?(save_interval|start_step|end_step)")
_STEPS_KEY: Final = re.compile(r"((train|eval|predict|global)\.)?save_steps")
_OPT_ML: Final = PurePosixPath("/opt/ml")
# There from the beginning, while smdebug wants a folder that is not.
_TAKEN: Final = ("model", "output", "output/data", "output/profiler", "output/tensorboard")
_CHECK_LIMIT_S: Final = 60.0
_CHECKERS: Final = {
    "DebugRuleConfigurations": "kennel.debug.configuration",
    "ProfilerRuleConfigurations": "kennel.profile.configuration",
}


def check_debugging(request: Json, s3: LocalS3) -> None:
    """Raises ApiError for a CreateTrainingJob request whose hook, profiler or rules AWS would refuse, or that cannot
    be done here."""
    check_debug_members(request)
    for member, uri in _outputs(request):
        _check_bucket(member, uri, s3)
    for rule in rules_of(request):
        if source := source_of(rule):
            _check_source(rule["RuleConfigurationName"], source, s3)


def check_debug_members(request: Json) -> None:
    """Raises ApiError for a hook, a profiler or rules that AWS would refuse: nothing of what is on this machine."""
    hook = request.get("DebugHookConfig")
    if hook is None and request.get("DebugRuleConfigurations"):
        raise invalid(
            "DebugRuleConfigurations needs a DebugHookConfig, whose tensors the rules look at. "
            "Give DebugHookConfig={'S3OutputPath': 's3://...'}."
        )
    if hook is not None:
        _check_hook(hook)
    check_profiler(request)
    _check_names(rules_of(request))


def check_profiler(description: Json) -> None:
    """Raises ApiError for a ProfilerConfig, or ProfilerRuleConfigurations beside it, that contradicts itself."""
    config = description.get("ProfilerConfig", {})
    interval_ms = config.get("ProfilingIntervalInMilliseconds", 500)
    if interval_ms not in INTERVALS_MS:
        raise invalid(
            f"Invalid ProfilingIntervalInMilliseconds {interval_ms} in ProfilerConfig. "
            f"Expected one of: {', '.join(map(str, INTERVALS_MS))}."
        )
    if is_profiled(description) and not config.get("S3OutputPath"):
        raise invalid("ProfilerConfig needs an S3OutputPath unless DisableProfiler is true.")
    if description.get("ProfilerRuleConfigurations") and not is_profiled(description):
        raise invalid(
            "ProfilerRuleConfigurations needs a ProfilerConfig with an S3OutputPath, and DisableProfiler not true: "
            "there would be nothing for the rules to look at."
        )


def check_update(request: Json, description: Json, s3: LocalS3) -> None:
    """Raises ApiError for an UpdateTrainingJob request that cannot be done.

    description: of the job, with what the request changes.
    """
    for member, why in (
        ("ResourceConfig", "there is no warm pool on this machine whose time could be changed"),
        ("RemoteDebugConfig", "a job on this machine is reached without AWS Systems Manager, as any process is"),
    ):
        if member in request:
            raise invalid(f"UpdateTrainingJob's {member} is not supported by the local SageMaker: {why}. Leave it out.")
    without_rules = {key: value for key, value in description.items() if key != "ProfilerRuleConfigurations"}
    check_profiler(description if request.get("ProfilerRuleConfigurations") else without_rules)
    _check_names(rules_of(description))
    for member, uri in _outputs(description):
        _check_bucket(member, uri, s3)


def check_rules(machine: Machine, request: Json) -> None:
    """Raises ApiError naming the rule, the key, its value and the remedy for a rule that could not be evaluated."""
    for member, module in _CHECKERS.items():
        if not request.get(member):
            continue
        for answer in _ask(machine, module, request[member]):
            if answer.get("error"):
                raise invalid(f"{member}: {answer['error']}")


def _check_hook(hook: Json) -> None:
    path = PurePosixPath(hook.get("LocalPath", TENSORS))
    taken = [_OPT_ML / each for each in _TAKEN]
    inside = path.is_relative_to(_OPT_ML / "output") or path.is_relative_to(_OPT_ML / "model")
    if path in taken or not inside or ".." in path.parts:
        raise invalid(
            f"Value '{path}' at 'debugHookConfig.localPath' cannot be used: it must be a folder of the hook's own, not "
            f"there beforehand, in /opt/ml/output. Expected one such as {TENSORS}."
        )
    _check_parameters("DebugHookConfig.HookParameters", hook.get("HookParameters", {}))
    collections = hook.get("CollectionConfigurations", [])
    for each in collections:  # the SDK adds those of the rules to the hook's own: of two with one name the last counts
        if not each.get("CollectionName"):
            raise invalid("DebugHookConfig.CollectionConfigurations has an entry without CollectionName. Give it one.")
        _check_parameters(f"collection '{each['CollectionName']}'", each.get("CollectionParameters", {}))


def _check_parameters(where: str, parameters: Json) -> None:
    """Steps and intervals are numbers; what else a hook takes is its own to judge."""
    for key, value in parameters.items():
        is_interval = key.endswith("save_interval")
        if _STEP_KEY.fullmatch(key) and not (value.strip().isdigit() and int(value) >= is_interval):
            expected = "1 or more" if is_interval else "0 or more"
            raise invalid(f"'{key}' of {where} has value '{value}'. Expected a number of steps, {expected}.")
        if _STEPS_KEY.fullmatch(key) and not all(each.strip().isdigit() for each in value.split(",")):
            raise invalid(f"'{key}' of {where} has value '{value}'. Expected steps separated by commas, as in 0,10,20.")


def _check_names(rules: list[Json]) -> None:
    for name, count in Counter(rule["RuleConfigurationName"] for rule in rules).items():
        if count > 1:
            raise invalid(f"Duplicate RuleConfigurationName '{name}'. Give each rule of a job its own name.")
        if "/" in name or name.startswith("."):
            raise invalid(f"RuleConfigurationName '{name}' cannot be used: a folder is named after it.")


def _outputs(request: Json) -> Iterator[tuple[str, str]]:
    if "DebugHookConfig" in request:
        yield "DebugHookConfig", request["DebugHookConfig"]["S3OutputPath"]
    if is_profiled(request):
        yield "ProfilerConfig", request["ProfilerConfig"]["S3OutputPath"]
    for rule in rules_of(request):
        if "S3OutputPath" in rule:
            yield f"Rule '{rule['RuleConfigurationName']}'", rule["S3OutputPath"]


def _check_bucket(member: str, uri: str, s3: LocalS3) -> None:
    address = _address(uri)
    if isinstance(address, S3Address) and not s3.has_bucket(address.bucket):
        raise invalid(
            f"{member}: the bucket of '{uri}' is not in the local S3. Create it "
            f"(s3.create_bucket(Bucket='{address.bucket}')) or use a file:// address."
        )


def _check_source(name: str, source: str, s3: LocalS3) -> None:
    address = _address(source)
    if not (address.exists() if isinstance(address, Path) else s3.keys(address)):
        raise invalid(
            f"Rule '{name}': there is nothing at its source_s3_uri '{source}'. Upload the rule's .py file there first "
            "(the local S3 holds what was uploaded since the service started)."
        )


def _address(uri: str) -> S3Address | Path:
    try:
        return read_address(uri)
    except ContractError as error:
        raise invalid(str(error)) from error


def _ask(machine: Machine, module: str, entries: list[Json]) -> list[Any]:
    """A checker's answers, one an entry. It runs under a guard, as everything does that the service starts."""
    folder = machine.layout.local_dir / "checks" / secrets.token_hex(4)
    folder.mkdir(parents=True)
    try:
        (folder / "entries.json").write_text(json.dumps(entries))
        words = (*machine.settings.companion_command, module)
        program = Program(
            owner=f"checks/{folder.name}",
            command=("sh", "-c", '"$@" < entries.json > answers.json', "check", *words),
            environ=program_environ(machine, image={}, user={}, platform={}),
            cwd=folder,
            log=folder / "log.txt",
            grace_s=1.0,
        )
        running = machine.processes.start(program)
        code = running.wait(_CHECK_LIMIT_S)
        machine.processes.end(running)
        if code != 0:
            raise ApiError("InternalFailure", f"{module} could not judge the rules: {tail(program.log)}", status=500)
        return list(json.loads((folder / "answers.json").read_text()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
