"""What verbs have in common: how one is added, and the options that several have."""

import argparse
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

PLACES: Final = ("local", "docker", "aws")
_SETTINGS: Final = ("role", "bucket", "region", "subnets", "security_groups", "kms_key")


def add_verb(verbs: Any, name: str, run: Callable[..., Any], help_text: str, **more: Any) -> argparse.ArgumentParser:  # noqa: ANN401
    """A verb that calls `run` with its arguments. verbs: as argparse's add_subparsers gives it. more: add_parser's."""
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=help_text, description=help_text, **more)
    verb.set_defaults(run=run)
    return verb


def add_repeated(verb: argparse.ArgumentParser, option: str, metavar: str, text: str, **more: Any) -> None:  # noqa: ANN401
    """An option whose values are a list."""
    verb.add_argument(option, action="append", default=[], metavar=metavar, help=f"{text}; as often as needed", **more)


def add_data(verb: argparse.ArgumentParser, *, is_remote: bool = False) -> None:
    """--data, a folder of images. is_remote: or, as text, an address in S3, for jobs on AWS."""
    text = "train/ valid/ test/ of class folders, or class folders"
    verb.add_argument(
        "--data",
        type=_folder_or_address if is_remote else Path,
        required=True,
        metavar="DIR",
        help=f"{text}; with --on aws the s3:// address that kennel upload prints" if is_remote else text,
    )


def add_place(verb: argparse.ArgumentParser, *, image: str | None = None) -> None:
    """--on, with what says whose account that is, and with `image` the image in place of Kennel's, by what it does."""
    verb.add_argument(
        "--on",
        choices=PLACES,
        default="local",
        help="as processes of this checkout, as containers, or on SageMaker (local)",
    )
    if image:
        verb.add_argument("--image", metavar="IMAGE", help=f"the image {image}, with --on docker or aws (Kennel's own)")
    add_profile(verb)


def add_profile(verb: argparse.ArgumentParser, *, title: str = "with --on aws") -> None:
    """Whose account, and where in it: each over its variable (KENNEL_ROLE and so on), over kennel.toml."""
    group = verb.add_argument_group(title, "each in place of KENNEL_ROLE and so on, or of kennel.toml")
    group.add_argument("--role", metavar="ARN", help="what jobs and models run as")
    group.add_argument("--bucket", help="in which data, checkpoints and models are")
    group.add_argument("--region", help="such as eu-west-1 (AWS_REGION)")
    group.add_argument("--subnets", type=_ids, metavar="ID,ID", help="of a VPC, with --security-groups")
    group.add_argument("--security-groups", type=_ids, metavar="ID,ID")
    group.add_argument("--kms-key", metavar="KEY", help="that outputs and volumes are encrypted with")


def settings_of(arguments: argparse.Namespace) -> dict[str, object]:
    """What add_profile's options say, as open_place takes it."""
    return {each: getattr(arguments, each) for each in _SETTINGS}


def add_machines(verb: argparse.ArgumentParser, *, instance: str) -> None:
    """What a job runs on and may cost, on AWS: see kennel.launch.resources.read_resources. instance: the default."""
    group = verb.add_argument_group("machines and money, with --on aws")
    group.add_argument("--instance", metavar="TYPE", help=f"({instance})")
    group.add_argument("--instances", type=int, metavar="N", help="machines that train together (1)")
    group.add_argument("--max-run", metavar="TIME", help="the job is stopped after it, such as 45m or 6h (1d)")
    group.add_argument("--volume", type=int, metavar="GB", help="of each machine that has no disk of its own (30)")
    add_limits(group)


def add_training_machines(verb: argparse.ArgumentParser) -> None:
    """What only trainings have, after add_machines."""
    group = verb.add_argument_group("more on the machines, with --on aws")
    group.add_argument("--spot", action="store_true", help="spare machines: cheaper, interrupted, gone on with")
    group.add_argument("--max-wait", metavar="TIME", help="a --spot job's time to wait and run together (a day more)")
    group.add_argument("--keep-warm", type=int, metavar="SECONDS", help="machines stay for the next job, billed (0)")
    group.add_argument("--stream", action="store_true", help="pictures are read as they are needed (FastFile)")
    group.add_argument("--isolated", action="store_true", help="containers have no network but for each other")
    group.add_argument("--rehearse", type=int, metavar="N", help="first train on N pictures here, to know the time")


def add_limits(group: Any) -> None:  # noqa: ANN401  a parser, or a group of one, which argparse does not name
    """--max-cost and --dry-run."""
    group.add_argument("--max-cost", type=_dollars, metavar="USD", help="refuse what may cost more")
    group.add_argument("--dry-run", action="store_true", help="print the exact requests, and send none of them")


def bar_progress(bar: Any) -> Callable[[int, int], None]:  # noqa: ANN401  a tqdm
    """What functions with a `progress` call, to move a bar."""

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress


def _folder_or_address(text: str) -> Path | str:
    return text if text.startswith("s3://") else Path(text)


def _ids(text: str) -> list[str]:
    return [each for each in text.split(",") if each]


def _dollars(text: str) -> Decimal:
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no amount of US dollars. Expected such as 5 or 0.50.")
    return amount
