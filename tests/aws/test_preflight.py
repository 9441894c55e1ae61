"""What is checked before anything is paid for, against the account of the tests.

Not shown: AWS's own prices, quotas and drivers (prices and quotas are made up), capacity, and roles of other accounts.
"""

import dataclasses
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from account import EXPIRED, Account, fault, open_account
from roles import make_role
from stand_in_images import REGISTRY, Images, open_images
from stand_in_prices import Prices, product, serverless
from stand_in_quotas import Quotas

from kennel import __version__
from kennel.aws.instances import TRAIN, TRANSFORM
from kennel.aws.words import CredentialsError
from kennel.delivery.registry import OCI_MANIFEST
from kennel.errors import UserError
from kennel.launch.places import Place, open_place
from kennel.launch.preflight import checks as preflight_checks
from kennel.launch.preflight.clear import Cleared, clear_endpoint, clear_jobs
from kennel.launch.resources import Resources

TYPE = "ml.g5.xlarge"
CPU_TYPE = "ml.c7i.large"
BUCKET = "my-bucket"
ROLE = "arn:aws:iam::123456789012:role/kennel-execution"
DATA = f"s3://{BUCKET}/kennel/data/dogs/"
MODEL = f"s3://{BUCKET}/kennel/jobs/dogs/output/model.tar.gz"
DENIED = fault("AccessDeniedException", "not authorized")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with open_account(tmp_path_factory.mktemp("preflight") / "runs") as account:
        s3 = account.admin("s3")
        s3.create_bucket(Bucket=BUCKET)
        for key in ("kennel/data/dogs/train/a/1.jpg", "kennel/jobs/dogs/output/model.tar.gz"):
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
        make_role(account, ROLE)
        account.others["pricing"] = Prices(
            product(TYPE, "Training", "1.40"),
            product(TYPE, "Hosting", "1.50"),
            product(CPU_TYPE, "Hosting", "0.10"),
            product(CPU_TYPE, "AsyncInf", "0.12"),
            product("ml.c7i.xlarge", "BatchTransform", "0.20"),
            serverless(3, "0.00006"),
        )
        yield account


@pytest.fixture
def account(opened: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    """Everything is there; the calls and faults are this test's, and nothing is kept from another's."""
    opened.calls.clear()
    opened.faults.clear()
    opened.others["servicequotas"] = Quotas(
        {f"{TYPE} for {use}": 4.0 for use in ("training job usage", "endpoint usage")}
        | {f"{CPU_TYPE} for endpoint usage": 4.0},
        {f"{TYPE} for spot training job usage": 0.0, f"{TYPE} for training warm pool usage": 0.0},
    )
    own = {"KENNEL_ROLE": ROLE, "KENNEL_BUCKET": BUCKET, "XDG_CACHE_HOME": str(tmp_path)}
    for key, value in {**opened.environ, **own}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preflight_checks, "commit_here", lambda: None)
    return opened


@pytest.fixture
def images(account: Account) -> Iterator[Images]:
    with open_images(account) as opened:
        opened.put("kennel-train", __version__)
        opened.put("kennel-serve", __version__)
        yield opened


@pytest.fixture
def place(images: Images) -> Place:
    return open_place("aws")


def clear(place: Place, *, use: str = TRAIN, more: dict[str, Any] | None = None, **options: Any) -> Cleared:  # noqa: ANN401
    resources = Resources(**{"instance_type": TYPE, "max_run_s": 3600, **(more or {})})
    return clear_jobs(place, resources, use=use, **{"inputs": {"data": DATA}, **options})


def clear_serving(place: Place, instance_type: str | None, **options: Any) -> Cleared:  # noqa: ANN401
    given = {"least": 1, "most": 1, "ttl_s": 7200, "model_uri": MODEL, **options}
    return clear_endpoint(place, instance_type=instance_type, **given)


def problems(caught: pytest.ExceptionInfo[UserError]) -> list[str]:
    """The numbered list of an error."""
    return [line.partition(". ")[2] for line in str(caught.value).splitlines() if line.startswith("  ")]


