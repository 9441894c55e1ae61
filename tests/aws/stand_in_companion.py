"""Stands in for the evaluators, the sampler and the checkers of rules: does what a rule's parameters say.

Called as they are: MODULE ARGUMENT... A rule's `said` are the statuses it gets one after the other, 0.2 s each; with
`lasting` it then goes on until it is ended; `stop` asks for StopTraining; `dies` ends with 3 and says nothing. The
checker refuses a rule whose `rule_to_invoke` is Nonsense.
"""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

MODULE, *ARGUMENTS = sys.argv[1:]


def check() -> None:
    answers = []
    for rule in json.load(sys.stdin):
        bad = rule["RuleParameters"]["rule_to_invoke"] == "Nonsense"
        name = rule["RuleConfigurationName"]
        answers.append({"RuleConfigurationName": name, "error": f"'{name}': no rule 'Nonsense'." if bad else None})
    print(json.dumps(answers))


def sample() -> None:
    options = dict(zip(ARGUMENTS[::2], ARGUMENTS[1::2], strict=True))
    file = Path(options["--output"]) / "system" / "incremental" / f"{options['--interval-ms']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        while True:
            stream.write("{}\n")
            stream.flush()
            time.sleep(0.1)


class Rules:
    """The rules of the orders that this evaluator has."""

    def __init__(self) -> None:
        self.orders = json.loads(Path(ARGUMENTS[0]).read_text())
        kind = "debug_rules" if MODULE == "kennel.debug.watch" else "profiler_rules"
        custom = ARGUMENTS[2] if "--custom" in ARGUMENTS else None
        self.rules = [
            rule
            for rule in self.orders[kind]
            if (rule["RuleConfigurationName"] == custom if custom else "source_s3_uri" not in rule["RuleParameters"])
        ]
        self.last: dict[str, str] = {}

    def write(self, rule: dict[str, Any], status: str) -> None:
        name, parameters = rule["RuleConfigurationName"], rule["RuleParameters"]
        self.last[name] = status
        report = {
            "RuleConfigurationName": name,
            "RuleName": parameters["rule_to_invoke"],
            "RuleEvaluationStatus": status,
            "StatusDetails": f"it is {status}; source {self.source(name)}",
            "LastModifiedTime": time.time(),
            "stop_training": "stop" in parameters and status == "IssuesFound",
        }
        part = Path(self.orders["rules_dir"]) / f".{name}.part"
        part.write_text(json.dumps(report))
        part.replace(part.with_name(f"{name}.json"))

    def source(self, name: str) -> list[str]:
        source = self.orders["custom_sources"].get(name)
        return sorted(path.name for path in Path(source).rglob("*")) if source else []

    def run(self) -> None:
        for number in range(max(len(rule["RuleParameters"]["said"].split()) for rule in self.rules)):
            for rule in self.rules:
                self.say(rule, number)
            time.sleep(0.2)
        while any("lasting" in rule["RuleParameters"] for rule in self.rules):
            time.sleep(0.1)

    def say(self, rule: dict[str, Any], number: int) -> None:
        said = rule["RuleParameters"]["said"].split()
        if number < len(said):
            if said[number] == "dies":
                print("something broke", flush=True)
                sys.exit(3)
            self.write(rule, said[number])

    def stop(self, number: int, frame: object) -> None:
        for rule in self.rules:
            if self.last.get(rule["RuleConfigurationName"], "InProgress") == "InProgress":
                self.write(rule, "Stopped")
        sys.exit(0)


if MODULE.endswith(".configuration"):
    check()
elif MODULE.endswith(".sampler"):
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    sample()
else:
    rules = Rules()
    signal.signal(signal.SIGTERM, rules.stop)
    rules.run()
