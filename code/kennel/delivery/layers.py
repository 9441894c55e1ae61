"""What an image is made of, layer by layer, and how many of its bytes it shares with others.

    kennel layers kennel-train:0.1.0 kennel-serve:0.1.0 --limit-gb 6.5

Docker's history has a line for every instruction, also for those that made no layer, and its layers have digests
without sizes: here the two are laid side by side.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from docker.errors import ImageNotFound

from kennel.delivery.push import open_engine
from kennel.errors import KennelError, UserError

_MAX_LINE: Final = 96
# Instructions that change only the configuration, as BuildKit writes them and as the builder before it.
_CONFIGURATION: Final = re.compile(
    r"(/bin/sh -c #\(nop\)\s+)?(ARG|CMD|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|SHELL|STOPSIGNAL"
    r"|USER|VOLUME)\b"
)
_COMMAND: Final = re.compile(r"RUN |/bin/sh -c (?!#\(nop\))")
# What stands before the command itself: the builder's marks, the values of build arguments, the shell with its options.
_NOISE: Final = re.compile(
    r"^/bin/sh -c #\(nop\)\s+|^(RUN )?(\|\d+ .*?)?(?=/bin/)/bin/(ba)?sh( -[a-z]+( pipefail)?)* -c "
)


@dataclass(frozen=True)
class Layer:
    """One layer. digest: its diff id (of the uncompressed tar); made_by: what built it, in a line."""

    digest: str
    size_bytes: int
    made_by: str


@dataclass(frozen=True)
class ImageLayers:
    """An image's layers, the base first."""

    name: str
    image_id: str
    layers: tuple[Layer, ...]

    @property
    def size_bytes(self) -> int:
        return sum(layer.size_bytes for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        layers = [
            {"digest": each.digest, "size_bytes": each.size_bytes, "made_by": each.made_by} for each in self.layers
        ]
        return {"image": self.name, "id": self.image_id, "size_bytes": self.size_bytes, "layers": layers}

    def table(self) -> str:
        lines = [f"{self.name}", f"  {'MB':>9}  {'layer':<12}  made by"]
        lines += [f"  {_mb(each.size_bytes)}  {each.digest[7:19]}  {each.made_by}" for each in self.layers]
        return "\n".join([*lines, f"  {_mb(self.size_bytes)}  in {len(self.layers)} layers, uncompressed"])


@dataclass(frozen=True)
class Sharing:
    """The bytes that all of several images have in common, and the bytes of every layer they have, counted once."""

    shared_bytes: int
    union_bytes: int
    shares: dict[str, float]  # image -> the shared part of its bytes, 0 to 1

    def to_json(self) -> dict[str, Any]:
        share = self.shared_bytes / self.union_bytes if self.union_bytes else 1.0
        return {
            "shared_bytes": self.shared_bytes,
            "union_bytes": self.union_bytes,
            "shared_of_union": share,
            "shared_of_each": self.shares,
        }

    def table(self) -> str:
        share = self.to_json()["shared_of_union"]
        lines = [
            f"together, each layer once: {self.union_bytes / 1e6:,.1f} MB",
            f"in all of them:           {self.shared_bytes / 1e6:,.1f} MB, {share:.1%} of that",
        ]
        return "\n".join([*lines, *(f"  {share:.1%} of {name}" for name, share in self.shares.items())])


def report(names: Sequence[str], *, json_file: Path | None = None, limit_gb: float | None = None) -> None:
    """Prints the table of every image and what they share, writes the same as JSON, then judges the sizes.

    Raises UserError where there is no such image, KennelError where Docker does not answer or an image is above the
    limit.
    """
    with open_engine() as engine:
        images = [read_layers(engine, name) for name in names]
    print("\n".join(image.table() for image in images))
    if len(images) > 1:
        print(sharing(images).table())
    if json_file:
        json_file.write_text(json.dumps(to_json(images), indent=2) + "\n")
    if limit_gb is not None:
        check_limit(images, limit_gb)


def read_layers(engine: Any, name: str) -> ImageLayers:  # noqa: ANN401  a DockerClient
    """The layers of an image on this machine. Raises UserError where there is none of that name."""
    try:
        image = engine.images.get(name)
    except ImageNotFound as error:
        raise UserError(f"There is no image '{name}' on this machine. Build it: scripts/build.sh") from error
    digests = image.attrs["RootFS"].get("Layers") or []
    return ImageLayers(name, image.id, tuple(lay_out(digests, image.history())))


def lay_out(digests: Sequence[str], history: Sequence[dict[str, Any]]) -> list[Layer]:
    """Layers with size and origin. digests: the base first; history: the newest first, as Docker gives both.

    An entry with bytes made a layer, one that only configures made none. An entry without bytes in between may have
    made an empty layer (WORKDIR that adds a folder) or none (RUN that changed nothing): Docker's history does not say,
    so the number of digests decides, and folders and files are believed before commands.
    """
    entries = list(reversed(history))
    certain = [index for index, entry in enumerate(entries) if entry["Size"] > 0]
    possible = [
        index
        for index, entry in enumerate(entries)
        if entry["Size"] == 0 and not _CONFIGURATION.match(entry["CreatedBy"] or "")
    ]
    possible.sort(key=lambda index: bool(_COMMAND.match(entries[index]["CreatedBy"])))
    missing = len(digests) - len(certain)
    if not 0 <= missing <= len(possible):
        raise KennelError(
            f"Docker names {len(digests)} layers, and {len(certain)} to {len(certain) + len(possible)} by its history."
        )
    chosen = sorted(certain + possible[:missing])
    return [
        Layer(digest, entries[index]["Size"], describe(entries[index]))
        for digest, index in zip(digests, chosen, strict=True)
    ]


def describe(entry: dict[str, Any]) -> str:
    """What made a layer, without the builder's words, in one line of at most 96 characters."""
    line = " ".join((entry["CreatedBy"] or "").removesuffix("# buildkit").split())
    line = _NOISE.sub("", line) or entry.get("Comment") or "(unknown)"
    return line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 1]}…"