def test_what_is_well_gives_the_image_by_digest_the_quota_and_the_price(place: Place, images: Images) -> None:
    digest = images.put("kennel-train", "c0ffee")
    asked = dataclasses.replace(place, train_image=f"{REGISTRY}/kennel-train:c0ffee")
    cleared = clear(asked, more={"instance_count": 2}, max_cost=Decimal(3))
    assert cleared.place.train_image == f"{REGISTRY}/kennel-train@{digest}"
    assert cleared.place.serve_image == place.serve_image and cleared.inference_ami is None
    said = "\n".join(cleared.lines)
    assert f"image: {REGISTRY}/kennel-train@{digest} (tag c0ffee, CUDA 13.2)" in said
    assert "quota: 'ml.g5.xlarge for training job usage' is 4, 2 needed" in said
    assert "cost: $0.14 to $2.80" in said and "driver: CUDA 13.2 wants 580 or newer" in said
    assert "warning" not in said


def test_all_that_is_wrong_is_said_at_once(account: Account, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    images.clear()
    monkeypatch.setenv("KENNEL_BUCKET", "nobodys-bucket")
    monkeypatch.setenv("KENNEL_ROLE", f"{ROLE}-2")
    with pytest.raises(UserError) as caught:
        clear(
            open_place("aws"),
            more={"instance_count": 5, "max_run_s": 36000},
            inputs={"data": "s3://nobodys-bucket/none/"},
            max_cost=Decimal(5),
        )
    role, bucket, data, quota, image, cost = problems(caught)
    assert str(caught.value).startswith("6 things stand in the way:\n  1. ")
    assert "There is no role" in role and "scripts/setup.sh" in role
    assert "There is no bucket 'nobodys-bucket'. Make it: aws s3api create-bucket" in bucket
    assert data == "data: there is no bucket 'nobodys-bucket' (s3://nobodys-bucket/none/)."
    assert "is 4 in us-east-1, and 5 are needed. Ask for more" in quota
    assert "There is no image of Kennel's in ECR" in image
    assert "Build and push it: scripts/build.sh train && scripts/push.sh train" in image
    assert "This may cost $70.00, more than --max-cost 5. Give --max-run" in cost
    assert account.asked("CreateTrainingJob") == []


def test_one_problem_is_no_list_and_settings_are_asked_for(place: Place) -> None:
    nobody = dataclasses.replace(place, role="", profile=dataclasses.replace(place.profile, role=None))
    with pytest.raises(UserError, match="^--on aws needs role, .*Give --role, (.|\n)*Nothing was made"):
        clear(nobody)
    with pytest.raises(UserError, match="--role me is no role's ARN"):
        clear(dataclasses.replace(place, role="me"))


def test_a_role_that_sagemaker_may_not_take_is_refused(place: Place, account: Account) -> None:
    other = "arn:aws:iam::123456789012:role/of-lambda"
    make_role(account, other, service="lambda.amazonaws.com")
    with pytest.raises(UserError, match=r"of-lambda does not trust sagemaker\.amazonaws\.com"):
        clear(dataclasses.replace(place, role=other))


def test_an_empty_address_is_refused(place: Place) -> None:
    with pytest.raises(UserError, match="data: nothing is at s3://my-bucket/none/. Upload it: scripts/upload.sh"):
        clear(place, inputs={"data": f"s3://{BUCKET}/none/"})


def test_an_upload_that_was_interrupted_is_refused(place: Place, account: Account) -> None:
    s3, key = account.admin("s3"), "kennel/data/half"
    s3.put_object(Bucket=BUCKET, Key=f"{key}/1.jpg", Body=b"x")
    manifest = json.dumps({"format": 1, "digest": None, "files": {}}).encode()
    s3.put_object(Bucket=BUCKET, Key=f"{key}.manifest.json", Body=manifest)
    with pytest.raises(UserError, match=f"the upload to s3://{BUCKET}/{key}/ was interrupted"):
        clear(place, inputs={"data": f"s3://{BUCKET}/{key}/"})


def test_an_image_that_sagemaker_would_refuse_is_refused_here(place: Place, images: Images) -> None:
    images.put("kennel-train", "oci", media_type=OCI_MANIFEST, platform="linux/arm64")
    with pytest.raises(UserError) as caught:
        clear(dataclasses.replace(place, train_image=f"{REGISTRY}/kennel-train:oci"))
    assert "OCI's manifest, not Docker's" in problems(caught)[0] and "is for linux/arm64" in problems(caught)[1]
    with pytest.raises(UserError, match="ghcr.io/me/mine:1 is not in ECR"):
        clear(dataclasses.replace(place, train_image="ghcr.io/me/mine:1"))


def test_without_an_image_of_this_version_the_commits_or_the_newest_counts(
    account: Account, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.clear()
    ours, newer = "a" * 40, "b" * 40
    digest = images.put("kennel-train", ours)
    monkeypatch.setattr(preflight_checks, "commit_here", lambda: ours)
    cleared = clear(open_place("aws"))
    assert cleared.place.train_image.endswith(digest) and f"(tag {ours}, CUDA 13.2)" in "\n".join(cleared.lines)
    assert "checkout" not in "\n".join(cleared.lines)
    monkeypatch.setattr(preflight_checks, "commit_here", lambda: newer)
    assert "this checkout is at bbbbbbbbbbbb, of which none was pushed" in "\n".join(clear(open_place("aws")).lines)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"instance_type": "ml.g5.xlrge"}, "ml.g5.xlrge is not among the types"),
        ({"instance_type": "ml.m5.xlarge"}, "has no ml.m5.xlarge for Training in us-east-1"),
        ({"instance_type": "ml.m5.xlarge"}, "quota: 'ml.m5.xlarge for training job usage' is not known"),
        ({"instance_type": "ml.m5.xlarge"}, "cost: not known"),
        ({"keep_warm_s": 600}, "warning: The quota 'ml.g5.xlarge for training warm pool usage' is 0"),
    ],
)
def test_what_is_only_unusual_is_a_line(place: Place, more: dict[str, Any], said: str) -> None:
    assert said in "\n".join(clear(place, more=more).lines)


