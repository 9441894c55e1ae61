"""What verbs have in common: how one is added, and the options that several have."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

PLACES: Final = ("local", "docker")


def add_verb(verbs: Any, name: str, run: Callable[..., Any], help_text: str, **more: Any) -> argparse.ArgumentParser:  # noqa: ANN401
    """A verb that calls `run` with its arguments. verbs: as argparse's add_subparsers gives it. more: add_parser's."""
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=help_text, description=help_text, **more)
    verb.set_defaults(run=run)
    return verb


def add_repeated(verb: argparse.ArgumentParser, option: str, metavar: str, text: str, **more: Any) -> None:  # noqa: ANN401
    """An option whose values are a list."""
    verb.add_argument(option, action="append", default=[], metavar=metavar, help=f"{text}; as often as needed", **more)


def add_data(verb: argparse.ArgumentParser) -> None:
    """--data, a folder of images."""
    verb.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="train/ valid/ test/ of class folders, or class folders"
    )


def add_place(verb: argparse.ArgumentParser, *, image: str | None = None) -> None:
    """--on, and with `image` the image that takes the place of Kennel's, said by what it does."""
    verb.add_argument(
        "--on", choices=PLACES, default="local", help="as processes of this checkout, or as containers (local)"
    )
    if image:
        verb.add_argument("--image", metavar="IMAGE", help=f"with --on docker: the image {image} (Kennel's own)")


def bar_progress(bar: Any) -> Callable[[int, int], None]:  # noqa: ANN401  a tqdm
    """What functions with a `progress` call, to move a bar."""

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress
