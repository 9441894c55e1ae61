"""What `kennel push` does with its arguments, and the lines it prints."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from kennel import __version__
from kennel.delivery.push import (
    BuiltImage,
    Destination,
    Plan,
    Progress,
    Pushed,
    built_image,
    delete,
    destination,
    move_tag,
    open_engine,
    plan,
    push,
    write_digests,
)
from kennel.errors import UserError


def run(arguments: argparse.Namespace) -> None:
    """Pushes, or only logs in (--login), deletes (--delete) or says what it would do (--dry-run)."""
    if arguments.delete:
        place = destination(arguments.delete.partition("/")[0])
        print(f"deleted {delete(arguments.delete, place)}")
    elif arguments.login:
        print(f"docker is logged in to {_log_in(destination(arguments.registry))} for 12 hours")
    else:
        _push_all(arguments)


def _log_in(place: Destination) -> str:
    if place.ecr is None:
        raise UserError(f"--login is for ECR. Log in yourself: docker login {place.host}")
    place.ecr.log_in_docker()
    return place.host


def _push_all(arguments: argparse.Namespace) -> None:
    kinds, tag = _kinds(arguments), arguments.tag or __version__
    with open_engine() as engine:
        images = [
            built_image(engine, kind, tag=tag, cpu=arguments.cpu, allow_dirty=arguments.allow_dirty) for kind in kinds
        ]
        place = destination(arguments.registry)
        steps = plan(images, place)
        if arguments.dry_run:
            print("\n".join(_intention(step, _size(engine, step.image)) for step in steps))
            return
        pushed = _push_steps(steps, place, engine)
    for one in pushed:
        if arguments.cache_tag:
            print(f"also as {move_tag(one, place, arguments.cache_tag)}")
    if arguments.digests:
        write_digests(pushed, arguments.digests)


def _kinds(arguments: argparse.Namespace) -> Sequence[str]:
    """As scripts/build.sh takes them: --cpu means the serving image for CPUs alone."""
    if arguments.cpu:
        if arguments.which == "train":
            raise UserError("--cpu is for the serving image: kennel push serve --cpu")
        return ("serve",)
    return ("train", "serve") if arguments.which == "all" else (arguments.which,)


def _push_steps(steps: Sequence[Plan], place: Destination, engine: Any) -> list[Pushed]:  # noqa: ANN401  a DockerClient
    pushed = []
    for step in steps:
        print(f"{step.image.source} -> {step.reference}", flush=True)
        with tqdm(unit="B", unit_scale=True, disable=not sys.stderr.isatty(), leave=False) as bar:
            one = push(step, place, engine, progress=_bar_progress(bar))
        print(_outcome(one), flush=True)
        pushed.append(one)
    return pushed


def _intention(step: Plan, size_bytes: int) -> str:
    what = "is there already, nothing to push" if step.stored else f"would be pushed, {_mb(size_bytes)} uncompressed"
    return f"{step.image.source} -> {step.reference}\n  {what}"


def _outcome(one: Pushed) -> str:
    return (
        f"  {_mb(one.sent_bytes)} pushed, {_mb(one.there_bytes)} there already, {one.seconds:.1f} s\n"
        f"  by digest: {one.by_digest}\n"
        f"  delete it: kennel push --delete {one.by_digest}"
    )


def _size(engine: Any, image: BuiltImage) -> int:  # noqa: ANN401  a DockerClient
    return int(engine.images.get(image.image_id).attrs["Size"])


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _bar_progress(bar: Any) -> Progress:  # noqa: ANN401  a tqdm
    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress
