"""Our buildspec.yml, played for real: images built, checked, pushed to a local registry by the token of moto's ECR.

Only ECR_REGISTRY and AWS's endpoint differ from CodeBuild. The first test takes minutes (more where no layer of the
images is there yet); the later ones play the same build again with a stand-in for what the first one has shown.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import docker
import pytest
from docker.errors import ImageNotFound

from codebuild import Build, load_buildspec, replacing, run_buildspec
from kennel import cli
from kennel.delivery.build import read_source
from kennel.delivery.registry import DOCKER_MANIFEST, Reference, Registry, fetch_manifest
from kennel.local import daemon
from needs import absent
from registry import LocalRegistry, program, running_registry, stand_in_for_aws

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = load_buildspec((REPOSITORY / "buildspec.yml").read_text())
IMAGES = ("kennel-train", "kennel-serve", "kennel-serve-cpu")
LIMIT_S = 3600
# One file of tests stands for all of them, which this project's own CI has run by then.
TESTS = "tests/unit/test_hyperparameters.py"

pytestmark = pytest.mark.timeout(LIMIT_S)
Play = Callable[..., Build]


@dataclass(frozen=True)
class Aws:
    """What CodeBuild has around it: moto in AWS's place, and docker's login in a folder of the test's own."""

    environment: dict[str, str]
    docker_folder: Path


