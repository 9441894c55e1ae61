"""`kennel conformance` on small servers with one planted fault each: it must name that fault and no other."""

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from kennel.conformance.checks import Selection
from kennel.conformance.containers import OWNER_LABEL
from kennel.conformance.findings import Verdict
from kennel.conformance.report import ImageReport
from kennel.conformance.run import Request, conform

BROKEN = Path(__file__).parent / "broken"
REPOSITORY = "kennel-conformance-serving-test"


@pytest.fixture(scope="module")
def weights(docker_engine: docker.DockerClient, base_image: str) -> Iterator[str]:
    """The address of a server that can be reached from Docker's default network only."""
    server = docker_engine.containers.run(
        base_image, ["python3", "-m", "http.server", "80"], detach=True, labels={f"{OWNER_LABEL}.test": "weights"}
    )
    try:
        server.reload()
        yield f"http://{server.attrs['NetworkSettings']['Networks']['bridge']['IPAddress']}/"
    finally:
        server.remove(force=True)


@pytest.fixture(scope="module")
def build(docker_engine: docker.DockerClient, base_image: str, weights: str) -> Iterator[Callable[[str], str]]:
    """Builds broken/serve_<fault> and gives its name; all are removed at the end."""
    made: list[str] = []

    def build_one(fault: str) -> str:
        name = f"{REPOSITORY}:{fault}"
        if name not in made:
            folder = BROKEN / f"serve_{fault}"
            arguments = {"BASE_IMAGE": base_image} if fault == "healthy" else {"HEALTHY": build_one("healthy")}
            if fault == "needs_network":
                arguments["WEIGHTS"] = weights
            docker_engine.images.build(path=str(folder), tag=name, buildargs=arguments, forcerm=True)
            made.append(name)
        return name

    yield build_one
    for name in reversed(made):
        docker_engine.images.remove(name, force=True)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model.tar.gz for these servers."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.json").write_text('{"labels": ["Red", "Green", "Blue"]}')
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        tar.add(folder / "model.json", "model.json")
    return folder / "model.tar.gz"


@pytest.fixture(autouse=True)
def nothing_is_left(docker_engine: docker.DockerClient) -> Iterator[None]:
    """Of this process: others may be examining images at the same time."""
    yield
    mine, filters = f"/{os.getpid()}/", {"label": OWNER_LABEL}
    containers = docker_engine.containers.list(all=True, filters=filters, ignore_removed=True)
    assert not [each.name for each in containers if mine in each.labels[OWNER_LABEL]]
    networks = docker_engine.networks.list(filters=filters)
    assert not [each.name for each in networks if mine in each.attrs["Labels"][OWNER_LABEL]]


def examine(image: str, archive: Path, *only: str) -> ImageReport:
    """The report on one image; with a short grace, which is enough for so small a server."""
    selection = Selection(only or ("serve",))
    request = Request(images=(image,), kind="serve", model=archive, stop_grace_s=5.0, selection=selection)
    (report,) = conform(request, progress=lambda _image, _finding: None)
    return report


def failures(report: ImageReport) -> dict[str, str]:
    return {each.check: each.seen for each in report.findings if each.verdict is Verdict.FAIL}


def test_a_healthy_server_passes_every_check(build: Callable[[str], str], archive: Path) -> None:
    report = examine(build("healthy"), archive)
    verdicts = {finding.check: finding.verdict for finding in report.findings}
    assert set(verdicts.values()) == {Verdict.PASS}, report.table()
    assert {
        "serve.ready",
        "serve.ping_under_load",
        "serve.bad_input",
        "serve.payload_over_limit",
        "serve.in_flight",
        "serve.bind_port",
        "serve.any_user",
        "serve.killed_worker",
        "serve.bad_archive.garbage",
        "serve.bad_archive.empty",
        "serve.multi_model",
    } <= set(verdicts)
    seen = {finding.check: finding.seen for finding in report.findings}
    assert "4 of 4 requests answered" in seen["serve.killed_worker"]  # it has a worker, and lost it
    assert "invoke_unloaded 404" in seen["serve.multi_model"]


# What is named, each with words of what must have been seen.
FAULTS = {
    "ends_at_start": {"serve.starts": "ended with status 1 (ERROR CUDA error"},
    "loopback_only": {"serve.interfaces": "127.0.0.1:8080 alone"},
    "early_ping": {"serve.ready": "503"},
    "needs_network": {"serve.network": "weights: "},
    "writes_model": {"serve.read_only_model": "Read-only file system"},
    "slow_ping": {"serve.ping_under_load": "slowest of"},
    "dies_of_bad_input": {"serve.survives_bad_input": "ended with status 139 (ERROR decoder"},
    "leaks_traceback": {
        "serve.bad_input.empty": "500",
        "serve.bad_input.garbage": "500",
        "serve.traceback": "Traceback",
    },
    "ignores_sigterm": {"serve.sigterm": "still running after 5 s"},
    "fixed_port": {"serve.bind_port": "refused the connection"},
    "hangs_after_kill": {"serve.killed_worker": "gave no answer within"},
    "any_archive": {"serve.bad_archive.garbage": "500", "serve.bad_archive.empty": "500"},
    "multi_model_codes": {
        "serve.multi_model.load_again": "not 409",
        "serve.multi_model.invoke_unknown": "not 404",
        "serve.multi_model.get_unknown": "not 404",
        "serve.multi_model.invoke_unloaded": "not 404",
        "serve.multi_model.unload_again": "not 404",
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_all_that_is_named(build: Callable[[str], str], archive: Path, fault: str) -> None:
    report = examine(build(fault), archive)
    found = failures(report)
    assert set(found) == set(FAULTS[fault]), report.table()
    for check, words in FAULTS[fault].items():
        assert words in found[check]
    assert all(each.consequence and each.remedy for each in report.findings if each.verdict is Verdict.FAIL)


def test_without_a_model_it_says_how_to_give_one(build: Callable[[str], str]) -> None:
    request = Request(images=(build("healthy"),), kind="serve", selection=Selection(("serve.starts",)))
    (report,) = conform(request, progress=lambda _image, _finding: None)
    (finding,) = report.findings
    assert finding.verdict is Verdict.FAIL
    assert "cannot be loaded" in finding.seen
    assert "--model" in finding.remedy


def test_a_request_that_the_image_refuses_is_no_fault_unless_it_was_given(
    build: Callable[[str], str], archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("1,2\n")
    content = {"file": str(tmp_path / "rows.csv"), "content_type": "text/csv"}
    request = Request(
        images=(build("healthy"),),
        kind="serve",
        model=archive,
        request=content,
        selection=Selection(("serve.invocation", "serve.sigterm")),
    )
    (report,) = conform(request, progress=lambda _image, _finding: None)
    verdicts = {each.check: each.verdict for each in report.findings}
    assert verdicts == {"serve.invocation": Verdict.FAIL, "serve.sigterm": Verdict.SKIP}, report.table()


def test_every_broken_server_is_tried() -> None:
    assert {path.name.removeprefix("serve_") for path in BROKEN.glob("serve_*")} == {*FAULTS, "healthy"}
