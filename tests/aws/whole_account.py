"""An account in which a person can train: an image in ECR, prices, quotas, a bucket, pictures that were uploaded."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from account import Account, open_account
from roles import make_role
from stand_in_images import open_images
from stand_in_prices import Prices, product
from stand_in_quotas import Quotas
from werkzeug.wrappers import Request, Response

from kennel import __version__, cli
from kennel.launch.preflight import checks as preflight_checks
from kennel.launch.watching import attend

BUCKET = "my-bucket"
ROLE = "arn:aws:iam::123456789012:role/kennel-execution"
DATA = f"s3://{BUCKET}/kennel/data/dogs"
TYPES = ("ml.g5.xlarge", "ml.g5.2xlarge")


@contextmanager
def whole_account(runs: Path) -> Iterator[Account]:
    """An account whose jobs run below `runs`."""
    with open_account(runs) as account, open_images(account) as images:
        images.put("kennel-train", __version__)
        images.put("kennel-serve", __version__)
        account.others["pricing"] = Prices(*(product(each, "Training", "1.40") for each in TYPES))
        account.others["servicequotas"] = Quotas({}, {})
        account.admin("s3").create_bucket(Bucket=BUCKET)
        make_role(account, ROLE)
        yield account


def be_user(account: Account, patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Who asks, from an empty folder; the calls and faults of the account are this test's."""
    account.calls.clear()
    account.faults.clear()
    for key, value in {**account.environ, "KENNEL_ROLE": ROLE, "KENNEL_BUCKET": BUCKET}.items():
        patch.setenv(key, value)
    patch.setenv("KENNEL_RUNS", str(folder / "runs-here"))
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    patch.setattr(preflight_checks, "commit_here", lambda: None)  # the image is of no commit
    patch.setattr(attend, "_AWS", dataclasses.replace(attend._AWS, poll_s=0.3))
    patch.chdir(folder)


def put_pictures(account: Account, *, digest: str | None = "0" * 64, images: int = 1) -> None:
    """What an upload leaves at DATA, of one file and a manifest of many. digest: None for one that was interrupted."""
    entry = {"sha256": "0" * 64, "size": 1, "etag": "0"}
    files = {f"train/a/{number}.jpg": entry for number in range(images)}
    manifest = json.dumps({"format": 1, "digest": digest, "files": files}).encode()
    account.admin("s3").put_object(Bucket=BUCKET, Key="kennel/data/dogs/train/a/0.jpg", Body=b"0")
    account.admin("s3").put_object(Bucket=BUCKET, Key="kennel/data/dogs.manifest.json", Body=manifest)


def kennel(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


class LostAnswer:
    """SageMaker behind a network that loses its first answer to a creation: a load balancer says 503 in its place."""

    def __init__(self, account: Account, operation: str) -> None:
        self._account = account
        self._operation = operation
        self.lost = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        request = Request(environ)
        headers = {key: value for key, value in request.headers.items() if key.lower() != "host"}
        url = f"{self._account.local_url}{request.path}"
        found = requests.post(url, headers=headers, data=request.get_data(), timeout=60)
        if request.headers.get("X-Amz-Target", "").endswith(f".{self._operation}") and not self.lost:
            self.lost += 1
            return Response("", status=503)(environ, start_response)
        kept = {"Content-Type": found.headers["Content-Type"]}
        return Response(found.content, status=found.status_code, headers=kept)(environ, start_response)
