"""The software bill of materials of an image: which packages of which versions are in it, as CycloneDX 1.6 JSON.

    kennel sbom kennel-train:0.1.0 --output train.cdx.json

The image's own Python lists the files (`inventory.py` by `-I -S`: nothing of the image is imported), in a container
without network, writable files or capabilities but to read. Nothing is said about vulnerabilities: this is the list
that a scanner starts from.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from docker.errors import APIError, ImageNotFound
from docker.types import LogConfig
from packageurl import PackageURL

from kennel import __version__
from kennel.delivery import inventory
from kennel.delivery.push import open_engine
from kennel.errors import KennelError, UserError

_MAX_LICENSE: Final = 100  # some packages have the whole text in the field for its name
_LABEL: Final = {"dev.kennel.helper": "sbom"}


@dataclass(frozen=True)
class Image:
    """What Docker knows of an image. digests: NAME@sha256:..., one for each registry it is known in."""

    name: str
    image_id: str
    created: str
    architecture: str
    labels: dict[str, str]
    digests: tuple[str, ...]
    layers: tuple[str, ...]


def report(name: str, output: Path) -> None:
    """Writes the bill of an image to a file and prints what is in it.

    Raises UserError where there is no such image, KennelError where its files cannot be listed.
    """
    with open_engine() as engine:
        image = read_image(engine, name)
        found = list_files(engine, image.image_id)
    output.write_text(to_json(image, found))
    python, distribution, java = (len(found[kind]) for kind in ("python", "debian", "jars"))
    print(f"{output}: {python} Python packages, {distribution} packages of the distribution, {java} jars in {name}")


def read_image(engine: Any, name: str) -> Image:  # noqa: ANN401  a DockerClient
    """Raises UserError where there is no image of that name on this machine."""
    try:
        attributes = engine.images.get(name).attrs
    except ImageNotFound as error:
        raise UserError(f"There is no image '{name}' on this machine. Build it: scripts/build.sh") from error
    return Image(
        name=name,
        image_id=attributes["Id"],
        created=attributes["Created"],
        architecture=attributes["Architecture"],
        labels=attributes["Config"].get("Labels") or {},
        digests=tuple(attributes.get("RepoDigests") or ()),
        layers=tuple(attributes["RootFS"].get("Layers") or ()),
    )


def list_files(engine: Any, image_id: str) -> dict[str, Any]:  # noqa: ANN401  a DockerClient
    """What inventory.py prints in the image. KennelError where it cannot run there: it needs a Python of 3.8 or later.

    As root, since some files are for their owner only; it may read every file (DAC_OVERRIDE) and change none.
    """
    container = engine.containers.create(
        image_id,
        ["-I", "-S", "-c", Path(inventory.__file__).read_text()],
        entrypoint="python3",
        user="0:0",
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        cap_add=["DAC_OVERRIDE"],
        security_opt=["no-new-privileges"],
        log_config=LogConfig(type=LogConfig.types.JSON),
        labels=_LABEL,
    )
    try:
        container.start()
        status = container.wait()["StatusCode"]
        # After its end: while it runs, Docker 20.10 was seen to leave out the last lines.
        complaint = container.logs(stdout=False).decode(errors="replace")
        if status != 0:
            raise KennelError(f"The files of {image_id} cannot be listed: its python3 ended with {status}: {complaint}")
        found: dict[str, Any] = json.loads(container.logs(stderr=False))
    except APIError as error:
        raise KennelError(f"The files of {image_id} cannot be listed: it has no python3 to do it ({error})") from error
    finally:
        container.remove(force=True)
    return found


def to_json(image: Image, found: dict[str, Any]) -> str:
    """The bill as text. The same image gives the same text: its time and its number are made from the image."""
    root = _image_component(image)
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, image.image_id), components=_components(found))
    bom.metadata.component = root
    bom.metadata.timestamp = _time(image.created)
    bom.metadata.tools.components.add(Component(name="kennel", version=__version__, type=ComponentType.APPLICATION))
    bom.register_dependency(root, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _image_component(image: Image) -> Component:
    name, version = _name_and_tag(image.name)
    properties = {
        "image:id": image.image_id,
        "image:created": image.created,
        "image:architecture": image.architecture,
        **{f"image:digest:{number}": digest for number, digest in enumerate(image.digests)},
        **{f"image:layer:{number:03}": digest for number, digest in enumerate(image.layers)},
        **{f"image:label:{key}": value for key, value in image.labels.items()},
    }
    return Component(
        name=name,
        version=version or image.image_id,
        type=ComponentType.CONTAINER,
        bom_ref=image.image_id,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.image_id.partition(":")[2])],
        properties=_properties(properties),
    )


def _components(found: dict[str, Any]) -> Iterator[Component]:
    """One a package, jar and installation of it: bom-ref is what it is and where."""
    system = found["os"]
    yield Component(
        name=system.get("ID", "linux"),
        version=system.get("VERSION_ID"),
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref="operating-system",
        description=system.get("PRETTY_NAME"),
    )
    for package in found["python"]:
        yield _python_component(package)
    for package in found["debian"]:
        yield _debian_component(package, system)
    for jar in found["jars"]:
        yield Component(
            name=jar["name"],
            version=jar["version"] or None,
            type=ComponentType.LIBRARY,
            bom_ref=f"jar:{jar['path']}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=jar["sha256"])],
            properties=_properties({"path": jar["path"], "part_of": jar["part_of"]}),
            components=[_library(each, jar["path"]) for each in jar["bundled"]],
        )


def _library(library: dict[str, str], jar: str) -> Component:
    """A library that was copied into a jar."""
    group, name, version = (library[key] for key in ("group", "name", "version"))
    return Component(
        group=group,
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"jar:{jar}!{group}:{name}",
        purl=PackageURL("maven", group, name, version),
    )


def _python_component(package: dict[str, Any]) -> Component:
    url = PackageURL("pypi", None, package["name"].replace("_", "-").lower(), package["version"] or None)
    return Component(
        name=package["name"],
        version=package["version"] or None,
        type=ComponentType.LIBRARY,
        bom_ref=f"python:{package['path']}",
        description=package["summary"] or None,
        licenses=licenses(package),
        purl=url,
        properties=_properties({"path": package["path"], "installed_bytes": str(package["bytes"])}),
    )


def _debian_component(package: dict[str, str], system: dict[str, str]) -> Component:
    name, version, architecture = (package[key] for key in ("Package", "Version", "Architecture"))
    qualifiers = {"arch": architecture}
    if "ID" in system and "VERSION_ID" in system:
        qualifiers["distro"] = f"{system['ID']}-{system['VERSION_ID']}"
    installed_bytes = 1024 * int(package.get("Installed-Size", 0))
    # Where the distribution built it from: advisories name the source package. "name (version)" if they differ.
    source = package.get("Source", name)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"deb:{name}:{architecture}",
        purl=PackageURL("deb", system.get("ID", "debian"), name, version, qualifiers),
        properties=_properties({"source": source, "installed_bytes": str(installed_bytes)}),
    )


def licenses(package: dict[str, Any]) -> list[License]:
    """What a Python package says of its own licence: an SPDX expression, else its classifiers, else a short name."""
    if package["license_expression"]:
        return [LicenseExpression(package["license_expression"])]
    named = [text.rpartition(" :: ")[2] for text in package["license_classifiers"]]
    if not named and 0 < len(package["license"]) <= _MAX_LICENSE and "\n" not in package["license"]:
        named = [package["license"]]
    if len(named) == 1:
        return [LicenseFactory().make_from_string(named[0])]
    return [DisjunctiveLicense(name=name) for name in named]  # an expression may only stand alone


def _properties(values: dict[str, str]) -> Iterable[Property]:
    return [Property(name=f"dev.kennel:{name}", value=value) for name, value in values.items() if value]


def _name_and_tag(name: str) -> tuple[str, str]:
    """`registry:5000/kennel-train:0.1.0` -> `registry:5000/kennel-train`, `0.1.0`."""
    name, _, digest = name.partition("@")
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, digest)


def _time(text: str) -> datetime:
    """Docker's time, to the second: it has nine digits after the point, or an offset. An image may have none at all."""
    try:
        return datetime.fromisoformat(f"{text[:19]}+00:00") if text[:4] > "0001" else datetime.fromtimestamp(0, UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
