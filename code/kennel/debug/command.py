"""What `kennel debug` does: rules over a run that has ended, with other thresholds, without training again.

    kennel debug first --rule Overfit -p ratio_threshold=0.3
    kennel debug s3://bucket/first-1/debug-output --rules rules.json

Rules: those that are named, else those of the run, else the recommended ones. The run's own rules/ are left as they
are, and actions are not done again.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kennel.debug.configuration import RuleOrder, RulesFile, check_rules, read_rule, read_rules_file
from kennel.debug.finished import FinishedRun, find_run
from kennel.debug.reports import RuleReport
from kennel.debug.rules import RECOMMENDED
from kennel.errors import ContractError, KennelError, UserError
from kennel.job_output import download
from kennel.rule_files import ERROR, ISSUES, NO_ISSUES, Json, read_orders_json, write_json

_FOUND: Final = 1
# A user's own rule, or the profiler's rules over hours of samples: minutes at most.
_PROCESS_LIMIT_S: Final = 600.0
_NARROW: Final = 100


@dataclass(frozen=True)
class DebugRequest:
    """What the verb was asked. source: a name, a folder or an address. parameters: of the one rule that is named."""

    source: str
    runs: Path
    rules_file: Path | None = None
    rules: Sequence[str] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    is_json: bool = False
    save: Path | None = None
    local_s3: Mapping[str, str] | None = None


def run(request: DebugRequest) -> int:
    """Prints what the rules say; 0 if none fired, 1 if one did, 4 if one could not be evaluated and none fired.

    Raises UserError for what is not there, and for rules that cannot be evaluated.
    """
    asked = _asked(request)
    with find_run(request.source, runs=request.runs, local_s3=request.local_s3) as finished:
        rules, sources = asked or _own(finished)
        reports = evaluate_finished(finished, rules, sources, local_s3=request.local_s3)
    for report in reports if request.save else ():
        write_json(Path(request.save or "") / f"{report['RuleConfigurationName']}.json", report)
    if request.is_json:
        print(json.dumps({"source": request.source, "rules": reports}, indent=2, allow_nan=False))
    else:
        print(table(reports))
    statuses = {report["RuleEvaluationStatus"] for report in reports}
    if ISSUES in statuses:
        return _FOUND
    return ContractError.exit_status if ERROR in statuses else 0


def read_parameters(assignments: Sequence[str]) -> dict[str, str]:
    """`key=value` words. Raises UserError for a word that is none."""
    pairs = [word.partition("=") for word in assignments]
    for word, (key, equals, _) in zip(assignments, pairs, strict=True):
        if not key or not equals:
            raise UserError(f"'-p {word}' is no assignment. Write -p name=value, such as -p ratio_threshold=0.3.")
    return {key: value for key, _, value in pairs}


_Rules = tuple[RulesFile, Mapping[str, Path]]


def _asked(request: DebugRequest) -> _Rules | None:
    """The rules that the request itself names, or None."""
    if request.parameters and len(request.rules) != 1:
        raise UserError("-p belongs to one rule. Name it: --rule Overfit -p ratio_threshold=0.3.")
    entries = [
        {"RuleConfigurationName": rule, "RuleParameters": {"rule_to_invoke": rule, **request.parameters}}
        for rule in request.rules
    ]
    for problem in filter(None, check_rules(entries)):
        raise UserError(problem)
    if request.rules_file is None:
        return (RulesFile(tuple(entries), ()), {}) if entries else None
    rules = read_rules_file(request.rules_file)
    return RulesFile((*rules.debug_rules, *entries), rules.profiler_rules), {}


def _own(finished: FinishedRun) -> _Rules:
    """The run's own rules, else the recommended ones."""
    if finished.orders is not None:
        orders = read_orders_json(finished.orders)
        debug, profiler = orders.get("debug_rules") or (), orders.get("profiler_rules") or ()
        if debug or profiler:
            sources = {name: Path(path) for name, path in (orders.get("custom_sources") or {}).items()}
            return RulesFile(tuple(debug), tuple(profiler)), sources
    entries = (
        {"RuleConfigurationName": name, "RuleParameters": {"rule_to_invoke": name, **parameters}}
        for name, parameters in RECOMMENDED.items()
    )
    return RulesFile(tuple(entries), ()), {}


def evaluate_finished(
    finished: FinishedRun,
    rules: RulesFile,
    sources: Mapping[str, Path],
    *,
    local_s3: Mapping[str, str] | None = None,
) -> list[Json]:
    """Each rule's JSON. sources: local files of custom rules, by their configurations' names; the rest is fetched."""
    orders = [read_rule(entry) for entry in rules.debug_rules]
    with tempfile.TemporaryDirectory(prefix="kennel-rules-") as name:
        folder = Path(name)
        custom = [order for order in orders if order.is_custom]
        found = {order.name: _source(order, sources, folder, local_s3) for order in custom}
        _write_orders(folder / "rules.json", finished, rules, found)
        reports = _built_in(finished.tensors, [order for order in orders if not order.is_custom])
        for order in custom:
            reports += _by_process(folder, "kennel.debug.watch", "--finished", "--custom", order.name)
        if rules.profiler_rules:
            if finished.profiler is None:
                raise UserError("There are profiler rules, but the run has no profiler-output. Leave them out.")
            reports += _by_process(folder, "kennel.profile.watch", "--finished")
    return reports