@pytest.fixture(scope="module")
def commit() -> str:
    """The checkout's commit; images of changed files are not pushed as it, so there must be none."""
    source = read_source(REPOSITORY)
    if source.dirty != "false":
        absent("docker", "a push needs a commit: this checkout has changes, or is none (git status)")
    return source.commit


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[Aws]:
    folder = tmp_path_factory.mktemp("docker")
    with stand_in_for_aws() as url:
        environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_REGION": "eu-west-1",
        }
        client = boto3.client(
            "ecr",
            endpoint_url=url,
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        for name in ("kennel-train", "kennel-serve"):
            client.create_repository(repositoryName=name)
        yield Aws(environment | {"DOCKER_CONFIG": str(folder), "KENNEL_BASE_IMAGE": base_image, "TESTS": TESTS}, folder)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    if program() is None:
        absent("docker", "docker-registry is not installed (apt-get install docker-registry)")
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def play(
    aws: Aws, commit: str, tmp_path_factory: pytest.TempPathFactory, docker_engine: docker.DockerClient
) -> Iterator[Play]:
    """Plays a buildspec on this checkout; the images it built are gone afterwards, their layers stay in the cache."""

    def play(registry: LocalRegistry, *stand_ins: tuple[str, str]) -> Build:
        spec = SPEC
        for beginning, command in stand_ins:
            spec = replacing(spec, beginning, command)
        return run_buildspec(
            spec,
            REPOSITORY,
            tmp_path_factory.mktemp("codebuild"),
            environment=aws.environment | {"ECR_REGISTRY": registry.host},
            commit=commit,
            timeout_s=LIMIT_S - 60,
        )

    yield play
    for name in ("kennel-train:build-{}", "kennel-serve:build-{}", "kennel-serve:build-{}-cpu"):
        try:
            docker_engine.images.remove(name.format(commit[:12]))
        except ImageNotFound:
            pass


@pytest.fixture(scope="module")
def first_build(play: Play, registry: LocalRegistry) -> Build:
    return play(registry)


def test_the_buildspec_builds_checks_and_pushes(
    first_build: Build, registry: LocalRegistry, commit: str, aws: Aws
) -> None:
    assert first_build.status == "SUCCEEDED", first_build.log[-8000:]
    assert first_build.artifact_name == f"kennel-{commit}"
    digests = json.loads((first_build.artifact_folder / "digests.json").read_text())
    assert set(digests) == set(IMAGES)
    for name, by_digest in digests.items():
        tag = commit + name.removeprefix("kennel-train").removeprefix("kennel-serve")
        repository = name.removesuffix("-cpu")
        stored = fetch_manifest(f"{registry.host}/{repository}:{tag}", credentials=registry.credentials)
        assert by_digest == f"{registry.host}/{repository}@{stored.digest}"
        assert stored.media_type == DOCKER_MANIFEST
        assert stored.config["config"]["Labels"]["org.opencontainers.image.revision"] == commit
        cache = Reference.parse(f"{registry.host}/{repository}:{tag.replace(commit, 'cache')}")
        cached = Registry(registry.host, credentials=registry.credentials).manifest(cache)
        assert cached is not None
        assert cached.digest == stored.digest
    assert first_build.exported == {
        "COMMIT": commit,
        "TRAIN_IMAGE": digests["kennel-train"],
        "SERVE_IMAGE": digests["kennel-serve"],
        "SERVE_CPU_IMAGE": digests["kennel-serve-cpu"],
    }
    assert registry.host not in (aws.docker_folder / "config.json").read_text(), "docker is logged out again"


def test_what_was_built_is_reported(first_build: Build) -> None:
    folder = first_build.artifact_folder
    sizes = (folder / "sizes.json").read_text()
    assert all(f"{name.removesuffix('-cpu')}:build-" in sizes for name in IMAGES)
    for name in IMAGES:
        assert json.loads((folder / "sbom" / f"{name}.cdx.json").read_text())["bomFormat"] == "CycloneDX"
    assert json.loads((folder / "conformance.json").read_text())
    assert set(first_build.reports) == {"kennel-tests", "kennel-conformance"}
    for counts in first_build.reports.values():
        assert counts["tests"] > 10
        assert counts["failures"] == counts["errors"] == 0


def test_the_same_commit_again_pushes_nothing_new(first_build: Build, play: Play, registry: LocalRegistry) -> None:
    before = registry.log.read_text()
    again = play(registry, ("scripts/lint.sh", "true"), ("scripts/smoke.sh", "true"))
    assert again.status == "SUCCEEDED", again.log[-8000:]
    assert again.exported == first_build.exported
    later = registry.log.read_text().removeprefix(before)
    assert '"HEAD /v2/kennel-train/manifests/cache' in later, "the build looked for its cache"
    assert '"PUT ' not in later
    assert '"PATCH ' not in later


def test_a_failing_smoke_test_pushes_nothing(
    first_build: Build, play: Play, tmp_path: Path, docker_engine: docker.DockerClient, aws: Aws
) -> None:
    with running_registry(tmp_path / "empty") as empty:
        failed = play(empty, ("scripts/lint.sh", "true"), ("scripts/smoke.sh", "false"))
        assert failed.status == "FAILED"
        assert failed.phase("build").status == "SUCCEEDED", failed.log[-8000:]
        assert failed.phase("post_build").failed_command == "false (exit status 1)"
        assert '"PUT ' not in empty.log.read_text()
        assert '"PATCH ' not in empty.log.read_text()
        assert "sizes.json" in failed.artifacts
        assert "digests.json" not in failed.artifacts
        assert empty.host not in (aws.docker_folder / "config.json").read_text(), "docker is logged out all the same"


def test_a_failing_build_is_neither_checked_nor_pushed(first_build: Build, play: Play, registry: LocalRegistry) -> None:
    before = registry.log.read_text()
    failed = play(registry, ("scripts/lint.sh", "true"), ("scripts/build.sh all", "false"))
    assert failed.phase("build").failed_command == "false (exit status 1)"
    assert failed.phase("post_build").failed_command == 'test "$CODEBUILD_BUILD_SUCCEEDING" = 1 (exit status 1)'
    assert "scripts/smoke.sh" not in failed.log
    assert '"PUT ' not in registry.log.read_text().removeprefix(before)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runs folder of its own, whose service and containers are ended afterwards."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("KENNEL_RUNS", str(folder))
    yield folder
    daemon.stop(folder)


@pytest.mark.photos
def test_what_was_pushed_trains_and_serves(
    first_build: Build,
    registry: LocalRegistry,
    docker_engine: docker.DockerClient,
    runs: Path,
    shared: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fetched by digest; then real photos and weights, and the same accuracy and answers as a training's own."""
    references = [first_build.exported[name] for name in ("TRAIN_IMAGE", "SERVE_IMAGE", "SERVE_CPU_IMAGE")]
    for image in docker_engine.images.list(name="kennel-*"):
        tags = [tag.rpartition(":")[2] for tag in image.tags]
        if any(tag.startswith("build-") for tag in tags):
            # Name by name: the fixture `built` may have made the very same image of the same commit.
            for name, tag in zip(image.tags, tags, strict=True):
                if not tag.startswith("test-"):
                    docker_engine.images.remove(name)
    for reference in references:
        docker_engine.images.pull(reference, auth_config=registry.login)

    data, weights = shared / "data" / "dogs20", shared / "weights" / "resnet18-half.pth"
    on = ("--on", "docker", "--image")
    assert kennel("train", "--data", data, "--name", "dogs", "-p", f"weights={weights}", *on, references[0]) == 0
    output = runs / "dogs" / "ml" / "output" / "data"
    assert json.loads((output / "evaluation.json").read_text())["test"]["accuracy"] >= 0.92
    rows = map(json.loads, (output / "predictions-test.jsonl").read_text().splitlines())
    expected = {row["path"]: row for row in rows}
    assert len(expected) == 200

    for reference in references[1:]:
        endpoint = "cpu" if reference == references[2] else "gpu"
        assert kennel("deploy", "dogs", "--endpoint-name", endpoint, *on, reference) == 0
        capsys.readouterr()
        assert kennel("invoke", endpoint, "--json", *(data / "test" / path for path in expected)) == 0
        answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        for answer, row in zip(answers, expected.values(), strict=True):
            assert answer["label"] == row["label"], row
            assert answer["probability"] == pytest.approx(row["probability"], abs=1e-3), row
        assert kennel("delete", "--endpoint-name", endpoint) == 0


def kennel(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])