def sharing(images: Sequence[ImageLayers]) -> Sharing:
    """What two or more images have in common. A layer is the same where its digest is."""
    sizes = [{layer.digest: layer.size_bytes for layer in image.layers} for image in images]
    common = set.intersection(*(set(each) for each in sizes))
    union = {digest: size for each in sizes for digest, size in each.items()}
    shared = sum(union[digest] for digest in common)
    shares = {image.name: shared / image.size_bytes if image.size_bytes else 1.0 for image in images}
    return Sharing(shared_bytes=shared, union_bytes=sum(union.values()), shares=shares)


def to_json(images: Sequence[ImageLayers]) -> dict[str, Any]:
    """All that the tables say; `sharing` where there are two images or more."""
    more = {"sharing": sharing(images).to_json()} if len(images) > 1 else {}
    return {"images": [image.to_json() for image in images], **more}


def check_limit(images: Sequence[ImageLayers], limit_gb: float) -> None:
    """The size gate: raises KennelError that names every image above `limit_gb` (10^9 bytes) and its largest layers."""
    too_large = [image for image in images if image.size_bytes > limit_gb * 1e9]
    if too_large:
        raise KennelError("\n".join(_complaint(image, limit_gb) for image in too_large))


def _complaint(image: ImageLayers, limit_gb: float) -> str:
    largest = sorted(image.layers, key=lambda layer: layer.size_bytes, reverse=True)[:3]
    lines = [f"{image.name} has {image.size_bytes / 1e9:.2f} GB, more than the limit of {limit_gb:g} GB. Most of it:"]
    return "\n".join([*lines, *(f"  {_mb(layer.size_bytes)} MB  {layer.made_by}" for layer in largest)])


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:9,.1f}"
