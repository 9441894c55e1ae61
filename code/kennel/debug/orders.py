"""runs/<job>/rules/rules.json: what the evaluators of a job are to do. The local service writes it before the job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kennel.debug.configuration import RuleOrder, read_rule
from kennel.errors import ContractError, UserError
from kennel.rule_files import read_orders_json

ORDERS_FILE = "rules.json"


@dataclass(frozen=True)
class Orders:
    """The rules of one job and the folders they look into.

    tensors: what the hook saves. rules_dir: where each rule's JSON goes. custom_sources: the local copy of each custom
    rule's source_s3_uri, a file or a folder, by the rule's configuration name.
    """

    job_name: str
    tensors: Path
    rules_dir: Path
    rules: tuple[RuleOrder, ...]
    custom_sources: Mapping[str, Path] = field(default_factory=dict)

    @property
    def built_in(self) -> tuple[RuleOrder, ...]:
        return tuple(rule for rule in self.rules if not rule.is_custom)

    @property
    def custom(self) -> tuple[RuleOrder, ...]:
        return tuple(rule for rule in self.rules if rule.is_custom)

    def custom_rule(self, name: str) -> RuleOrder:
        """The custom rule of a name. Raises UserError if there is none."""
        for rule in self.custom:
            if rule.name == name:
                return rule
        known = ", ".join(rule.name for rule in self.custom) or "none"
        raise UserError(f"The orders have no custom rule '{name}'. Those they have: {known}.")


def read_orders(path: Path) -> Orders:
    """Raises ContractError for a file that cannot be read as orders, UserError for a rule in it that is none."""
    content = read_orders_json(path)
    try:
        return Orders(
            job_name=str(content["job_name"]),
            tensors=Path(content["tensors"]),
            rules_dir=Path(content["rules_dir"]),
            rules=tuple(read_rule(entry) for entry in content.get("debug_rules") or []),
            custom_sources={name: Path(source) for name, source in (content.get("custom_sources") or {}).items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ContractError(
            f"The orders in {path} lack or garble {error}. Expected job_name, tensors, rules_dir and debug_rules."
        ) from error