def _built_in(tensors: Path, orders: Sequence[RuleOrder]) -> list[Json]:
    if not orders:
        return []
    from kennel.debug.evaluate import evaluate
    from kennel.debug.tensors import open_trial  # takes seconds: smdebug imports torch

    trial = open_trial(tensors)
    reports: list[RuleReport] = []
    for order in orders:
        options = {"name": order.name, "start_step": order.start_step, "end_step": order.end_step}
        reports.append(evaluate(trial, order.build(), **options))
    return [report.to_json() for report in reports]


def _source(order: RuleOrder, known: Mapping[str, Path], folder: Path, local_s3: Mapping[str, str] | None) -> Path:
    """The file or folder of a custom rule: the run's own copy, a path on this machine, or fetched from S3."""
    if order.name in known and known[order.name].exists():
        return known[order.name]
    address = order.source or ""
    if not address.startswith("s3://"):
        path = Path(address.removeprefix("file://"))
        if path.exists():
            return path.resolve()
        raise UserError(f"Rule configuration '{order.name}': there is nothing at source_s3_uri '{address}'.")
    parent, _, file = address.rpartition("/")
    target = folder / "sources" / order.name
    if not download(address if not file.endswith(".py") else parent, target, local_s3):
        raise UserError(f"Rule configuration '{order.name}': there is nothing at source_s3_uri '{address}'.")
    return target / file if file.endswith(".py") else target


def _write_orders(path: Path, finished: FinishedRun, rules: RulesFile, sources: Mapping[str, Path]) -> None:
    """As the local service writes them, but without actions: what is over cannot be stopped, nor be told of anew."""
    content = {
        "job_name": finished.name,
        "tensors": str(finished.tensors),
        "profiler": str(finished.profiler or path.parent / "no-profiler"),
        "rules_dir": str(path.parent / "reports"),
        "rule_output": str(path.parent / "rule-output"),
        "debug_rules": [_without_actions(entry) for entry in rules.debug_rules],
        "profiler_rules": list(rules.profiler_rules),
        "custom_sources": {name: str(source) for name, source in sources.items()},
        "instance_type": "",
    }
    write_json(path, content)


def _without_actions(entry: Json) -> Json:
    parameters = {key: value for key, value in entry["RuleParameters"].items() if key != "action_json"}
    return {**entry, "RuleParameters": parameters}


def _by_process(folder: Path, module: str, *options: str) -> list[Json]:
    """The reports that an evaluator wrote. Raises KennelError, with its last words, if it wrote none."""
    reports = folder / "reports"
    before = set(reports.glob("*.json"))
    command = [sys.executable, "-P", "-m", module, str(folder / "rules.json"), *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROCESS_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise KennelError(f"{module} did not end within {_PROCESS_LIMIT_S:g} s, and was ended.") from error
    written = sorted(set(reports.glob("*.json")) - before)
    if done.returncode != 0 or not written:
        raise KennelError(f"{module} ended with exit status {done.returncode}: {done.stderr.strip()[-1000:]}")
    return [json.loads(path.read_text()) for path in written]


def table(reports: Sequence[Json]) -> str:
    """Rule, status, steps seen and what was found, a line each; below one that fired, its first finding and remedy."""
    width = max([4, *(len(_title(report)) for report in reports)])
    lines = [f"{'rule':<{width}}  {'status':<13}  {'steps':>5}  first finding"]
    for report in reports:
        head = f"{_title(report):<{width}}  {_status(report):<13}  {report['steps_seen']:>5}  "
        lines += _wrapped(head, _said(report), indent=width + 24)
        if report["violations"]:
            lines += _wrapped(" " * (width + 24), f"what to do: {report['remedy']}", indent=width + 24)
    return "\n".join(lines)


def _title(report: Json) -> str:
    """The configuration's name, and the rule's where that is another."""
    name, rule = str(report["RuleConfigurationName"]), str(report["RuleName"])
    return name if name == rule else f"{name} ({rule})"


def _status(report: Json) -> str:
    """The status; of one that saw too little, which SageMaker has no word for, that."""
    status = str(report["RuleEvaluationStatus"])
    return "too few steps" if report["too_few"] and status == NO_ISSUES else status


def _said(report: Json) -> str:
    """The first finding, or why there is none."""
    if not report["violations"]:
        return str(report["StatusDetails"])
    times = "" if report["violations"] == 1 else f" ({report['violations']} such)"
    return f"{report['findings'][0]['message']}{times}" if report["findings"] else str(report["StatusDetails"])


def _wrapped(head: str, text: str, *, indent: int) -> list[str]:
    columns = max(shutil.get_terminal_size((_NARROW, 24)).columns, indent + 40)
    return textwrap.wrap(text, columns, initial_indent=head, subsequent_indent=" " * indent) or [head.rstrip()]
