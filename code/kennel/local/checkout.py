"""Runs the programs behind Kennel's two images as processes of this checkout, without Docker."""

import errno
import hashlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from kennel.local.faults import invalid
from kennel.local.images import check_serve_image, check_train_image
from kennel.local.machine import Machine, serving_environ, training_environ
from kennel.local.ml_folder import View, bring_code, checkpoint_path, lay_out, link_channel, place_of
from kennel.local.processes import Program
from kennel.local.runners import Address, Hosted, Place, Serving, server_owner, training_owner
from kennel.local.settings import HOST, Settings, arn
from kennel.local.source import check_source_here, check_ways_to_train
from kennel.local.validation import Json
from kennel.paths import MlPaths
from kennel.requirements_file import SWITCH
from kennel.script_mode import PROGRAM

_FORKED: Final = "kennel.training.elsewhere"


@dataclass(frozen=True)
class Checkout:
    """The way to run programs where there is no Docker (see kennel.local.runners.Runner)."""

    machine: Machine

    def check_training(self, request: Json) -> None:
        algorithm = request["AlgorithmSpecification"]
        check_train_image(algorithm["TrainingImage"], request.get("HyperParameters", {}))
        for member in ("ContainerEntrypoint", "ContainerArguments"):
            if member in algorithm:
                raise invalid(f"{member} cannot be used: the image is run as a process. Run it with --on docker.")
        count = request["ResourceConfig"]["InstanceCount"]
        if count > 1:
            raise invalid(f"InstanceCount {count} is more than this one machine. Use 1, or --on docker, or --on aws.")
        self.checkpoint_folder(request, MlPaths(Path("/opt/ml")))
        check_ways_to_train(request)
        check_source_here(request, self.machine.s3, switch=os.environ.get(SWITCH, ""))
        program = Path(self.machine.settings.train_command[0])
        if program.is_absolute() and not program.exists():
            raise invalid(f"{program} is not installed: pip install 'kennel[train]' in the environment of the service.")

    def check_container(self, container: Json) -> None:
        check_serve_image(container["Image"])

    def lay_out(self, request: Json, ml: MlPaths) -> None:
        # One host, whose name must resolve here; so it is not `algo-1`.
        checkpoints = PurePosixPath(self.checkpoint_folder(request, ml))
        lay_out(ml, request, View(PurePosixPath(ml.base), checkpoints, ("localhost",), "lo"))
        bring_code(ml, request, self.machine.s3)

    def bring_channel(self, channel: Json, ml: MlPaths) -> None:
        link_channel(channel, ml, self.machine.s3)

    def checkpoint_folder(self, request: Json, ml: MlPaths) -> Path:
        return place_of(ml, checkpoint_path(request), "checkpointConfig.localPath")

    def training(self, request: Json, ml: MlPaths, log: Path) -> Program:
        settings = self.machine.settings
        job_arn = arn("training-job", request["TrainingJobName"])
        return Program(
            owner=training_owner(request),
            command=_train_command(request, settings),
            environ=training_environ(self.machine, request, base=ml.base, job_arn=job_arn),
            cwd=ml.code_dir,
            log=log,
            grace_s=settings.stop_grace_s,
        )

    def reclaim(self, request: Json, ml: MlPaths) -> None:
        """A process of the caller's has made files of the caller's."""

    def serving(self, hosted: Hosted, place: Place) -> Serving:
        settings = self.machine.settings
        address = Address(HOST, free_port())
        scratch = make_scratch(self.machine.layout.runs)
        environ = serving_environ(
            self.machine, hosted.container, base=place.ml.base, port=address.port, scratch=scratch
        )
        program = Program(
            owner=server_owner(hosted, place),
            command=settings.serve_command,
            environ=environ,
            cwd=scratch,
            log=place.log,
            grace_s=settings.serve_grace_s,
            scratch=scratch,
        )
        return Serving(program, lambda: address)


def _train_command(request: Json, settings: Settings) -> tuple[str, ...]:
    """`train`; of a tuning job's trials, what asks for it in the job's nursery first."""
    is_plain_trial = "TuningJobArn" in request and PROGRAM not in request.get("HyperParameters", {})
    if is_plain_trial and settings.train_command == Settings().train_command:
        return (sys.executable, "-P", "-m", _FORKED, *settings.train_command)
    return settings.train_command


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now.

    Below 32,767, because multi-model-server 1.1.11 calls any other invalid; so it cannot be left to the kernel.
    Raises OSError when a thousand tries find none.
    """
    for _ in range(1000):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError(errno.EADDRINUSE, "No port from 20000 to 31999 is free")


def make_scratch(runs: Path) -> Path:
    """A new folder for temporary files; short, since unix sockets in it may have names of 107 characters at most."""
    return Path(tempfile.mkdtemp(prefix=_scratch_prefix(runs)))


def remove_old_scratch(runs: Path) -> None:
    """Removes temporary folders that a killed service and its killed guards left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_scratch_prefix(runs)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _scratch_prefix(runs: Path) -> str:
    digest = hashlib.sha256(str(runs).encode()).hexdigest()[:8]
    return f"kennel-{os.getuid()}-{digest}-"
