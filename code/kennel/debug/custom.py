"""A user's own rule: a subclass of smdebug.rules.Rule (the SDK's `Rule.custom`), evaluated beside the job.

    python -P -m kennel.debug.watch runs/first/rules/rules.json --custom my_rule

runs in a process of its own, because the file may do anything: loop, crash, change smdebug. The rule is made as in
AWS's container: base_trial, other_trials and RuleParameters as strings. One that fires is counted and asked again.
"""

import ast
import importlib.util
import inspect
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from smdebug.exceptions import (
    NoMoreData,
    RuleEvaluationConditionMet,
    StepUnavailable,
    TensorUnavailable,
    TensorUnavailableForStep,
)
from smdebug.rules import Rule
from smdebug.trials import create_trial

from kennel.debug.configuration import RuleOrder
from kennel.debug.orders import Orders
from kennel.debug.publishing import Publisher
from kennel.debug.reports import NO_DATA, RuleReport, has_tensors
from kennel.debug.stopping import StopSignal, TimeIsUp
from kennel.errors import KennelError, UserError
from kennel.rule_files import (
    END_FILE,
    ERROR,
    FINDINGS_KEPT,
    IN_PROGRESS,
    ISSUES,
    NO_ISSUES,
    STOPPED,
    Json,
    condition_met,
)

POLL_S: Final = 1.0
_WRITE_EVERY_S: Final = 1.0
_MEANING: Final = "A rule of your own: what it means is written in its file."


def find_rule_file(source: Path, class_name: str) -> Path:
    """The Python file that defines a class: `source` itself, or one in that folder. Raises UserError if none does."""
    files = [source] if source.is_file() else sorted(source.rglob("*.py"))
    for path in files:
        if class_name in _classes(path):
            return path
    known = ", ".join(sorted({name for path in files for name in _classes(path)})) or "none"
    raise UserError(
        f"No class '{class_name}' is defined in {source} (classes there: {known}). "
        "rule_to_invoke names a class of the file that source_s3_uri names."
    )


