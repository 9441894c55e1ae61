"""DebugRuleConfigurations of CreateTrainingJob: what each entry asks for, checked before anything runs.

echo '[{"RuleConfigurationName": "Overfit", "RuleParameters": {"rule_to_invoke": "Overfit"}}]' \
    | python -P -m kennel.debug.configuration
[{"RuleConfigurationName": "Overfit", "rule": "Overfit", "is_custom": false, "error": null}]

The local service asks that process when a job is created: one answer an entry, `error` null or a sentence for the user,
exit status 0 (2 if standard input holds no list). Neither torch nor smdebug is imported: it answers in half a second.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from kennel.debug.actions import STOP, Action, read_actions
from kennel.debug.rules import RULES, Rule, build_rule
from kennel.errors import KennelError, UserError
from kennel.rule_files import answer_check

Json = dict[str, Any]
# Parameters that say which rule runs on what; everything else belongs to the rule.
_RULE: Final = "rule_to_invoke"
_SOURCE: Final = "source_s3_uri"
_ACTIONS: Final = "action_json"
_OTHER_TRIAL: Final = re.compile(r"other_trial_(\d+)")
# SageMaker sets it to the job's own trial, whatever stands there.
_BASE_TRIAL: Final = "base_trial"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. :=+@-]{0,199}")
# The names of files that stand beside those of the rules.
_TAKEN: Final = ("rules",)


@dataclass(frozen=True)
class RuleOrder:
    """One entry of DebugRuleConfigurations, read.

    name: its RuleConfigurationName. rule: the class. parameters: the rule's own, strings as SageMaker sends them.
    source: s3:// of a custom rule's file. start_step and end_step: global steps to look at, the end exclusive.
    """

    name: str
    rule: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()
    source: str | None = None
    other_trials: tuple[str, ...] = ()
    start_step: int = 0
    end_step: int | None = None

    @property
    def is_custom(self) -> bool:
        return self.source is not None

    def build(self) -> Rule:
        """The built-in rule, ready to look. Raises UserError for an unknown rule, parameter or value."""
        return build_rule(self.rule, self.parameters)


def read_rule(entry: Mapping[str, Any]) -> RuleOrder:
    """What an entry asks for. Raises UserError naming the entry, the key, the value and the remedy."""
    name = entry.get("RuleConfigurationName")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
        raise UserError(
            f"RuleConfigurationName is {name!r}. Expected up to 200 letters, digits and ' _.:=+@-' that begin with a "
            f"letter, digit or _ and are not {' or '.join(map(repr, _TAKEN))}: a file is named after it."
        )
    try:
        return _read_rule(name, _strings(entry.get("RuleParameters") or {}))
    except UserError as error:
        raise UserError(f"Rule configuration '{name}': {error}") from error


def _read_rule(name: str, given: Mapping[str, str]) -> RuleOrder:
    rule, source = given.get(_RULE), given.get(_SOURCE)
    if not rule:
        raise UserError(
            f"RuleParameters lacks '{_RULE}'. Name a built-in rule ({', '.join(RULES)}), or a class of the file that "
            f"'{_SOURCE}' names. A rule container of one's own is not run here."
        )
    own = {key: value for key, value in given.items() if not _is_reserved(key)}
    known = () if source or rule not in RULES else _parameter_names(RULES[rule])
    start, end = (_step(own.pop(key, None), key) if key not in known else None for key in ("start_step", "end_step"))
    if start is not None and end is not None and end <= start:
        raise UserError(f"'end_step' is {end}, which is not above 'start_step', {start}: no step would be looked at.")
    return RuleOrder(
        name=name,
        rule=rule,
        parameters=own,
        actions=read_actions(given.get(_ACTIONS)) + _stop_on_fire(own),
        source=source or None,
        other_trials=_other_trials(given),
        start_step=start or 0,
        end_step=end,
    )


def _parameter_names(rule: type[Rule]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(rule.Parameters))


def _strings(parameters: object) -> dict[str, str]:
    """Parameters as the API carries them; a file written by hand may hold numbers, true and false."""
    if not isinstance(parameters, Mapping):
        raise UserError(f"RuleParameters is {parameters!r}. Expected an object of names and values.")
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in parameters.items()}


def _is_reserved(key: str) -> bool:
    return key in (_RULE, _SOURCE, _ACTIONS, _BASE_TRIAL) or bool(_OTHER_TRIAL.fullmatch(key))


def _other_trials(given: Mapping[str, str]) -> tuple[str, ...]:
    """The addresses of other_trial_0, other_trial_1..., by their numbers."""
    found = [(int(match[1]), value) for key, value in given.items() if (match := _OTHER_TRIAL.fullmatch(key))]
    return tuple(value for _, value in sorted(found))


def _step(value: str | None, key: str) -> int | None:
    if value is None:
        return None
    if not value.strip().isdigit():
        raise UserError(f"'{key}' is '{value}'. Expected a step: 0 or above.")
    return int(value)


def _stop_on_fire(parameters: Mapping[str, str]) -> tuple[Action, ...]:
    """StalledTrainingRule's own way to ask for StopTraining."""
    if parameters.get("stop_training_on_fire", "").lower() != "true":
        return ()
    return (Action(STOP, {"training_job_prefix": parameters.get("training_job_name_prefix", "")}),)


