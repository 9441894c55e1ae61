"""Rules over a trial: step by step while it grows, or all of it at once.

report = evaluate(open_trial(folder), build_rule("Overfit", {"ratio_threshold": "0.3"}))

A rule that has fired is IssuesFound, as on AWS, where it ends there; here it goes on looking and counting. A rule that
raises is an Error with its reason, and the others go on. Steps here are GLOBAL ones, over all modes; those of findings
count within the finding's mode.
"""

import logging
from dataclasses import asdict
from typing import Any

from kennel.debug.reports import NO_DATA, RuleReport
from kennel.debug.rules import Finding, Rule, TrialLike
from kennel.errors import KennelError
from kennel.rule_files import ERROR, FINDINGS_KEPT, IN_PROGRESS, ISSUES, NO_ISSUES, STOPPED, Json, condition_met

_LOG = logging.getLogger(__name__)


class Evaluation:
    """One rule on its way through a trial, and what is known of it so far.

    name: its RuleConfigurationName. start_step, end_step: the steps to look at, the end exclusive.
    """

    def __init__(
        self, rule: Rule, *, name: str | None = None, start_step: int = 0, end_step: int | None = None
    ) -> None:
        self._rule = rule
        self._name = name or rule.name
        self._start, self._end = start_step, end_step
        self._status, self._reason = IN_PROGRESS, ""
        self._fired_at: int | None = None
        self._last_step: int | None = None
        self._findings: list[Finding] = []
        self._violations = 0
        self._checks: list[Json] = []

    def look(self, trial: TrialLike, step: int) -> None:
        """Asks the rule about one step. Steps come in ascending order, each once."""
        if self._status == ERROR or step < self._start or (self._end is not None and step >= self._end):
            return
        try:
            self._take(self._rule.check(trial, step), step)
        except Exception as error:
            self._fail_at(f"at step {step}", error)
        self._last_step = step

    def look_while_waiting(self, idle_s: float) -> bool:
        """Asks the rule about having had no new step for so long, and whether it says anything."""
        if self._status == ERROR:
            return False
        before = self._violations
        try:
            self._take(self._rule.check_waiting(idle_s=idle_s), self._last_step or 0)
        except Exception as error:
            self._fail_at("while it waited", error)
        return self._violations > before or self._status == ERROR

    def settle(self, trial: TrialLike | None, *, is_complete: bool) -> None:
        """Nothing more comes: gives the rule its final status.

        trial: None if none was ever there. is_complete: whether the training ended, and not just the evaluation.
        """
        if trial is not None:
            self._sum_up(trial)
        if self._status != IN_PROGRESS:
            return
        if not is_complete:
            self._status = STOPPED
        elif trial is None or not trial.steps():
            self._status, self._reason = ERROR, NO_DATA
        else:
            self._status = NO_ISSUES

    def fail(self, reason: str) -> None:
        """The evaluation cannot go on; what was found stays."""
        self._status, self._reason = ERROR, reason

    def report(self, trial: TrialLike | None = None) -> RuleReport:
        """What is known now; with a trial, the rule's own checks are made anew."""
        if trial is not None:
            self._sum_up(trial)
        rule = self._rule
        return RuleReport(
            name=self._name,
            rule=rule.name,
            status=self._status,
            details=self._details(),
            parameters=asdict(rule.parameters),
            steps_seen=rule.steps_seen,
            steps_needed=rule.steps_needed,
            too_few=rule.too_few and not self._violations,
            checks=tuple(self._checks),
            findings=tuple(asdict(finding) for finding in self._findings),
            violations=self._violations,
            datapoints=rule.steps_seen,
            meaning=rule.meaning,
            remedy=rule.remedy,
        )

    def _take(self, found: list[Finding], step: int) -> None:
        self._violations += len(found)
        self._findings.extend(found[: FINDINGS_KEPT - len(self._findings)])
        if found and self._fired_at is None:
            self._fired_at, self._status = step, ISSUES

    def _sum_up(self, trial: TrialLike) -> None:
        if self._status == ERROR:
            return
        try:
            self._checks = [asdict(check) for check in self._rule.summary(trial)]
        except Exception as error:
            self._fail_at("in its summary", error)

    def _fail_at(self, place: str, error: Exception) -> None:
        """A rule that raises harms nobody else; its traceback is in the evaluator's log."""
        _LOG.error("rule %s failed %s", self._name, place, exc_info=error)
        what = str(error) if isinstance(error, KennelError) else f"{type(error).__name__}: {error}"
        self.fail(f"The rule failed {place}: {what}")

    def _details(self) -> str:
        if self._status == ERROR:
            return self._reason
        account = self._rule.account()
        if self._fired_at is not None:
            times = "once" if self._violations == 1 else f"{self._violations} times"
            sentence = condition_met(self._rule.name, self._fired_at)
            return f"{sentence}. First: {self._findings[0].message} Found {times}; {account}"
        if self._status == IN_PROGRESS:
            return f"so far {account}"
        return f"stopped before the training ended; {account}" if self._status == STOPPED else account


def evaluate(trial: TrialLike, rule: Rule, **options: Any) -> RuleReport:  # noqa: ANN401  see Evaluation
    """A rule over all steps that a trial has, as if the training had ended; `options` are Evaluation's."""
    evaluation = Evaluation(rule, **options)
    for step in trial.steps():
        evaluation.look(trial, step)
    evaluation.settle(trial, is_complete=True)
    return evaluation.report()
