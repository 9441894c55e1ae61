"""Images in ECR: which is meant, and whether SageMaker would run it. Manifests are real ones, without layers behind."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from account import Account, fault, open_account
from stand_in_images import REGISTRY, Images, open_images

from kennel.aws.images import CPU, check_registry, find_image, find_own_image
from kennel.delivery.registry import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST
from kennel.errors import UserError

TRAIN = f"{REGISTRY}/kennel-train"
SERVE = f"{REGISTRY}/kennel-serve:1.0"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with open_account(tmp_path_factory.mktemp("images") / "runs") as opened:
        yield opened


@pytest.fixture
def images(account: Account) -> Iterator[Images]:
    with open_images(account) as opened:
        yield opened


@pytest.fixture
def ecr(account: Account, images: Images, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  boto3's
    for key, value in account.environ.items():
        monkeypatch.setenv(key, value)
    return boto3.client("ecr")


def test_a_tag_is_read_to_its_digest_platform_and_cuda(ecr: Any, images: Images) -> None:  # noqa: ANN401
    digest = images.put("kennel-train", "abc")
    found = find_image(f"{TRAIN}:abc", ecr)
    assert (found.by_digest, found.tag) == (f"{TRAIN}@{digest}", "abc")
    assert (found.platform, found.cuda, found.problems, found.unread) == ("linux/amd64", (13, 2), [], None)
    again = find_image(found.by_digest, ecr)
    assert (again.by_digest, again.tag, again.cuda) == (found.by_digest, None, (13, 2))
    images.put("kennel-train", "plain", cuda=None)
    assert find_image(f"{TRAIN}:plain", ecr).cuda is None


def test_what_sagemaker_does_not_pull_is_a_problem_with_its_remedy(ecr: Any, images: Images) -> None:  # noqa: ANN401
    images.put("kennel-train", "arm", platform="linux/arm64")
    assert "is for linux/arm64; SageMaker's machines are linux/amd64" in find_image(f"{TRAIN}:arm", ecr).problems[0]
    images.put("kennel-train", "oci", media_type=OCI_MANIFEST)
    [problem] = find_image(f"{TRAIN}:oci", ecr).problems
    assert "OCI's manifest, not Docker's. Build with" in problem
    for tag, kind in (("index", OCI_INDEX), ("list", DOCKER_LIST)):
        manifest = {"schemaVersion": 2, "mediaType": kind, "manifests": [{"platform": {"os": "linux"}}]}
        images.put("kennel-train", tag, media_type=kind, content=manifest)
        assert "a list of 1 manifests" in find_image(f"{TRAIN}:{tag}", ecr).problems[0]


def test_a_missing_image_names_the_commands_that_push_it(ecr: Any, images: Images) -> None:  # noqa: ANN401
    with pytest.raises(
        UserError, match="kennel-train:1 is not in ECR. scripts/build.sh train && scripts/push.sh train"
    ):
        find_image(f"{TRAIN}:1", ecr)
    images.put("kennel-train", "2")
    with pytest.raises(UserError, match="is not in ECR"):
        find_image(f"{TRAIN}:1", ecr)
    with pytest.raises(UserError, match="docker push puts it there"):
        find_image(f"{REGISTRY}/mine:1", images.client)  # of which the person's policy says nothing


def test_of_our_own_images_the_tag_then_the_commit_then_the_newest_counts(ecr: Any, images: Images) -> None:  # noqa: ANN401
    assert find_own_image(SERVE, ecr, commit="c1") is None
    for number, tag in enumerate(("c0", "c1", f"c1{CPU}", "c2", "c2-cpu-0123456789ab-dirty", "cache")):
        images.put("kennel-serve", tag, cuda=f"13.{number}")

    def chosen(commit: str | None, *variants: str) -> str | None:
        found = find_own_image(SERVE, ecr, commit=commit, variants=variants)
        assert found is not None
        return found.tag

    assert (chosen("c1", ""), chosen("c1", CPU), chosen("c1", CPU, "")) == ("c1", f"c1{CPU}", f"c1{CPU}")
    assert chosen("c2", CPU, "") == "c2"  # the commit's own counts for more than its size
    assert chosen(None, "") in ("c0", "c1", "c2")  # moto's times are whole seconds
    assert chosen("other", CPU, "") in (f"c1{CPU}", "c2-cpu-0123456789ab-dirty")
    images.put("kennel-serve", "1.0", cuda="13.9")
    assert chosen("c1", "") == "1.0"


def test_only_the_regions_own_ecr_is_pulled_from() -> None:
    check_registry(f"{TRAIN}:1", region="us-east-1")
    for elsewhere in ("kennel-train:1", "ghcr.io/me/kennel:1", "public.ecr.aws/x/y:1"):
        with pytest.raises(UserError, match="is not in ECR, .* inside a VPC only"):
            check_registry(elsewhere, region="us-east-1")
    with pytest.raises(UserError, match="in ECR of us-east-1, and the job would run in eu-west-1"):
        check_registry(f"{TRAIN}:1", region="eu-west-1")


def test_a_configuration_that_cannot_be_read_is_said_and_is_no_problem(
    ecr: Any,  # noqa: ANN401
    images: Images,
    account: Account,
) -> None:
    images.put("kennel-train", "abc")
    denied = "User x is not authorized to perform: ecr:GetDownloadUrlForLayer"
    account.faults["GetDownloadUrlForLayer"] = [fault("AccessDeniedException", denied)]
    found = find_image(f"{TRAIN}:abc", ecr)
    assert found.problems == [] and found.platform is None and denied in str(found.unread)
    for digest in images.blobs:
        images.blobs[digest] = b"{}"  # cut on its way
    assert "is not sha256:" in str(find_image(f"{TRAIN}:abc", ecr).unread)
    images.blobs.clear()
    assert "404" in str(find_image(f"{TRAIN}:abc", ecr).unread)
