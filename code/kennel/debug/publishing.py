"""Where evaluators write: one JSON a rule, and at a rule's first finding its actions.

publisher = Publisher(orders); publisher.publish(order, report); publisher.close()
"""

from kennel.debug.actions import COMMAND_LIMIT_S, ActionRunner, stops_training
from kennel.debug.configuration import RuleOrder
from kennel.debug.orders import Orders
from kennel.debug.reports import RuleFile, RuleReport


class Publisher:
    """The files of a job's rules. A rule's file is written when something in it has changed, and never half."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._runner = ActionRunner(orders.job_name)
        self._files = {order.name: RuleFile(orders.rules_dir, order.name) for order in orders.rules}
        self._last: dict[str, tuple[RuleOrder, RuleReport]] = {}

    def publish(self, order: RuleOrder, report: RuleReport) -> None:
        """Writes a rule's report. At its first finding that is written before its actions begin."""
        self._last[order.name] = (order, report)
        self._write(order, report)
        if report.findings and order.actions:
            self._runner.fire(order.name, order.actions, report.to_json())

    def refresh(self) -> None:
        """Writes what became of actions since."""
        for order, report in self._last.values():
            self._write(order, report)

    def close(self, wait_s: float = COMMAND_LIMIT_S) -> None:
        """Waits for actions that are under way, at most so long, and writes what became of them."""
        self._runner.close(wait_s)
        self.refresh()

    def _write(self, order: RuleOrder, report: RuleReport) -> None:
        content = report.to_json()
        content["stop_training"] = bool(report.findings) and stops_training(order.actions, self._orders.job_name)
        content["actions"] = self._runner.outcomes(order.name)
        self._files[order.name].write(content)
