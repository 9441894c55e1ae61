"""`kennel upload`: a checked folder of images into S3, and the command that trains on it."""

import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kennel.aws.buckets import check_bucket
from kennel.aws.upload import CLIENT, Plan, Progress, Sent, Upload
from kennel.aws.words import in_words
from kennel.errors import KennelError
from kennel.launch.jobs import check_name, legal_name
from kennel.launch.places import Place


@dataclass(frozen=True)
class DataSet:
    """What is uploaded. pictures: of the folder. digest: as a training prints it. others: that are no pictures.

    seed: of the split, where the folder comes in one piece. has_bad: a training has to leave some out (--anyway).
    """

    folder: Path
    pictures: Collection[Path]
    digest: str
    others: int = 0
    seed: int | None = None
    has_bad: bool = False


def run(data: DataSet, place: Place, *, name: str | None, is_replaced: bool = False, is_dry: bool = False) -> int:
    """The exit status. Raises UserError before anything is sent, KennelError with what is there where it ends early."""
    place.need("bucket")
    upload = _upload(data, place, name)
    with in_words():
        check_bucket(upload.client, upload.bucket, region=place.region)
        plan = upload.compare(data.folder, data.pictures)
    if not is_replaced:
        upload.check(plan)
    if is_dry:
        print(_intention(plan, upload))
        return 0
    try:
        sent = _send(upload, plan, data.digest)
    except KeyboardInterrupt:
        print(f"\nkennel: {_what_is_there(upload, plan)}", file=sys.stderr)
        return 130
    except KennelError as error:
        raise type(error)(f"{error}\n{_what_is_there(upload, plan)}") from error
    print(_outcome(sent, data))
    return 0


def _upload(data: DataSet, place: Place, name: str | None) -> Upload:
    checked = check_name(name, "Data set") if name else legal_name(data.folder.resolve().name)
    bucket, _, prefix = place.uri("data", checked).removeprefix("s3://").partition("/")
    client = place.boto.client("s3", config=CLIENT)
    return Upload(client, bucket, prefix, place.profile.kms_key)


def _send(upload: Upload, plan: Plan, digest: str) -> Sent:
    with (
        in_words(),
        tqdm(
            total=plan.bytes,
            unit="B",
            unit_scale=True,
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
            desc=f"{len(plan.missing)} files",
        ) as bar,
    ):
        return upload.send(plan, digest=digest, progress=_moving(bar))


def _moving(bar: Any) -> Progress:  # noqa: ANN401  a tqdm
    def progress(done: int, total: int) -> None:
        bar.update(done - bar.n)

    return progress


def _what_is_there(upload: Upload, plan: Plan) -> str:
    return f"{upload.there} of {plan.files} files are at {upload.uri}. Say it again to go on."


def _intention(plan: Plan, upload: Upload) -> str:
    deleted = [*plan.gone, *plan.strangers]
    names = [f"  delete {name}" for name in deleted]
    return "\n".join(
        [
            f"would send {len(plan.missing)} files ({_mb(plan.bytes)}) to {upload.uri}, keep {len(plan.kept)}, delete "
            f"{len(deleted)}",
            *names,
        ]
    )


def _outcome(sent: Sent, data: DataSet) -> str:
    others = f"\n{data.others} files are no pictures of the data set, and were left out" if data.others else ""
    split = f" (split with -p seed={data.seed})" if data.seed is not None else ""
    command = f"scripts/train.sh --on aws --data {shlex.quote(sent.uri)}{' --anyway' if data.has_bad else ''}"
    remove = f"aws s3 rm --recursive {sent.uri} && aws s3 rm {sent.uri.rstrip('/')}.manifest.json"
    return (
        f"{sent.sent} files sent ({_mb(sent.bytes)}), {sent.kept} were there, {sent.deleted} deleted{others}\n"
        f"data: {sent.uri}\ndigest: {sent.digest}{split}\ntrain on it: {command}\ndelete it: {remove}"
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
