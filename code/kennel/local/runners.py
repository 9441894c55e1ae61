"""What differs between a program that runs as a process and one that runs in a container: all of it is behind `Runner`.

Either way it stands under a guard (kennel.local.guard), its log is log.txt, its folder is ml/, and its end is read
from its exit status and its failure file; so jobs and endpoints know nothing of where they run.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kennel.local.log_file import times_file
from kennel.local.machine import Machine
from kennel.local.places import DOCKER, runs_on
from kennel.local.processes import Program
from kennel.local.validation import Json
from kennel.paths import MlPaths


@dataclass(frozen=True)
class Address:
    """Where a server is reached."""

    host: str
    port: int


@dataclass(frozen=True)
class Place:
    """Where a server's files are: one server of an endpoint after another has another number."""

    folder: Path
    number: int

    @property
    def ml(self) -> MlPaths:
        return MlPaths(self.folder / f"ml{self.suffix}")

    @property
    def log(self) -> Path:
        return self.folder / f"log{self.suffix}.txt"

    @property
    def order_file(self) -> Path:
        return self.folder / f"container{self.suffix}.json"

    @property
    def address_file(self) -> Path:
        return self.folder / f"address{self.suffix}.json"

    def clear(self) -> None:
        """Removes what an endpoint of the same name left, when its deletion was cut short."""
        shutil.rmtree(self.ml.base, ignore_errors=True)
        for file in (self.log, times_file(self.log), self.order_file, self.address_file):
            file.unlink(missing_ok=True)

    @property
    def suffix(self) -> str:
        return f"-{self.number}" if self.number > 1 else ""


@dataclass(frozen=True)
class Hosted:
    """What to serve. model: CreateModel's request. container: its one container. variant: the endpoint's only one.

    endpoint: its name, or that of what it serves. kind: what that is, `endpoints` or `transform-jobs`.
    """

    endpoint: str
    model: Json
    container: Json
    variant: Json
    kind: str = "endpoints"


@dataclass(frozen=True)
class Serving:
    """A server's program. address: where it is reached, once that is known."""

    program: Program
    address: Callable[[], Address | None]


class Runner(Protocol):
    """One way to run programs of images."""

    def check_training(self, request: Json) -> None:
        """Raises ApiError for a CreateTrainingJob request that cannot be done this way."""

    def check_container(self, container: Json) -> None:
        """Raises ApiError for a container of a model that cannot be served this way."""

    def lay_out(self, request: Json, ml: MlPaths) -> None:
        """Makes the folder a training sees as /opt/ml, without its channels."""

    def bring_channel(self, channel: Json, ml: MlPaths) -> None:
        """Brings one channel's data, or makes the place where it will be seen."""

    def checkpoint_folder(self, request: Json, ml: MlPaths) -> Path:
        """Where the job's checkpoints are on this machine. Raises ApiError for a LocalPath that cannot be used."""

    def training(self, request: Json, ml: MlPaths, log: Path) -> Program:
        """The program of a training whose folder is complete."""

    def reclaim(self, request: Json, ml: MlPaths) -> None:
        """Once a training's program has ended: makes the caller the owner of what it wrote."""

    def serving(self, hosted: Hosted, place: Place) -> Serving:
        """The program of a server whose model is in its place."""


def runner_of(machine: Machine, request: Json) -> Runner:
    """The way to run what was asked for in a CreateTrainingJob or CreateModel request."""
    if runs_on(request) == DOCKER:
        from kennel.local.containers import Containers

        return Containers(machine)
    from kennel.local.checkout import Checkout

    return Checkout(machine)


def training_owner(request: Json) -> str:
    """The name of a training's program among those of a runs folder."""
    return f"training-jobs/{request['TrainingJobName']}"


def server_owner(hosted: Hosted, place: Place) -> str:
    """The name of a server's program among those of a runs folder."""
    return f"{hosted.kind}/{hosted.endpoint}/{place.number}"
