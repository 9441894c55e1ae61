"""Hook, profiler and rules of a training job, as the SDK's own objects take them.

job = TrainingJob(..., debugging=recommended({"Overfit": {}, "ExplodingTensor": {}}))
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kennel.errors import UserError

Json = Mapping[str, Any]
_INTERVAL_MS: Final = 500
# The SDK puts the region's own image for it.
_ANY_IMAGE: Final = "DEFAULT_RULE_EVALUATOR_IMAGE"
_SOURCE: Final = "source_s3_uri"
_ACTIONS: Final = "action_json"


@dataclass(frozen=True)
class Debugging:
    """Entries of DebugRuleConfigurations and ProfilerRuleConfigurations, and what DebugHookConfig asks for.

    hook: its members; none of them, and the training saves what Kennel's hook does by itself.
    """

    debug_rules: Sequence[Json]
    profiler_rules: Sequence[Json] = ()
    hook: Json = field(default_factory=dict)


def recommended(rules: Mapping[str, Mapping[str, str]]) -> Debugging:
    """These built-in rules with these parameters, and the profiler's report."""
    return Debugging(
        debug_rules=[_entry(name, {"rule_to_invoke": name, **parameters}) for name, parameters in rules.items()],
        profiler_rules=[_entry("ProfilerReport", {"rule_to_invoke": "ProfilerReport"})],
    )


def from_file(path: Path, debug_rules: Sequence[Json], profiler_rules: Sequence[Json]) -> Debugging:
    """A file's rules, which were read from it and checked, and its DebugHookConfig if it has one.

    A custom rule's `source_s3_uri` may be a path, relative to the file: it is uploaded. Raises UserError.
    """
    content = json.loads(path.read_text())
    hook = content.get("DebugHookConfig") if isinstance(content, dict) else None
    if not isinstance(hook or {}, dict):
        raise UserError(f"DebugHookConfig in {path} is {str(hook)[:100]}. Expected an object, as in CreateTrainingJob.")
    return Debugging([_with_source(rule, path.parent) for rule in debug_rules], profiler_rules, hook or {})


def estimator_arguments(debugging: Debugging | None) -> dict[str, Any]:
    """What the SDK's Estimator is told; without debugging, that there is none: it would ask for a hook by itself."""
    if debugging is None:
        return {"debugger_hook_config": False, "disable_profiler": True}
    from sagemaker.debugger import CollectionConfig, DebuggerHookConfig, ProfilerConfig

    collections = [
        CollectionConfig(name=each["CollectionName"], parameters=_strings(each.get("CollectionParameters")) or None)
        for each in debugging.hook.get("CollectionConfigurations") or ()
    ]
    return {
        "debugger_hook_config": DebuggerHookConfig(
            s3_output_path=debugging.hook.get("S3OutputPath"),
            container_local_output_path=debugging.hook.get("LocalPath"),
            hook_parameters=_strings(debugging.hook.get("HookParameters")) or None,
            collection_configs=collections or None,
        ),
        "profiler_config": ProfilerConfig(system_monitor_interval_millis=_INTERVAL_MS),
        "rules": [*map(_debug_rule, debugging.debug_rules), *map(_profiler_rule, debugging.profiler_rules)],
    }


class _KeptActions:
    """action_json as it stands: the SDK writes its own Action objects there, and drops what is there without one."""

    def __init__(self, text: str) -> None:
        self._text = text

    def update_training_job_prefix_if_not_specified(self, training_job_name: str) -> None:
        """Without a prefix the job itself is meant anyway."""

    def serialize(self) -> str:
        return self._text


def _debug_rule(entry: Json) -> Any:  # noqa: ANN401  sagemaker.debugger.Rule, imported late
    from sagemaker.debugger import Rule

    parameters = _strings(entry.get("RuleParameters"))
    # Not Rule.sagemaker: it would add each rule's own collections every 500 steps, which sees nothing of a short epoch.
    rule = Rule.custom(**_common(entry), rule_parameters=parameters, collections_to_save=[])
    if _ACTIONS in parameters:
        rule.actions = _KeptActions(parameters[_ACTIONS])
    return rule


def _profiler_rule(entry: Json) -> Any:  # noqa: ANN401  sagemaker.debugger.ProfilerRule
    from sagemaker.debugger import ProfilerRule

    return ProfilerRule.custom(**_common(entry), rule_parameters=_strings(entry.get("RuleParameters")))


def _common(entry: Json) -> dict[str, Any]:
    return {
        "name": entry["RuleConfigurationName"],
        "image_uri": entry.get("RuleEvaluatorImage", _ANY_IMAGE),
        "instance_type": entry.get("InstanceType"),
        "volume_size_in_gb": entry.get("VolumeSizeInGB"),
        "container_local_output_path": entry.get("LocalPath"),
        "s3_output_path": entry.get("S3OutputPath"),
    }


def _entry(name: str, parameters: Mapping[str, str]) -> Json:
    return {"RuleConfigurationName": name, "RuleParameters": dict(parameters)}


def _with_source(rule: Json, folder: Path) -> Json:
    parameters = rule.get("RuleParameters") or {}
    source = str(parameters.get(_SOURCE) or "")
    if not source or source.startswith("s3://"):
        return rule
    path = folder / source.removeprefix("file://")
    if not path.exists():
        raise UserError(
            f"Rule '{rule.get('RuleConfigurationName')}': its {_SOURCE} '{source}' is neither an s3:// address nor a "
            f"file that is there ({path})."
        )
    return {**rule, "RuleParameters": {**parameters, _SOURCE: str(path.resolve())}}


def _strings(parameters: Json | None) -> dict[str, str]:
    """Parameters as the API carries them; a file written by hand may hold numbers, true and false."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in (parameters or {}).items()}
