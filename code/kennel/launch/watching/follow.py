"""Follows a training job or an endpoint while it comes about, wherever it runs: see kennel.launch.watching.watch."""

from typing import Any, Final

from kennel.launch.places import Place
from kennel.launch.watching.kinds import ENDPOINT, TRAINING
from kennel.launch.watching.rule_lines import RuleLines, wait_for_rules
from kennel.launch.watching.watch import watch_kind

FINISHED: Final = ("Completed", "Failed", "Stopped")


def follow_training(name: str, place: Place) -> dict[str, Any]:
    """Shows the job's log as it grows and each rule that fires, and returns the last description, rules settled.

    On this machine Ctrl-C stops the job, which keeps its checkpoint and its best model so far; a second one leaves it
    running. On AWS it asks.
    """
    description = watch_kind(TRAINING, name, place)
    rules = RuleLines()
    list(rules.new(description))  # said already
    description = wait_for_rules(description, place)
    for line in rules.new(description):
        print(line, flush=True)
    return description


def wait_for_endpoint(name: str, place: Place) -> dict[str, Any]:
    """DescribeEndpoint's answer once the endpoint is InService or Failed."""
    return watch_kind(ENDPOINT, name, place)