def test_no_limit_is_promised_where_no_price_is_known(place: Place) -> None:
    with pytest.raises(UserError, match="--max-cost 5: no price is known"):
        clear(place, more={"instance_type": "ml.m5.xlarge"}, max_cost=Decimal(5))


def test_spot_has_a_quota_of_its_own_and_a_search_needs_machines_side_by_side(place: Place) -> None:
    with pytest.raises(UserError, match="'ml.g5.xlarge for spot training job usage' is 0 in us-east-1, and 1 are"):
        clear(place, more={"is_spot": True})
    cleared = clear(place, jobs=20, at_once=4, expected_s=600)
    said = "\n".join(cleared.lines)
    assert "is 4, 4 needed" in said and "cost: $1.40 to $28.00, likely about $4.67" in said


def test_a_rehearsal_comes_after_the_checks(place: Place) -> None:
    measured: list[float] = []

    def measure() -> float:
        measured.append(600)
        return 600

    with pytest.raises(UserError, match="nothing is at"):
        clear(place, inputs={"data": f"s3://{BUCKET}/none/"}, measure=measure)
    clear(place, is_dry=True, measure=measure)
    assert measured == []
    assert "likely about $0.24" in "\n".join(clear(place, measure=measure).lines) and measured == [600]


def test_what_may_not_be_asked_is_not_known_and_stops_nothing(place: Place, account: Account) -> None:
    for operation in ("GetRole", "DescribeImages", "ListServiceQuotas", "GetProducts"):
        account.faults[operation] = [DENIED]
    denied = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code></Error></ErrorResponse>"
    account.faults["POST /"] = [(403, {}, denied)]
    cleared = clear(place)
    said = "\n".join(cleared.lines)
    assert "role: not known (GetRole is not allowed)" in said
    assert "image: not known (DescribeImages is not allowed)" in said
    assert "quota: 'ml.g5.xlarge for training job usage' is not known" in said and "cost: not known" in said
    assert cleared.place.train_image == place.train_image


def test_expired_credentials_are_no_finding(place: Place, account: Account) -> None:
    account.faults["DescribeImages"] = [EXPIRED]
    with pytest.raises(CredentialsError, match="expired"):
        clear(place)


