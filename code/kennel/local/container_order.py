"""What a container program is told: written by kennel.local.containers, read by kennel.local.container_run.

One JSON file beside the job's log; it also tells a person what was run, and how.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kennel.local.json_file import write_json

# The networks an order may ask for.
BRIDGE: Final = "bridge"  # Docker's own
NONE: Final = "none"  # no network but loopback
PEERS: Final = "peers"  # one of the job's own, where its hosts find each other by name
ISOLATED: Final = "isolated"  # one of the job's own that leads nowhere else


@dataclass(frozen=True)
class Mount:
    """A file or folder of this machine, as the container sees it."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class Host:
    """One container of a job: its host name, and what it sees."""

    name: str
    mounts: tuple[Mount, ...]


@dataclass(frozen=True)
class ContainerOrder:
    """One container for each host.

    entrypoint: in place of the image's, if given. as_caller: run as this process's user and not as the image's.
    shm_bytes: of /dev/shm; Docker's 64 MB if not given. address_file: where to write on which address port 8080 is
    reached; without it no port is published.
    """

    name: str
    image: str
    command: tuple[str, ...]
    entrypoint: tuple[str, ...] | None
    environment: dict[str, str]
    hosts: tuple[Host, ...]
    network: str
    instance_type: str
    as_caller: bool
    shm_bytes: int | None = None
    address_file: str | None = None


def write_order(order: ContainerOrder, path: Path) -> None:
    """Writes an order for `read_order`."""
    write_json(path, dataclasses.asdict(order))


def read_order(path: Path) -> ContainerOrder:
    """The order in a file."""
    content: dict[str, Any] = json.loads(path.read_text())
    hosts = tuple(Host(each["name"], tuple(Mount(**mount) for mount in each["mounts"])) for each in content["hosts"])
    entrypoint = content["entrypoint"]
    return ContainerOrder(
        **{
            **content,
            "hosts": hosts,
            "command": tuple(content["command"]),
            "entrypoint": None if entrypoint is None else tuple(entrypoint),
        }
    )
