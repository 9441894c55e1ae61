"""The evaluator of a job's debug rules: runs beside the training, and ends when that has.

    python -P -m kennel.debug.watch runs/first/rules/rules.json                      # all built-in rules
    python -P -m kennel.debug.watch runs/first/rules/rules.json --custom my_rule     # one of the user's own

It looks for new steps every second and writes runs/first/rules/<RuleConfigurationName>.json when something has changed,
until training_job_end.ts is among the tensors and every step was looked at. SIGTERM ends it within seconds: what is
there is looked at, and a rule that had not fired is Stopped.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kennel.debug.configuration import RuleOrder
from kennel.debug.evaluate import Evaluation
from kennel.debug.orders import Orders, read_orders
from kennel.debug.publishing import Publisher
from kennel.debug.reports import RuleReport, has_tensors
from kennel.debug.stopping import GRACE_S, StopSignal, TimeIsUp
from kennel.errors import KennelError
from kennel.rule_files import END_FILE, ERROR, IN_PROGRESS, STOPPED

if TYPE_CHECKING:
    from kennel.debug.tensors import Trial

_LOG = logging.getLogger(__name__)
POLL_S: Final = 1.0
_WRITE_EVERY_S: Final = 1.0
_NICE: Final = 10


class Watch:
    """The built-in rules of a job over its trial, which grows."""

    def __init__(self, orders: Orders, *, stop: StopSignal, publisher: Publisher, is_finished: bool = False) -> None:
        """is_finished: nothing more will be saved, marker or not."""
        self._orders = orders
        self._is_finished = is_finished
        self._stop = stop
        self._publisher = publisher
        self._evaluations: list[tuple[RuleOrder, Evaluation]] = []
        self._trial: Trial | None = None
        self._trouble = ""  # why the trial could not be read last time
        self._last_step = -1
        self._newest_at = time.monotonic()
        self._published = 0.0
        self._is_changed = False

    def run(self) -> None:
        """Evaluates until the training or the evaluation ends, and leaves every rule with a final status."""
        for order in self._orders.built_in:
            self._begin(order)
        is_complete = False
        try:
            self._publish()
            is_complete = self._follow()
        except TimeIsUp:
            _LOG.warning("stopped before all that was saved was looked at")
        self._stop.forget()
        for _, evaluation in self._evaluations:
            if self._trouble:
                evaluation.fail(self._trouble)
            evaluation.settle(self._trial, is_complete=is_complete)
        self._publish()

    def _begin(self, order: RuleOrder) -> None:
        try:
            rule = order.build()
        except KennelError as error:
            report = RuleReport(name=order.name, rule=order.rule, status=ERROR, details=str(error))
            self._publisher.publish(order, report)
            return
        evaluation = Evaluation(rule, name=order.name, start_step=order.start_step, end_step=order.end_step)
        self._evaluations.append((order, evaluation))

    def _follow(self) -> bool:
        """Returns when the training has ended (True) or SIGTERM came before (False)."""
        while True:
            is_ending = self._stop.is_wanted
            is_complete = self._refresh()
            self._look_at_new_steps()
            if is_complete or is_ending:
                return is_complete
            self._look_while_waiting()
            self._publish_now_and_then()
            self._stop.wait(POLL_S)

    def _refresh(self) -> bool:
        """Reads what was saved since; whether the training had ended before it was read."""
        is_complete = self._is_finished or (self._orders.tensors / END_FILE).exists()
        try:
            if self._trial is not None:
                self._trial.refresh()
            elif has_tensors(self._orders.tensors):
                from kennel.debug.tensors import open_trial  # takes seconds: smdebug imports torch

                self._trial = open_trial(self._orders.tensors)
            self._trouble = ""
        except KennelError as error:  # perhaps a file that is just being written: asked again
            self._trouble = str(error)
        return is_complete

    def _look_at_new_steps(self) -> None:
        if self._trial is None or self._trouble:
            return
        for step in [step for step in self._trial.steps() if step > self._last_step]:
            for _, evaluation in self._evaluations:
                evaluation.look(self._trial, step)
            self._last_step, self._is_changed = step, True
            self._newest_at = time.monotonic()
            self._publish_now_and_then()

    def _look_while_waiting(self) -> None:
        idle_s = time.monotonic() - self._newest_at
        for _, evaluation in self._evaluations:
            self._is_changed |= evaluation.look_while_waiting(idle_s)

    def _publish_now_and_then(self) -> None:
        """At most once a second, and only if there is something new: a rule's summary may read many tensors."""
        if time.monotonic() - self._published < _WRITE_EVERY_S:
            return
        if self._is_changed:
            self._publish()
        else:
            self._publisher.refresh()

    def _publish(self) -> None:
        self._published, self._is_changed = time.monotonic(), False
        for order, evaluation in self._evaluations:
            self._publisher.publish(order, evaluation.report(self._trial))
        self._publisher.refresh()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one evaluator; 0 whatever the rules found, else the exit status of a KennelError."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    os.nice(_NICE)  # the training comes first
    stop = StopSignal()
    stop.install()
    try:
        _evaluate(read_orders(arguments.orders), arguments.custom, stop, is_finished=arguments.finished)
    except KennelError as error:
        print(f"kennel.debug.watch: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _evaluate(orders: Orders, custom: str | None, stop: StopSignal, *, is_finished: bool) -> None:
    publisher = Publisher(orders)
    if custom is None:
        Watch(orders, stop=stop, publisher=publisher, is_finished=is_finished).run()
    else:
        _evaluate_custom(orders, orders.custom_rule(custom), stop, publisher, is_finished=is_finished)
    if stop.is_wanted:
        publisher.close(GRACE_S)
    else:
        publisher.close()


def _evaluate_custom(
    orders: Orders, order: RuleOrder, stop: StopSignal, publisher: Publisher, *, is_finished: bool
) -> None:
    publisher.publish(order, RuleReport(name=order.name, rule=order.rule, status=IN_PROGRESS, details="starting"))
    try:
        from kennel.debug.custom import CustomEvaluation  # takes seconds: smdebug imports torch
    except TimeIsUp:
        details = "stopped before anything was looked at"
        publisher.publish(order, RuleReport(name=order.name, rule=order.rule, status=STOPPED, details=details))
        return
    CustomEvaluation(orders, order, stop=stop, publisher=publisher, is_finished=is_finished).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -P -m kennel.debug.watch", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("orders", type=Path, metavar="ORDERS_FILE", help="runs/<job>/rules/rules.json")
    parser.add_argument("--custom", metavar="NAME", help="evaluate only the custom rule configuration NAME")
    parser.add_argument("--finished", action="store_true", help="nothing more will be saved, marker or not")
    return parser


if __name__ == "__main__":
    sys.exit(main())
