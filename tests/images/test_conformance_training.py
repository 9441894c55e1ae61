"""`kennel conformance` on small trainers with one planted fault each: it must name that fault and no other."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from kennel.conformance.checks import Selection
from kennel.conformance.containers import OWNER_LABEL
from kennel.conformance.findings import Finding, Verdict
from kennel.conformance.report import ImageReport
from kennel.conformance.run import Request, conform

BROKEN = Path(__file__).parent / "broken"
REPOSITORY = "kennel-conformance-test"


@pytest.fixture(scope="session")
def build(docker_engine: docker.DockerClient, base_image: str) -> Iterator[Callable[[str], str]]:
    """Builds broken/<fault> and gives its name; all are removed at the end."""
    made: list[str] = []

    def build_one(fault: str) -> str:
        name = f"{REPOSITORY}:{fault}"
        if name not in made:
            arguments = {"BASE_IMAGE": base_image} if fault == "healthy" else {"HEALTHY": build_one("healthy")}
            docker_engine.images.build(path=str(BROKEN / fault), tag=name, buildargs=arguments, forcerm=True)
            made.append(name)
        return name

    yield build_one
    for name in reversed(made):
        docker_engine.images.remove(name, force=True)


@pytest.fixture(autouse=True)
def nothing_is_left(docker_engine: docker.DockerClient) -> Iterator[None]:
    yield
    left = docker_engine.containers.list(all=True, filters={"label": OWNER_LABEL}, ignore_removed=True)
    assert not [each for each in left if f"/{os.getpid()}/" in each.labels[OWNER_LABEL]]


def examine(image: str, **options: object) -> ImageReport:
    """The report on one image; a short grace, for a tiny trainer needs no 120 s to save a number."""
    request = Request(images=(image,), stop_grace_s=3.0, **options)  # type: ignore[arg-type]
    (report,) = conform(request, progress=lambda _image, _finding: None)
    return report


def only_failure(report: ImageReport) -> Finding:
    failures = [finding for finding in report.findings if finding.verdict is Verdict.FAIL]
    assert len(failures) == 1, report.table()
    return failures[0]


def test_a_healthy_trainer_passes_every_check(build: Callable[[str], str]) -> None:
    report = examine(build("healthy"))
    verdicts = {finding.check: finding.verdict for finding in report.findings}
    not_tried = {"image.manifest", "image.labels", "train.memory"}
    assert {name for name, verdict in verdicts.items() if verdict is not Verdict.PASS} == not_tried, report.table()
    assert {"train.completes", "train.sigterm", "train.resume", "train.two_hosts", "train.failure_file"} <= set(
        verdicts
    )


FAULTS = {
    "crlf": ("image.line_ends", "CRLF in /usr/local/bin/train"),
    "not_executable": ("image.executable", "/usr/local/bin/train"),
    "shell_entrypoint": ("image.entrypoint", "shell form"),
    "swallowed_status": ("train.failing_status", "exit status 0"),
    "needs_network": ("train.network", "it wants weights.example.com"),
    "ignores_sigterm": ("train.sigterm", "still running after 3 s"),
    "loses_work": ("train.stopped_work", "nothing"),
    "starts_over": ("train.resume", "the checkpoint folder is not empty"),
    "writes_input": ("train.read_only_input", "index.txt"),
    "chokes_on_null": ("train.config", "hyperparameters, inputdataconfig and resourceconfig alone"),
    "reads_plain_values": ("train.quoted_values", "exit status 1"),
    "misreads_quoted": ("train.quoted_values", "plain and quoted differ"),
    "metric_mismatch": ("train.metrics", "no line matches Train Loss"),
    "root_only_file": ("train.completes", "USER trainer may not read or write /opt/program/trainer.py"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_the_only_one_named(build: Callable[[str], str], fault: str) -> None:
    check, seen = FAULTS[fault]
    found = only_failure(examine(build(fault), selection=Selection(skip=("train.two_hosts",))))
    assert found.check == check
    assert seen in found.seen
    assert found.consequence
    assert found.remedy


def test_files_written_outside_of_opt_ml_are_warned_of(build: Callable[[str], str]) -> None:
    report = examine(build("writes_elsewhere"), selection=Selection(only=("train.writes",)))
    assert report.is_passed, report.table()
    (found,) = report.findings
    assert found.verdict is Verdict.WARN
    assert found.seen == "1: /var/cache/weights/resnet18.pth"


def test_hosts_that_do_not_speak_to_each_other_are_named(build: Callable[[str], str]) -> None:
    found = only_failure(examine(build("trains_apart"), selection=Selection(only=("train.two_hosts",))))
    assert found.check == "train.two_hosts"
    assert "each trains by itself" in found.seen


def test_every_broken_image_is_tried() -> None:
    assert {path.parent.name for path in BROKEN.glob("*/train")} | {"crlf"} <= {
        *FAULTS,
        "healthy",
        "trains_apart",
        "writes_elsewhere",
    }
