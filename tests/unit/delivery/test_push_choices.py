"""What kennel push decides before Docker or a registry is asked; with both: tests/images/test_push.py."""

import json
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from kennel import cli
from kennel.delivery.ecr import Ecr, own_registry
from kennel.delivery.push import BuiltImage, Pushed, _follow, destination, open_engine, write_digests
from kennel.delivery.registry import Credentials, Reference, RegistryError
from kennel.errors import KennelError, UserError

AMAZON = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An AWS identity of moto's, and no docker login."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL", "KENNEL_REGISTRY", "ECR_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ("one.example", {"KENNEL_REGISTRY": "two.example", "ECR_REGISTRY": "three.example"}, "one.example"),
        (None, {"KENNEL_REGISTRY": "two.example/team/", "ECR_REGISTRY": "three.example"}, "two.example/team"),
        (None, {"ECR_REGISTRY": AMAZON}, AMAZON),
        (None, {}, "123456789012.dkr.ecr.eu-central-1.amazonaws.com"),
    ],
)
def test_the_registry_is_the_first_that_is_named_and_else_this_accounts(
    given: str | None, environment: dict[str, str], expected: str
) -> None:
    with mock_aws():
        assert destination(given, environment).address == expected


@pytest.mark.parametrize(
    ("given", "environment", "is_ecr"),
    [
        (AMAZON, {}, True),
        (f"{AMAZON}/team", {}, True),
        ("127.0.0.1:5000", {"ECR_REGISTRY": "127.0.0.1:5000"}, True),
        ("127.0.0.1:5000/team", {"ECR_REGISTRY": "127.0.0.1:5000"}, True),
        ("127.0.0.1:5000", {}, False),
        ("dkr.ecr.example", {}, False),
        (f"{AMAZON}.evil.example", {}, False),  # which would be sent the token
    ],
)
def test_only_ecr_is_entered_with_a_token_of_aws(given: str, environment: dict[str, str], is_ecr: bool) -> None:
    with mock_aws():
        place = destination(given, environment)
    assert (place.ecr is not None) is is_ecr
    assert (place.credentials is not None) is is_ecr


def test_the_token_is_never_printed() -> None:
    with mock_aws():
        assert "auth-token" not in repr(destination(AMAZON, {}))


def test_without_a_region_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(UserError, match="No AWS region is set. Set AWS_REGION.*--registry"):
        own_registry()


def test_without_an_aws_identity_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="asking AWS which account this is: Unable to locate credentials"):
        own_registry()


def test_china_has_a_domain_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "cn-north-1")
    with mock_aws():
        assert own_registry() == "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"


def test_ecr_deletes_by_its_own_api_and_says_what_is_left() -> None:
    with mock_aws():
        client = boto3.client("ecr", region_name="eu-west-1")
        client.create_repository(repositoryName="kennel-train")
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}
        manifest["config"] = {"mediaType": "x", "size": 1, "digest": "sha256:" + "0" * 64}
        stored = client.put_image(repositoryName="kennel-train", imageManifest=json.dumps(manifest), imageTag="a")
        digest = stored["image"]["imageId"]["imageDigest"]
        Ecr(AMAZON).delete("kennel-train", digest)
        assert client.list_images(repositoryName="kennel-train")["imageIds"] == []
        with pytest.raises(RegistryError, match="is still there: .*ImageNotFound"):
            Ecr(AMAZON).delete("kennel-train", digest)


def test_a_refusal_in_the_middle_of_a_push_is_told_in_dockers_words() -> None:
    lines = [{"id": "0123456789ab", "status": "Pushing"}, {"error": "denied: not yours", "errorDetail": {}}]
    with pytest.raises(RegistryError, match="r.example/dogs:1 was not pushed: denied: not yours"):
        _follow(lines, "r.example/dogs:1", None)


def test_the_bar_of_a_push_never_goes_past_its_end() -> None:
    """Docker counts a layer's tar headers too, and so sends more bytes than it said."""
    seen: list[tuple[int, int]] = []
    detail = [{"current": 50, "total": 100}, {"current": 120, "total": 100}, {}]
    lines = [{"id": "a", "status": "Pushing", "progressDetail": one} for one in detail]
    lines.append({"id": "b", "status": "Layer already exists"})
    states = _follow(lines, "r.example/dogs:1", lambda done, total: seen.append((done, total)))
    assert seen == [(50, 100), (100, 100)]
    assert states == {"a": "Pushing", "b": "Layer already exists"}


def test_digests_of_several_pushes_come_together_in_one_file(tmp_path: Path) -> None:
    for name in ("kennel-train", "kennel-serve"):
        image = BuiltImage(name, f"{name}:1", name, "sha256:1", "c0ffee")
        reference = Reference.parse(f"r.example/{name}:c0ffee")
        write_digests([Pushed(image, reference, f"r.example/{name}@sha256:2", 1, 2, 3.0)], tmp_path / "new" / "d.json")
    assert json.loads((tmp_path / "new" / "d.json").read_text()) == {
        "kennel-serve": "r.example/kennel-serve@sha256:2",
        "kennel-train": "r.example/kennel-train@sha256:2",
    }


def test_without_docker_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(KennelError, match="No Docker Engine answers .* Start it, or set DOCKER_HOST"), open_engine():
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--cpu"], "--cpu is for the serving image: kennel push serve --cpu"),
        (["--login", "--registry", "r.example"], "--login is for ECR. Log in yourself: docker login r.example"),
        (["--delete", "Not A Reference"], "is no image reference"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["push", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_credentials_of_docker_are_used_for_any_other_registry(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auths": {"r.example": {"auth": "bWU6c2VjcmV0"}}}')
    assert destination("r.example/team", {}).credentials == Credentials("me", "secret")