def _classes(path: Path) -> set[str]:
    try:
        tree = ast.parse(path.read_text())
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"The rule's file {path} cannot be read as Python: {error}.") from error
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def load_rule_class(source: Path, class_name: str) -> type[Rule]:
    """Runs the user's file, whose own folder can be imported from. Raises UserError if the class is no smdebug rule."""
    path = find_rule_file(source, class_name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"The rule's file {path} is no Python module. Its name ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    found = getattr(module, class_name)
    if not (inspect.isclass(found) and issubclass(found, Rule)):
        raise UserError(f"'{class_name}' of {path} is no subclass of smdebug.rules.Rule. Derive it from that.")
    return found


def build_custom_rule(rule_class: type[Rule], order: RuleOrder, base_trial: Any, others: list[Any]) -> Rule:  # noqa: ANN401
    """The rule with base_trial, other_trials and its own parameters, which are strings as in AWS's container.

    Raises UserError for a parameter that the class does not take, or one that it needs and did not get.
    """
    # The guide's examples call super().__init__(base_trial); smdebug's last release wants an action_str as well.
    Rule.__init__.__defaults__ = ("", None)
    given: dict[str, Any] = {"base_trial": base_trial, **order.parameters}
    wanted = inspect.signature(rule_class).parameters
    for key, step in (("start_step", order.start_step), ("end_step", order.end_step)):
        if key in wanted and step is not None:
            given[key] = str(step)
    if others:
        given["other_trials"] = others
    if "action_str" in wanted:
        given["action_str"] = ""
    try:
        inspect.signature(rule_class).bind(**given)
    except TypeError as error:
        takes = ", ".join(map(str, wanted.values()))
        raise UserError(
            f"{rule_class.__name__} cannot be made of {_list(order.parameters)}: {error}. It takes: {takes}."
        ) from error
    return rule_class(**given)


def _list(parameters: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in parameters.items()) or "no parameters"


def local_address(address: str) -> str:
    """What smdebug opens: a folder for file://, else the address itself."""
    parts = urlsplit(address)
    return unquote(parts.path) if parts.scheme == "file" else address


class CustomEvaluation:
    """One custom rule from the first step to the last, and what is known of it meanwhile."""

    def __init__(
        self, orders: Orders, order: RuleOrder, *, stop: StopSignal, publisher: Publisher, is_finished: bool = False
    ) -> None:
        """is_finished: nothing more will be saved, marker or not."""
        self._orders = orders
        self._order = order
        self._stop = stop
        self._publisher = publisher
        self._is_finished = is_finished
        self._status, self._details = IN_PROGRESS, ""
        self._steps: list[int] = []
        self._last_step = order.start_step - 1
        self._missing = ""
        self._findings: list[Json] = []
        self._violations = 0
        self._published = 0.0

    def run(self) -> None:
        """Evaluates to the end and leaves a final status, whatever the user's code does."""
        try:
            self._publish()
            self._follow()
        except TimeIsUp:
            self._settle(is_complete=False)
        except KennelError as error:
            self._fail(str(error))
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            self._fail(self._where(error))
        self._stop.forget()
        self._publish()

    def _follow(self) -> None:
        source = self._orders.custom_sources.get(self._order.name)
        if source is None or not source.exists():
            raise UserError(f"The file of '{self._order.name}' was not brought here: {self._order.source}.")
        rule_class = load_rule_class(source, self._order.rule)
        if not self._wait_for_trial():
            return self._settle(is_complete=not self._stop.is_wanted)
        trial = create_trial(str(self._orders.tensors), name=self._orders.job_name)
        others = [create_trial(local_address(address)) for address in self._order.other_trials]
        self._look(trial, build_custom_rule(rule_class, self._order, trial, others))
        return None

    def _wait_for_trial(self) -> bool:
        """Whether anything was saved; create_trial itself would wait without end."""
        folder = self._orders.tensors
        while True:
            ended = self._is_finished or (folder / END_FILE).exists()
            if has_tensors(folder):
                return True
            if ended or self._stop.is_wanted:
                return False
            self._stop.wait(POLL_S)

    def _look(self, trial: Any, rule: Rule) -> None:  # noqa: ANN401  a trial of smdebug, which has no types
        while True:
            new = [step for step in trial.steps() if step > self._last_step]
            is_complete = self._is_finished or trial.loaded_all_steps
            for step in new:
                if self._order.end_step is not None and step >= self._order.end_step:
                    return self._settle(is_complete=True)
                if self._invoke(rule, step):
                    return self._settle(is_complete=True)
                self._publish_now_and_then()
            if is_complete or self._stop.is_wanted:
                return self._settle(is_complete=is_complete)
            self._publish_now_and_then()
            self._stop.wait(POLL_S)

    def _invoke(self, rule: Rule, step: int) -> bool:
        """Asks the rule for one step; whether it wants to be asked no more."""
        self._last_step = step
        try:
            rule.invoke(step)
        except (TensorUnavailableForStep, StepUnavailable, TensorUnavailable) as error:
            self._missing = str(error)
            return False
        except NoMoreData:
            return True
        except RuleEvaluationConditionMet as error:
            self._steps.append(step)
            self._find(step, error)
            return bool(error.end_of_rule)
        self._steps.append(step)
        return False

    def _find(self, step: int, error: RuleEvaluationConditionMet) -> None:
        self._violations += 1
        if len(self._findings) < FINDINGS_KEPT:
            nothing = dict.fromkeys(("tensor", "measure", "value", "threshold"))
            self._findings.append({"step": step, "mode": "GLOBAL", **nothing, "message": str(error)})
        if self._violations == 1:
            self._status = ISSUES
            self._publish()

    def _settle(self, *, is_complete: bool) -> None:
        """The final status of a rule that ended without an error."""
        if self._violations:
            self._status = ISSUES
        elif not is_complete:
            self._status, self._details = STOPPED, f"stopped after {self._looked()}"
        elif self._last_step < self._order.start_step:
            self._status, self._details = ERROR, NO_DATA
        else:
            self._status, self._details = NO_ISSUES, self._looked() + ("; the rule did not fire" if self._steps else "")

    def _looked(self) -> str:
        if not self._steps:
            return f"looked at 0 steps: nothing can be said. {self._missing}".rstrip()
        return f"looked at {len(self._steps)} saved steps, {self._steps[0]} to {self._steps[-1]}"

    def _fail(self, reason: str) -> None:
        self._status, self._details = ERROR, reason

    def _where(self, error: BaseException) -> str:
        """The user's own line in which it happened, and what."""
        source = self._orders.custom_sources[self._order.name]
        folder = (source if source.is_dir() else source.parent).resolve()
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if folder in Path(frame.filename).resolve().parents]
        place = f" at {Path(theirs[-1].filename).name}:{theirs[-1].lineno} in {theirs[-1].name}" if theirs else ""
        return f"The rule's own code failed{place}: {type(error).__name__}: {error}"

    def _publish_now_and_then(self) -> None:
        if time.monotonic() - self._published >= _WRITE_EVERY_S:
            self._publish()

    def _publish(self) -> None:
        self._published = time.monotonic()
        self._publisher.publish(self._order, self._report())

    def _report(self) -> RuleReport:
        details = self._details
        if self._violations and self._status != ERROR:
            details = f"{condition_met(self._order.rule, self._findings[0]['step'])}; {self._looked()}"
        return RuleReport(
            name=self._order.name,
            rule=self._order.rule,
            status=self._status,
            details=details or f"{self._looked()} so far",
            parameters=self._order.parameters,
            steps_seen=len(self._steps),
            too_few=not self._steps and self._status != IN_PROGRESS,
            findings=tuple(self._findings),
            violations=self._violations,
            datapoints=len(self._steps),
            meaning=_MEANING,
        )