def test_a_dry_run_asks_nothing_and_checks_the_rest(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(key)
    place = open_place("aws", is_dry=True)
    cleared = clear(place, is_dry=True)
    assert cleared.place is place and "not checked in a dry run" in cleared.lines[-1] and account.calls == []
    with pytest.raises(UserError, match="'g5' is no instance type"):
        clear(place, more={"instance_type": "g5"}, is_dry=True)
    assert clear_serving(place, TYPE, is_dry=True).inference_ami is None and account.calls == []


def test_an_endpoint_on_a_gpu_gets_the_ami_of_its_images_cuda(place: Place, images: Images) -> None:
    cleared = clear_serving(place, TYPE, most=2)
    assert cleared.inference_ami == "al2023-ami-sagemaker-inference-gpu-4-1"
    assert cleared.place.serve_image.startswith(f"{REGISTRY}/kennel-serve@sha256:")
    assert "cost: $3.00 to $6.00" in "\n".join(cleared.lines)
    images.put("kennel-serve", "old", cuda="12.4.1")
    old = dataclasses.replace(place, serve_image=f"{REGISTRY}/kennel-serve:old")
    assert clear_serving(old, TYPE).inference_ami == "al2-ami-sagemaker-inference-gpu-2-1"
    images.put("kennel-serve", "new", cuda="14.0")
    with pytest.raises(UserError, match=r"The image has CUDA 14\.0, and no endpoint AMI"):
        clear_serving(dataclasses.replace(place, serve_image=f"{REGISTRY}/kennel-serve:new"), TYPE)
    images.put("kennel-serve", "plain", cuda=None)
    plain = clear_serving(dataclasses.replace(place, serve_image=f"{REGISTRY}/kennel-serve:plain"), TYPE)
    assert "the image says of no CUDA in it" in "\n".join(plain.lines)


def test_on_a_cpu_the_small_image_is_taken_where_it_is(place: Place, images: Images) -> None:
    large = clear_serving(place, CPU_TYPE)
    assert large.inference_ami is None and f"(tag {__version__}, CUDA 13.2)" in "\n".join(large.lines)
    digest = images.put("kennel-serve", f"{__version__}-cpu", cuda=None)
    for instance_type in (CPU_TYPE, None):
        small = clear_serving(place, instance_type, serverless_mb=3072)
        assert small.place.serve_image.endswith(digest)
        assert f"(tag {__version__}-cpu, no CUDA)" in "\n".join(small.lines)
    asked = dataclasses.replace(place, serve_image=large.place.serve_image)
    assert clear_serving(asked, CPU_TYPE).place.serve_image == large.place.serve_image  # what was asked for


def test_each_kind_of_endpoint_has_its_price(place: Place) -> None:
    assert "cost: $0.20 to $0.20" in "\n".join(clear_serving(place, CPU_TYPE).lines)
    waiting = clear_serving(place, CPU_TYPE, least=0, is_async=True)
    assert "cost: $0.00 to $0.24" in "\n".join(waiting.lines)
    serverless_lines = "\n".join(clear_serving(place, None, serverless_mb=3072).lines)
    assert "$0.00006 a second (list price of 2026-11-20) in which it answers, with 3072 MB" in serverless_lines
    with pytest.raises(UserError, match="more than --max-cost 1. Give --ttl 600m or less"):
        clear_serving(place, CPU_TYPE, ttl_s=None, max_cost=Decimal(1))


def test_batch_transform_on_a_gpu_has_too_old_a_driver(place: Place) -> None:
    with pytest.raises(UserError, match="Batch transform on ml.g5.xlarge has NVIDIA's driver 535 at best, too old"):
        clear(place, use=TRANSFORM)
    said = "\n".join(clear(place, use=TRANSFORM, more={"instance_type": "ml.c7i.xlarge"}).lines)
    assert "cost: $0.01 to $0.20" in said and "transform job usage' is not known" in said


def test_a_model_that_is_not_there_is_refused(place: Place) -> None:
    with pytest.raises(UserError, match="model: nothing is at s3://my-bucket/none.tar.gz. Look at the address"):
        clear_serving(place, CPU_TYPE, model_uri=f"s3://{BUCKET}/none.tar.gz")
