"""The evaluator of a job's profiler rules: runs beside the training, and ends when that has.

    python -P -m kennel.profile.watch runs/first/rules/rules.json

It looks every few seconds and writes runs/first/rules/<RuleConfigurationName>.json, and SageMaker's result files below
`rule_output`, when something has changed, until system/training_job_end.ts is there. SIGTERM ends it after a last look.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from kennel.errors import ContractError, KennelError
from kennel.profile.configuration import RuleOrder, read_rule
from kennel.profile.evaluation import Folder, describe, failed
from kennel.profile.rules.base import Rule
from kennel.rule_files import END_FILE, read_orders_json, write_json

_LOOK_S: Final = 1.0
_EVALUATE_S: Final = 5.0
# An evaluation takes this share of the time at most: it grows with the samples of a long training.
_SHARE: Final = 0.05
_NICE: Final = 10


class Watch:
    """The profiler rules of a job. orders: what the local service wrote. is_finished: the training is over already."""

    def __init__(self, orders: dict[str, Any], *, is_finished: bool = False) -> None:
        self._is_finished = is_finished
        try:
            self._folder = Path(orders["profiler"])
            self._rules_dir = Path(orders["rules_dir"])
            self._rule_output = Path(orders["rule_output"]) if orders.get("rule_output") else None
            entries = orders.get("profiler_rules") or []
            self._orders = [read_rule(entry) for entry in entries]
        except (KeyError, TypeError, AttributeError) as error:
            raise ContractError(
                f"The orders lack or garble {error}. Expected profiler, rules_dir, rule_output and profiler_rules."
            ) from error
        self._data = Folder(self._folder)
        self._rules: list[tuple[RuleOrder, list[Rule]]] = []
        self._written: dict[Path, str] = {}

    def run(self, is_ended: Callable[[float], bool]) -> None:
        """Evaluates until the training has ended, or `is_ended`, which waits so many seconds at most, says so."""
        if self._is_finished:
            self._begin()
            self._evaluate(is_over=True, is_stopped=False)
            return
        self._begin()
        due, is_over, is_stopped = 0.0, False, False
        while not is_over and not is_stopped:
            is_stopped = is_ended(_LOOK_S)
            is_over = (self._folder / "system" / END_FILE).exists()
            if is_over or is_stopped or time.monotonic() >= due:
                began = time.monotonic()
                self._evaluate(is_over=is_over, is_stopped=is_stopped)
                taken = time.monotonic() - began
                due = time.monotonic() + max(_EVALUATE_S, taken / _SHARE)

    def _begin(self) -> None:
        for order in self._orders:
            try:
                self._rules.append((order, order.build()))
            except KennelError as error:
                self._write(self._rules_dir / f"{order.name}.json", failed(order.rule, order.name, error))

    def _evaluate(self, *, is_over: bool, is_stopped: bool) -> None:
        evidence = self._data.evidence(is_over=is_over)
        for order, rules in self._rules:
            try:
                content, results = describe(rules, evidence, rule_name=order.rule, name=order.name, stopped=is_stopped)
            except Exception as error:  # a rule of ours that fails must not take the others with it
                content, results = failed(order.rule, order.name, error), {}
            self._write(self._rules_dir / f"{order.name}.json", content)
            for rule, result in results.items() if self._rule_output else ():
                folder = Path(str(self._rule_output), order.name, "profiler-output", "profiler-reports")
                self._write(folder / f"{rule}.json", result)

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        """Replaces a file, unless all but the times in it is as it was."""
        essence = json.dumps(_without_times(content), default=str)
        if self._written.get(path) != essence:
            write_json(path, content)
            self._written[path] = essence


def _without_times(content: dict[str, Any]) -> dict[str, Any]:
    rules = {"rules": [_without_times(rule) for rule in content["rules"]]} if "rules" in content else {}
    return {key: value for key, value in content.items() if key != "LastModifiedTime"} | rules


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one evaluator; 0 whatever the rules found, else the exit status of a KennelError."""
    parser = argparse.ArgumentParser(
        prog="python -P -m kennel.profile.watch", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("orders", type=Path, metavar="ORDERS_FILE", help="runs/<job>/rules/rules.json")
    parser.add_argument("--finished", action="store_true", help="the training is over: one look, without waiting")
    arguments = parser.parse_args(argv)
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    os.nice(_NICE)  # the training comes first
    try:
        watch = Watch(read_orders_json(arguments.orders), is_finished=arguments.finished)
        watch.run(lambda seconds: signal.sigtimedwait(ends, seconds) is not None)
    except KennelError as error:
        print(f"kennel.profile.watch: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
