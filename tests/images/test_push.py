"""kennel push with a real Docker Engine, a real registry and moto's ECR: tiny images, made here."""

import base64
import io
import json
import os
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import docker
import pytest

from kennel import cli
from kennel.delivery import push as pushing
from kennel.delivery.push import Destination, built_image
from kennel.delivery.registry import OCI_MANIFEST, Reference, Registry, fetch_manifest
from kennel.errors import KennelError
from needs import absent
from registry import ACCOUNT, TOKEN, USER, LocalRegistry, program, running_registry, stand_in_for_aws

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MakeImage = Callable[..., str]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    if program() is None:
        absent("docker", "docker-registry is not installed (apt-get install docker-registry)")
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(autouse=True)
def logged_in(registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As after `docker login`, in a configuration of the test's own; no setting of this machine's counts."""
    for name in ("KENNEL_REGISTRY", "ECR_REGISTRY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    login = {"auths": {registry.host: {"auth": _base64(f"{USER}:{TOKEN}")}}}
    (tmp_path / "config.json").write_text(json.dumps(login))


@pytest.fixture
def make_image(docker_engine: docker.DockerClient) -> Iterator[MakeImage]:
    """Builds kennel-<kind>:<tag> out of files, and takes it away again; returns its tag."""
    made: list[str] = []
    shared = os.urandom(50_000)  # a layer that all images of a test have, as the real ones share torch

    def make(
        kind: str = "train",
        *,
        content: bytes = b"",
        platform: str = "linux/amd64",
        nocache: bool = False,
        **labels: str,
    ) -> str:
        tag = f"test-{uuid.uuid4().hex[:12]}"
        labels = {"commit": COMMIT, "dirty": "false"} | labels
        lines = ["FROM scratch", "COPY shared /shared", "COPY own /own"]
        lines += [f'LABEL org.opencontainers.image.revision="{labels["commit"]}" dev.kennel.dirty="{labels["dirty"]}"']
        context = _tar({"Dockerfile": "\n".join(lines).encode(), "shared": shared, "own": content or os.urandom(2000)})
        name = f"kennel-{kind}:{tag}"
        docker_engine.images.build(
            fileobj=context, custom_context=True, tag=name, platform=platform, rm=True, nocache=nocache
        )
        made.append(name)
        return tag.removesuffix("-cpu")

    yield make
    for name in made:
        docker_engine.images.remove(name)


def _tar(files: dict[str, bytes]) -> io.BytesIO:
    """A build context, the same bytes for the same files: so that equal layers are one."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    stream.seek(0)
    return stream


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def repository() -> str:
    """A path before the repositories that no other test has."""
    return f"team-{uuid.uuid4().hex[:8]}"


def test_an_image_is_pushed_as_its_commit_and_printed_by_digest(
    registry: LocalRegistry,
    make_image: MakeImage,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    docker_engine: docker.DockerClient,
) -> None:
    place, digests = f"{registry.host}/{repository()}", tmp_path / "out" / "digests.json"
    tag = make_image("train")
    assert cli.main(["push", "train", "--registry", place, "--tag", tag, "--digests", str(digests)]) == 0
    stored = fetch_manifest(f"{place}/kennel-train:{COMMIT}")
    assert stored.content["config"]["digest"] == docker_engine.images.get(f"kennel-train:{tag}").id
    by_digest = f"{place}/kennel-train@{stored.digest}"
    assert json.loads(digests.read_text()) == {"kennel-train": by_digest}
    printed = capsys.readouterr().out
    assert f"kennel-train:{tag} -> {place}/kennel-train:{COMMIT}" in printed
    assert "0.1 MB pushed, 0.0 MB there already" in printed
    assert f"by digest: {by_digest}" in printed
    assert f"delete it: kennel push --delete {by_digest}" in printed
    assert not [tag for image in docker_engine.images.list() for tag in image.tags if tag.startswith(place)]


def test_a_second_push_of_the_same_image_sends_nothing(
    registry: LocalRegistry, make_image: MakeImage, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["push", "serve", "--registry", f"{registry.host}/{repository()}", "--tag", make_image("serve")]
    assert cli.main(arguments) == 0
    capsys.readouterr()
    before = registry.log.read_text()
    assert cli.main(arguments) == 0
    assert "0.0 MB pushed, 0.1 MB there already" in capsys.readouterr().out
    later = registry.log.read_text().removeprefix(before)
    assert '"GET /v2/' in later
    assert '"PUT ' not in later
    assert '"POST ' not in later


def test_a_commits_tag_never_moves_to_another_image(
    registry: LocalRegistry, make_image: MakeImage, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"{registry.host}/{repository()}"
    assert cli.main(["push", "train", "--registry", place, "--tag", make_image()]) == 0
    first = fetch_manifest(f"{place}/kennel-train:{COMMIT}").digest
    assert cli.main(["push", "train", "--registry", place, "--tag", make_image()]) == 2
    refused = capsys.readouterr().err
    assert f"is there already and is another image ({first})" in refused
    assert f"kennel push --delete {place}/kennel-train@{first}" in refused
    assert fetch_manifest(f"{place}/kennel-train:{COMMIT}").digest == first


def test_the_same_content_built_again_is_the_same_image(
    registry: LocalRegistry,
    make_image: MakeImage,
    capsys: pytest.CaptureFixture[str],
    docker_engine: docker.DockerClient,
) -> None:
    """As from a cache of the registry's: another image id, for the same layers run in the same way."""
    place = f"{registry.host}/{repository()}"
    tags = [make_image(content=b"the same", nocache=True) for _ in range(2)]
    assert len({docker_engine.images.get(f"kennel-train:{tag}").id for tag in tags}) == 2
    for tag in tags:
        assert cli.main(["push", "train", "--registry", place, "--tag", tag]) == 0
    assert "0.0 MB pushed, 0.1 MB there already" in capsys.readouterr().out
    other = make_image(content=b"the same", dirty="no")  # the same layers, another label
    assert cli.main(["push", "train", "--registry", place, "--tag", other]) == 2


def test_the_command_that_was_printed_deletes_it(
    registry: LocalRegistry, make_image: MakeImage, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"{registry.host}/{repository()}"
    tag = make_image()
    assert cli.main(["push", "train", "--registry", place, "--tag", tag]) == 0
    command = capsys.readouterr().out.partition("delete it: kennel ")[2].split()
    assert cli.main(command) == 0
    assert cli.main(command) == 2
    assert "nothing was deleted" in capsys.readouterr().err
    assert cli.main(["push", "train", "--registry", place, "--tag", tag]) == 0


def test_layers_that_two_images_share_are_sent_once(
    registry: LocalRegistry, make_image: MakeImage, docker_engine: docker.DockerClient
) -> None:
    place = Destination(f"{registry.host}/{repository()}", registry.credentials)
    sent = {}
    for kind in ("train", "serve"):
        step = pushing.plan([built_image(docker_engine, kind, tag=make_image(kind))], place)[0]
        sent[kind] = pushing.push(step, place, docker_engine)
    assert sent["train"].sent_bytes > 50_000
    assert 0 < sent["serve"].sent_bytes < 5_000
    assert sent["serve"].there_bytes > 50_000


def test_a_dry_run_checks_and_prints_and_pushes_nothing(
    registry: LocalRegistry, make_image: MakeImage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place, digests = f"{registry.host}/{repository()}", tmp_path / "digests.json"
    arguments = ["push", "train", "--registry", place, "--tag", make_image(), "--digests", str(digests)]
    assert cli.main([*arguments, "--dry-run", "--cache-tag", "cache"]) == 0
    printed = capsys.readouterr().out
    assert f"-> {place}/kennel-train:{COMMIT}\n  would be pushed, 0.1 MB uncompressed" in printed
    assert Registry(registry.host).manifest(Reference.parse(f"{place}/kennel-train:{COMMIT}")) is None
    assert not digests.exists()
    assert cli.main(arguments) == 0
    assert cli.main([*arguments, "--dry-run"]) == 0
    assert "is there already, nothing to push" in capsys.readouterr().out


def test_nothing_is_pushed_when_one_of_two_images_cannot_be(
    registry: LocalRegistry, make_image: MakeImage, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"{registry.host}/{repository()}"
    assert cli.main(["push", "all", "--registry", place, "--tag", make_image("train")]) == 2
    assert "is not on this machine. Build it: scripts/build.sh serve" in capsys.readouterr().err
    assert Registry(registry.host).manifest(Reference.parse(f"{place}/kennel-train:{COMMIT}")) is None


def test_another_architecture_is_refused(
    registry: LocalRegistry, make_image: MakeImage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["push", "train", "--registry", registry.host, "--tag", make_image(platform="linux/arm64")]) == 2
    assert "is for linux/arm64; SageMaker runs linux/amd64" in capsys.readouterr().err


def test_an_image_that_does_not_know_its_commit_is_refused(
    registry: LocalRegistry, make_image: MakeImage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["push", "train", "--registry", registry.host, "--tag", make_image(commit="unknown")]) == 2
    assert "label org.opencontainers.image.revision is 'unknown'" in capsys.readouterr().err


def test_an_image_of_changed_files_is_pushed_only_under_a_tag_that_says_so(
    registry: LocalRegistry, make_image: MakeImage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place, digests = f"{registry.host}/{repository()}", tmp_path / "digests.json"
    arguments = ["push", "train", "--registry", place, "--tag", make_image(dirty="true")]
    assert cli.main(arguments) == 2
    assert "was built from changed files" in capsys.readouterr().err
    assert cli.main([*arguments, "--allow-dirty", "--digests", str(digests)]) == 0
    pushed_as = capsys.readouterr().out.splitlines()[0].rpartition(":")[2]
    assert pushed_as.startswith(COMMIT)
    assert pushed_as.endswith("-dirty")
    assert Registry(registry.host).manifest(Reference.parse(f"{place}/kennel-train:{COMMIT}")) is None


def test_the_serving_image_for_cpus_has_a_tag_of_its_own_in_the_same_repository(
    registry: LocalRegistry, make_image: MakeImage, docker_engine: docker.DockerClient, tmp_path: Path
) -> None:
    place, digests = f"{registry.host}/{repository()}", tmp_path / "digests.json"
    tag = make_image("serve")
    docker_engine.images.get(f"kennel-serve:{tag}").tag("kennel-serve", f"{tag}-cpu")
    try:
        for more in ([], ["--cpu"]):
            arguments = ["push", "serve", *more, "--registry", place, "--tag", tag, "--digests", str(digests)]
            assert cli.main([*arguments, "--cache-tag", "cache"]) == 0
    finally:
        docker_engine.images.remove(f"kennel-serve:{tag}-cpu")
    digest = fetch_manifest(f"{place}/kennel-serve:{COMMIT}-cpu").digest
    assert fetch_manifest(f"{place}/kennel-serve:cache-cpu").digest == digest
    assert set(json.loads(digests.read_text())) == {"kennel-serve", "kennel-serve-cpu"}


def test_the_cache_tag_moves_to_each_image_and_its_layers_stay_where_they_are(
    registry: LocalRegistry, make_image: MakeImage
) -> None:
    place = f"{registry.host}/{repository()}"
    for commit in ("a" * 40, "b" * 40):
        arguments = ["push", "train", "--registry", place, "--tag", make_image(commit=commit), "--cache-tag", "cache"]
        assert cli.main(arguments) == 0
        wanted = fetch_manifest(f"{place}/kennel-train:{commit}")
        assert fetch_manifest(f"{place}/kennel-train:cache").digest == wanted.digest
    before = registry.log.read_text()
    assert cli.main(arguments) == 0
    assert '"PUT ' not in registry.log.read_text().removeprefix(before)


def test_a_manifest_that_sagemaker_refuses_is_deleted_again(
    registry: LocalRegistry, make_image: MakeImage, docker_engine: docker.DockerClient
) -> None:
    """As an engine with containerd's image store pushes it: the same image, in OCI's form."""
    place = Destination(f"{registry.host}/{repository()}", registry.credentials)
    image = built_image(docker_engine, "train", tag=make_image())
    engine = SimpleNamespace(images=docker_engine.images, api=OciApi(docker_engine.api, registry))
    with pytest.raises(KennelError, match=r"was deleted again.*oci\.image\.manifest.*oci-mediatypes=false"):
        pushing.push(pushing.plan([image], place)[0], place, engine)
    assert place.registry().manifest(place.reference("kennel-train", COMMIT)) is None


class OciApi:
    """Docker's API, whose push rewrites the manifest as OCI's."""

    def __init__(self, api: Any, registry: LocalRegistry) -> None:  # noqa: ANN401
        self._api, self._registry = api, registry
        self.tag = api.tag

    def push(self, name: str, *, tag: str, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        lines = list(self._api.push(name, tag=tag, **more))
        client, image = Registry(self._registry.host, credentials=self._registry.credentials), f"{name}:{tag}"
        stored = client.manifest(Reference.parse(image))
        assert stored is not None
        content = dict(stored.content, mediaType=OCI_MANIFEST)
        content["config"] = dict(content["config"], mediaType="application/vnd.oci.image.config.v1+json")
        for layer in content["layers"]:
            layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
        client._ask(
            "PUT",
            stored_repository(image),
            f"manifests/{tag}",
            accept=OCI_MANIFEST,
            body=json.dumps(content).encode(),
            body_type=OCI_MANIFEST,
        )
        return lines


def stored_repository(image: str) -> str:
    return Reference.parse(image).repository


def test_a_registry_that_wants_a_login_is_named(
    registry: LocalRegistry, make_image: MakeImage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").unlink()
    assert cli.main(["push", "train", "--registry", registry.host, "--tag", make_image()]) == 2
    assert f"Log in first: docker login {registry.host}" in capsys.readouterr().err


@pytest.fixture
def ecr(registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """moto's ECR, and the registry in the place of Amazon's: nobody is logged in to it."""
    with stand_in_for_aws() as url:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "ECR_REGISTRY": registry.host,
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_REGION", raising=False)
        (tmp_path / "config.json").unlink()
        boto3.DEFAULT_SESSION = None
        yield boto3.client("ecr")


def test_ecr_is_entered_with_its_token(ecr: Any, registry: LocalRegistry, make_image: MakeImage) -> None:  # noqa: ANN401
    name = f"{repository()}/kennel-train"
    ecr.create_repository(repositoryName=name)
    place = f"{registry.host}/{name.partition('/')[0]}"
    assert cli.main(["push", "train", "--registry", place, "--tag", make_image()]) == 0
    assert fetch_manifest(f"{registry.host}/{name}:{COMMIT}", credentials=registry.credentials)


def test_a_repository_that_ecr_does_not_have_is_named_with_the_command_that_makes_it(
    ecr: Any,  # noqa: ANN401  botocore makes its types at run time
    make_image: MakeImage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["push", "train", "--tag", make_image()]) == 2
    refused = capsys.readouterr().err
    assert "has no repository 'kennel-train'" in refused
    assert "aws cloudformation deploy --template-file docker/cloudformation.yaml" in refused
    assert "aws ecr create-repository --region eu-west-1 --repository-name kennel-train" in refused


def test_docker_is_logged_in_to_ecr_without_the_token_on_a_command_line(
    ecr: Any,  # noqa: ANN401  botocore makes its types at run time
    registry: LocalRegistry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["push", "--login"]) == 0
    assert registry.host in capsys.readouterr().out
    known = json.loads((tmp_path / "config.json").read_text())["auths"]
    assert known[registry.host]["auth"] == _base64(f"AWS:{ACCOUNT}-auth-token")
