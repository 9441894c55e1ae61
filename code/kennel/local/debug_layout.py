"""Where a job's debugging is, on disk and in S3, and what DescribeTrainingJob says of its rules.

runs/<job>/ml/output/tensors        what the hook saves          <S3OutputPath>/<job>/debug-output/
runs/<job>/ml/output/profiler       samples and timelines        <S3OutputPath>/<job>/profiler-output/
runs/<job>/rules                    orders and one JSON a rule, written by the evaluators (kennel.debug.watch)
runs/<job>/rule-output/<rule>       what rules leave             <S3OutputPath>/<job>/rule-output/<rule>/
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.local.ml_folder import is_profiled, place_of
from kennel.local.settings import arn
from kennel.local.storage import S3Address, read_address
from kennel.local.validation import Json
from kennel.paths import MlPaths

# The members of CreateTrainingJob with rules, and those of DescribeTrainingJob with what came of them.
RULE_MEMBERS: Final[Mapping[str, str]] = {
    "DebugRuleConfigurations": "DebugRuleEvaluationStatuses",
    "ProfilerRuleConfigurations": "ProfilerRuleEvaluationStatuses",
}
TENSORS: Final = "/opt/ml/output/tensors"
_SOURCE: Final = "source_s3_uri"


@dataclass(frozen=True)
class DebugLayout:
    """The folders of one job's debugging. job: runs/<job>."""

    job: Path
    tensors: Path

    @property
    def ml(self) -> MlPaths:
        return MlPaths(self.job / "ml")

    @property
    def profiler(self) -> Path:
        return self.ml.output_dir / "profiler"

    @property
    def rules(self) -> Path:
        return self.job / "rules"

    @property
    def orders(self) -> Path:
        return self.rules / "rules.json"

    @property
    def logs(self) -> Path:
        return self.rules / "logs"

    @property
    def sources(self) -> Path:
        """The local copies of custom rules' files."""
        return self.rules / "sources"

    @property
    def rule_output(self) -> Path:
        return self.job / "rule-output"


def debug_layout(job: Path, description: Json) -> DebugLayout:
    """The folders of a job, by its request or its description. Raises ApiError for a LocalPath that cannot be used."""
    local_path = description.get("DebugHookConfig", {}).get("LocalPath", TENSORS)
    return DebugLayout(job, place_of(MlPaths(job / "ml"), local_path, "debugHookConfig.localPath"))


def has_debugging(description: Json) -> bool:
    """Whether a job has a hook, a profiler or rules."""
    return "DebugHookConfig" in description or is_profiled(description)


def output_places(layout: DebugLayout, description: Json) -> Iterator[tuple[Path, S3Address | Path]]:
    """Each folder or file that is brought to S3 (or to a folder, for file://) while the job runs, with its address."""
    name = description["TrainingJobName"]
    if "DebugHookConfig" in description:
        yield layout.tensors, _below(description["DebugHookConfig"]["S3OutputPath"], f"{name}/debug-output")
    profiler_path = description.get("ProfilerConfig", {}).get("S3OutputPath")
    if profiler_path:  # also of one that was disabled meanwhile
        yield layout.profiler, _below(profiler_path, f"{name}/profiler-output")
    for rule in rules_of(description):
        output = rule.get("S3OutputPath", description["OutputDataConfig"]["S3OutputPath"])
        own = rule["RuleConfigurationName"]
        yield layout.rule_output / own, _below(output, f"{name}/rule-output/{own}")
        # Not SageMaker's: what a rule found, which Kennel's report shows of a job that is only in S3.
        yield layout.rules / f"{own}.json", _below(output, f"{name}/rule-output/{own}/{own}.json")


def rules_of(description: Json) -> list[Json]:
    """Every entry of DebugRuleConfigurations and ProfilerRuleConfigurations."""
    return [rule for member in RULE_MEMBERS for rule in description.get(member, [])]


def custom_rules(description: Json) -> list[Json]:
    """The debug rules whose class is in a file of the user's."""
    return [rule for rule in description.get("DebugRuleConfigurations", []) if source_of(rule)]


def source_of(rule: Json) -> str | None:
    """The address of a custom rule's file or folder."""
    return rule.get("RuleParameters", {}).get(_SOURCE) or None


def orders_of(layout: DebugLayout, description: Json, sources: Mapping[str, Path]) -> Json:
    """What the evaluators are told (kennel.debug.orders reads it). sources: custom rules' files, by rule name."""
    return {
        "job_name": description["TrainingJobName"],
        "tensors": str(layout.tensors),
        "profiler": str(layout.profiler),
        "rules_dir": str(layout.rules),
        "rule_output": str(layout.rule_output),
        "debug_rules": description.get("DebugRuleConfigurations", []),
        "profiler_rules": description.get("ProfilerRuleConfigurations", []),
        "custom_sources": {name: str(path) for name, path in sources.items()},
        "instance_type": description.get("ResourceConfig", {}).get("InstanceType", ""),
    }


def first_statuses(job: str, request: Json, at: float) -> Json:
    """The members of DescribeTrainingJob that say how rules stand, before any has looked."""
    statuses: Json = {"ProfilingStatus": "Enabled" if is_profiled(request) else "Disabled"}
    for member, status_member in RULE_MEMBERS.items():
        if rules := request.get(member):
            statuses[status_member] = [first_status(job, rule, at) for rule in rules]
    return statuses


def first_status(job: str, rule: Json, at: float) -> Json:
    """One rule's status at its beginning."""
    name = rule["RuleConfigurationName"]
    return {
        "RuleConfigurationName": name,
        "RuleEvaluationJobArn": arn("processing-job", processing_job_name(job, name)),
        "RuleEvaluationStatus": "InProgress",
        "LastModifiedTime": at,
    }


def processing_job_name(job: str, rule: str) -> str:
    """The name of the processing job that SageMaker would evaluate a rule in; legal, and the rule's own."""
    digest = hashlib.sha256(f"{job}/{rule}".encode()).hexdigest()[:8]
    parts = (re.sub(r"[^a-zA-Z0-9]+", "-", part)[:26].strip("-") for part in (job, rule))
    return "-".join([*filter(None, parts), digest])


def _below(uri: str, path: str) -> S3Address | Path:
    address = read_address(uri)
    return address / path if isinstance(address, Path) else address.below(path)
