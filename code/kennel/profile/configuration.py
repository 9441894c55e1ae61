"""ProfilerRuleConfigurations of CreateTrainingJob: what each entry asks for, checked before anything runs.

echo '[{"RuleConfigurationName": "Report", "RuleParameters": {"rule_to_invoke": "ProfilerReport"}}]' \
    | python -P -m kennel.profile.configuration
[{"RuleConfigurationName": "Report", "rule": "ProfilerReport", "is_custom": false, "error": null}]

As kennel.debug.configuration: one answer an entry, exit status 0 (2 if standard input holds no list of objects).
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kennel.errors import KennelError, UserError
from kennel.profile.rules import REPORT, RULES, build_rules
from kennel.profile.rules.base import Rule
from kennel.rule_files import answer_check

_RULE: Final = "rule_to_invoke"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. :=+@-]{0,199}")
_TAKEN: Final = "rules"  # rules.json stands beside the rules' files


@dataclass(frozen=True)
class RuleOrder:
    """One entry, read. name: its RuleConfigurationName. rule: one of RULES, or ProfilerReport."""

    name: str
    rule: str
    parameters: Mapping[str, str]

    def build(self) -> list[Rule]:
        """The rules it stands for. Raises UserError for a parameter or value."""
        return build_rules(self.rule, self.parameters)


def read_rule(entry: Mapping[str, Any]) -> RuleOrder:
    """What an entry asks for. Raises UserError naming the entry, the key, the value and the remedy."""
    name = entry.get("RuleConfigurationName")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == _TAKEN:
        raise UserError(
            f"RuleConfigurationName is {name!r}. Expected up to 200 letters, digits and ' _.:=+@-' that begin with a "
            f"letter, digit or _ and are not '{_TAKEN}': a file is named after it."
        )
    given = entry.get("RuleParameters") or {}
    if not isinstance(given, Mapping):
        raise UserError(f"Rule configuration '{name}': RuleParameters is {given!r}. Expected names and values.")
    parameters = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    rule = parameters.pop(_RULE, None)
    if not rule:
        raise UserError(
            f"Rule configuration '{name}': RuleParameters lacks '{_RULE}'. Name a built-in rule: "
            f"{', '.join([*RULES, REPORT])}. A rule container of one's own is not run here."
        )
    return RuleOrder(name, rule, parameters)


def check_rules(entries: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """For each entry, why it is refused, or None. A name that was there before is refused."""
    seen: set[str] = set()
    problems: list[str | None] = []
    for entry in entries:
        name = str(entry.get("RuleConfigurationName"))
        problem = _problem(entry)
        if problem is None and name in seen:
            problem = f"RuleConfigurationName '{name}' is there twice. Give each rule its own."
        seen.add(name)
        problems.append(problem)
    return problems


def _problem(entry: Mapping[str, Any]) -> str | None:
    try:
        order = read_rule(entry)
    except KennelError as error:
        return str(error)
    try:
        order.build()
    except KennelError as error:
        return f"Rule configuration '{order.name}': {error}"
    return None


def main() -> int:
    """Answers for the entries on standard input; 2 if there is no list of objects there."""
    return answer_check("ProfilerRuleConfigurations", check_rules)


if __name__ == "__main__":
    sys.exit(main())