def check_rule(entry: Mapping[str, Any]) -> None:
    """Raises UserError if an entry cannot be evaluated: its name, rule, parameters or actions.

    A custom rule's class and own parameters are not looked at: its file is first loaded beside the job.
    """
    order = read_rule(entry)
    if order.is_custom:
        return
    try:
        order.build()
    except KennelError as error:
        raise UserError(f"Rule configuration '{order.name}': {error}") from error
    if order.other_trials:
        raise UserError(
            f"Rule configuration '{order.name}': '{order.rule}' compares no trials. Leave out other_trial_0."
        )


def check_rules(entries: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """For each entry, why it is refused, or None. A name that was there before is refused."""
    seen: set[object] = set()
    problems: list[str | None] = []
    for entry in entries:
        name = entry.get("RuleConfigurationName")
        problem = f"RuleConfigurationName '{name}' is there twice. Give each rule its own." if name in seen else None
        seen.add(name)
        try:
            check_rule(entry)
        except KennelError as error:
            problem = str(error)
        problems.append(problem)
    return problems


@dataclass(frozen=True)
class RulesFile:
    """SageMaker's rule configuration as JSON: entries of DebugRuleConfigurations and of ProfilerRuleConfigurations."""

    debug_rules: tuple[Json, ...]
    profiler_rules: tuple[Json, ...]


def read_rules_file(path: Path) -> RulesFile:
    """A list of DebugRuleConfigurations entries, or an object that holds both lists under SageMaker's names.

    Raises UserError for a file that is neither, and for a debug rule that cannot be evaluated.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"The rules in {path} cannot be read: {error}. Expected JSON.") from error
    content = {"DebugRuleConfigurations": content} if isinstance(content, list) else content
    if not isinstance(content, dict) or not content.keys() & {"DebugRuleConfigurations", "ProfilerRuleConfigurations"}:
        raise UserError(
            f"{path} holds no rules. Expected a list of DebugRuleConfigurations entries, or an object with "
            "DebugRuleConfigurations or ProfilerRuleConfigurations."
        )
    rules = RulesFile(
        _entries(content, "DebugRuleConfigurations", path), _entries(content, "ProfilerRuleConfigurations", path)
    )
    for problem in filter(None, check_rules(rules.debug_rules)):
        raise UserError(f"{path}: {problem}")
    return rules


def _entries(content: Json, key: str, path: Path) -> tuple[Json, ...]:
    entries = content.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{key} in {path} is {str(entries)[:100]}. Expected a list of objects.")
    return tuple(entries)


def main() -> int:
    """Answers for the entries on standard input; 2 if there is no list of objects there."""
    return answer_check("DebugRuleConfigurations", check_rules)


if __name__ == "__main__":
    sys.exit(main())
