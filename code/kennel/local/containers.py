"""Runs images with Docker, as SageMaker does: `docker run IMAGE train` and `docker run IMAGE serve`.

A training runs as the caller's user, so that what it writes is the caller's; SageMaker runs it as the image's own user,
root mostly. An image that insists on that is given the tag `kennel:user` = `image`: what it wrote is given to the
caller afterwards, by `chown` in one more container of the image. A server writes nothing here and runs as the image's
user.

Each host of a job has folders of its own, as on AWS; the first's are ml/, the others' are brought together with them
when the job has ended. Of a file that several hosts wrote, the first's is kept. While the job runs only the first's
checkpoints are written back.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from kennel.errors import KennelError
from kennel.local.channels import bring_items, is_manifest, is_sharded, items_of, share_of
from kennel.local.container_order import (
    BRIDGE,
    ISOLATED,
    NONE,
    PEERS,
    ContainerOrder,
    Host,
    Mount,
    write_order,
)
from kennel.local.engine import ENGINE_ERRORS, check_image, give_back
from kennel.local.faults import invalid
from kennel.local.images import TRAIN_IMAGE, check_is_no_serve_image, check_is_no_train_image, repository
from kennel.local.machine import SHARED_DIR, Machine, shared_dir
from kennel.local.ml_folder import View, checkpoint_path, lay_out, link_channel, write_configuration
from kennel.local.places import tag_value
from kennel.local.processes import Program
from kennel.local.runners import Address, Hosted, Place, Serving, server_owner, training_owner
from kennel.local.settings import REGION, arn
from kennel.local.source import Source, bring_source, check_source, check_ways_to_train, source_of
from kennel.local.storage import read_address
from kennel.local.validation import Json
from kennel.paths import MlPaths
from kennel.requirements_file import SWITCH

USER: Final = "kennel:user"
_USERS: Final = ("caller", "image")
_OPT_ML: Final = PurePosixPath("/opt/ml")
_WRITTEN: Final = ("model", "output")
_HOSTS: Final = "hosts"
# Where a tuning job's trials find what they share; outside of /opt/ml, which SageMaker says what is in.
_SHARED: Final = PurePosixPath("/opt/kennel/shared")
_MOST_HOSTS: Final = 16
# What the service's environment must not pass on even to docker-py: the service has taken itself away from AWS.
_NOT_INHERITED: Final = re.compile(r"AWS_|SM_|SAGEMAKER_|KENNEL_|PYTEST_|PYTHONPATH")


@dataclass(frozen=True)
class Containers:
    """The way to run programs in containers (see kennel.local.runners.Runner)."""

    machine: Machine

    def check_training(self, request: Json) -> None:
        image = request["AlgorithmSpecification"]["TrainingImage"]
        check_is_no_serve_image(image)
        _user_of(request)
        _check_hosts(request)
        _check_paths(request)
        for channel in request.get("InputDataConfig", []):
            _check_links(channel)
        if repository(image) == TRAIN_IMAGE:
            check_ways_to_train(request)
        check_source(request, self.machine.s3)
        check_image(image)

    def check_container(self, container: Json) -> None:
        check_is_no_train_image(container["Image"])
        check_image(container["Image"])

    def lay_out(self, request: Json, ml: MlPaths) -> None:
        lay_out(ml, request, _view(request, 0))
        for index, own in enumerate(_folders_of_hosts(request, ml)[1:], 1):
            write_configuration(own.base / "config", request, _view(request, index))
            for folder in (own.model_dir, own.output_data_dir, own.checkpoints_dir):
                folder.mkdir(parents=True)
        if source := _brought_source(request):
            for own in _folders_of_hosts(request, ml):
                bring_source(source, own.code_dir, self.machine.s3)

    def bring_channel(self, channel: Json, ml: MlPaths) -> None:
        """A file:// channel is mounted: here only its place is made. Of a sharded one each host gets a folder."""
        hosts = _hosts_of(ml)
        if is_sharded(channel) and len(hosts) > 1:
            items = items_of(channel, self.machine.s3)
            for index, own in enumerate(hosts):
                bring_items(share_of(items, index, len(hosts)), _shard(own, channel), self.machine.s3)
            return
        address = read_address(channel["DataSource"]["S3DataSource"]["S3Uri"])
        if not isinstance(address, Path) or is_manifest(channel):
            link_channel(channel, ml, self.machine.s3)
            return
        target = ml.input_data_dir / channel["ChannelName"]
        target.mkdir()
        if not address.is_dir():
            (target / address.name).touch()

    def checkpoint_folder(self, request: Json, ml: MlPaths) -> Path:
        """checkpoints/, wherever the program sees it; but what is inside a folder that is mounted anyway is there."""
        path = PurePosixPath(checkpoint_path(request))
        uri = request.get("CheckpointConfig", {}).get("S3Uri", "s3://")
        is_inside = any(path.is_relative_to(_OPT_ML / each) for each in _WRITTEN)
        if is_inside and not uri.startswith("file:"):
            return ml.base / path.relative_to(_OPT_ML)
        return ml.checkpoints_dir

    def training(self, request: Json, ml: MlPaths, log: Path) -> Program:
        checkpoints = self.checkpoint_folder(request, ml)
        for own in _folders_of_hosts(request, ml)[1:]:
            if checkpoints.is_dir():
                shutil.copytree(checkpoints, self.checkpoint_folder(request, own), dirs_exist_ok=True)
        order = self._training_order(request, ml)
        order_file = log.with_name("container.json")
        write_order(order, order_file)
        return _program(training_owner(request), order_file, log, self.machine.settings.stop_grace_s)

    def reclaim(self, request: Json, ml: MlPaths) -> None:
        """Also brings together what several hosts wrote."""
        try:
            if _user_of(request) == "image":
                owner = f"{self.machine.layout.runs}:{training_owner(request)}"
                written = [each for own in _folders_of_hosts(request, ml) for each in self._written(request, own)]
                written += [shared] if (shared := shared_dir(self.machine, request)) and shared.is_dir() else []
                written += [own.code_dir for own in _folders_of_hosts(request, ml) if own.code_dir.is_dir()]
                give_back(request["AlgorithmSpecification"]["TrainingImage"], written, owner)
            for own in _folders_of_hosts(request, ml)[1:]:
                for source, target in zip(self._written(request, own), self._written(request, ml), strict=True):
                    _add_files(source, target)
            shutil.rmtree(ml.base / _HOSTS, ignore_errors=True)
        except ENGINE_ERRORS as error:  # of which OSError is one: the disk's
            print(f"{ml.base}: what the containers wrote is not all there: {error}", file=sys.stderr, flush=True)

    def serving(self, hosted: Hosted, place: Place) -> Serving:
        _let_everybody_read(place.ml.model_dir)
        is_isolated = hosted.model.get("EnableNetworkIsolation", False)
        order = ContainerOrder(
            name=hosted.endpoint,
            image=hosted.container["Image"],
            command=("serve",),
            entrypoint=None,
            environment=dict(hosted.container.get("Environment", {})),
            hosts=(Host("model", (_mount(place.ml.model_dir, _OPT_ML / "model", read_only=True),)),),
            network=ISOLATED if is_isolated else BRIDGE,
            instance_type=hosted.variant.get("InstanceType", ""),
            as_caller=False,
            address_file=str(place.address_file),
        )
        write_order(order, place.order_file)
        grace_s = self.machine.settings.serve_grace_s
        program = _program(server_owner(hosted, place), place.order_file, place.log, grace_s)
        return Serving(program, lambda: _read_address(place.address_file))

    def _training_order(self, request: Json, ml: MlPaths) -> ContainerOrder:
        algorithm = request["AlgorithmSpecification"]
        entrypoint = algorithm.get("ContainerEntrypoint")
        as_caller = _user_of(request) == "caller"
        names = _host_names(request)
        folders = _folders_of_hosts(request, ml)
        return ContainerOrder(
            name=request["TrainingJobName"],
            image=algorithm["TrainingImage"],
            # An entry point of the job's own takes the place of `train`.
            command=(*(() if entrypoint else ("train",)), *algorithm.get("ContainerArguments", ())),
            entrypoint=tuple(entrypoint) if entrypoint else None,
            environment={
                **_training_environment(request, as_caller=as_caller),
                **({SHARED_DIR: str(_SHARED)} if shared_dir(self.machine, request) else {}),
            },
            hosts=tuple(
                Host(name, tuple(self._mounts(request, ml, own))) for name, own in zip(names, folders, strict=True)
            ),
            network=_network(request),
            instance_type=request["ResourceConfig"]["InstanceType"],
            as_caller=as_caller,
            # Loaders that pass pictures between processes need more than Docker's 64 MB. What SageMaker gives is
            # documented nowhere; half of the memory is what Linux itself gives /dev/shm.
            shm_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2,
        )

    def _written(self, request: Json, own: MlPaths) -> list[Path]:
        """The folders a host writes to."""
        return [*(own.base / each for each in _WRITTEN), self.checkpoint_folder(request, own)]

    def _mounts(self, request: Json, ml: MlPaths, own: MlPaths) -> Iterator[Mount]:
        """What a host sees. own: where it writes, which is `ml` for the first host."""
        yield _mount(ml.base / "input", _OPT_ML / "input", read_only=True)
        if own != ml:
            yield _mount(own.base / "config", _OPT_ML / "input" / "config", read_only=True)
        for channel in request.get("InputDataConfig", []):
            address = read_address(channel["DataSource"]["S3DataSource"]["S3Uri"])
            target = _OPT_ML / "input" / "data" / channel["ChannelName"]
            if is_sharded(channel) and len(_host_names(request)) > 1:
                if own != ml:
                    yield _mount(_shard(own, channel), target, read_only=True)
            elif isinstance(address, Path) and not is_manifest(channel):
                yield _mount(address, target if address.is_dir() else target / address.name, read_only=True)
        if _brought_source(request):
            yield _mount(own.code_dir, _OPT_ML / "code")
        if shared := shared_dir(self.machine, request):
            shared.mkdir(parents=True, exist_ok=True)  # else Docker makes it, as root
            yield _mount(shared, _SHARED)
        for name in _WRITTEN:
            yield _mount(own.base / name, _OPT_ML / name)
        checkpoints = self.checkpoint_folder(request, own)
        if checkpoints == own.checkpoints_dir:
            target = PurePosixPath(checkpoint_path(request))
            if target.is_relative_to(_OPT_ML) and target.parts[3] in _WRITTEN:  # else Docker makes it, as root
                (own.base / target.relative_to(_OPT_ML)).mkdir(parents=True, exist_ok=True)
            yield _mount(checkpoints, target)


def _program(owner: str, order_file: Path, log: Path, grace_s: float) -> Program:
    return Program(
        owner=owner,
        command=(sys.executable, "-P", "-m", "kennel.local.container_run", str(order_file)),
        environ={key: value for key, value in os.environ.items() if not _NOT_INHERITED.match(key)},
        cwd=order_file.parent,
        log=log,
        grace_s=grace_s,
        has_containers=True,
    )


def _mount(source: Path, target: PurePosixPath, *, read_only: bool = False) -> Mount:
    """source: resolved, since a link would lead nowhere inside the container."""
    return Mount(str(source.resolve()), str(target), read_only)


def _training_environment(request: Json, *, as_caller: bool) -> dict[str, str]:
    """What the container is told beyond its image's ENV: nothing of this machine, and no credentials."""
    name = request["TrainingJobName"]
    # The caller has no entry in the image's passwd: no home, and no name for those who ask for one (torch's caches).
    home = {"HOME": "/tmp", "USER": "kennel"} if as_caller else {}  # noqa: S108  in the container
    platform = {"TRAINING_JOB_NAME": name, "TRAINING_JOB_ARN": arn("training-job", name), "AWS_REGION": REGION}
    switch = {SWITCH: os.environ[SWITCH]} if SWITCH in os.environ else {}
    return {**home, **switch, **request.get("Environment", {}), **platform}


def _host_names(request: Json) -> tuple[str, ...]:
    return tuple(f"algo-{number + 1}" for number in range(request["ResourceConfig"]["InstanceCount"]))


def _view(request: Json, index: int) -> View:
    interface = "lo" if _network(request) == NONE else "eth0"
    return View(_OPT_ML, PurePosixPath(checkpoint_path(request)), _host_names(request), interface, index)


def _network(request: Json) -> str:
    """Without the job's peers there is nobody an isolated container may talk to."""
    is_isolated = request.get("EnableNetworkIsolation", False)
    if request["ResourceConfig"]["InstanceCount"] == 1:
        return NONE if is_isolated else BRIDGE
    return ISOLATED if is_isolated else PEERS


def _folders_of_hosts(request: Json, ml: MlPaths) -> list[MlPaths]:
    """Where each host writes: the first into the job's own folder, the others beside it."""
    return [ml, *(MlPaths(ml.base / _HOSTS / name) for name in _host_names(request)[1:])]


def _brought_source(request: Json) -> Source | None:
    """The script the job brings along; None for one that is in the image."""
    source = source_of(request)
    return source if source and source.address is not None else None


def _hosts_of(ml: MlPaths) -> list[MlPaths]:
    """The folders that `lay_out` made for the hosts, the first host's first."""
    others = ml.base / _HOSTS
    names = sorted(os.listdir(others), key=lambda name: int(name.rpartition("-")[2])) if others.is_dir() else []
    return [ml, *(MlPaths(others / name) for name in names)]


def _shard(own: MlPaths, channel: Json) -> Path:
    """Where a host's share of a channel is."""
    return own.input_data_dir / str(channel["ChannelName"])


def _add_files(source: Path, target: Path) -> None:
    """Moves files into `target` that have no namesake there."""
    for parent, _, files in os.walk(source):
        folder = target / Path(parent).relative_to(source)
        folder.mkdir(parents=True, exist_ok=True)
        for name in files:
            if not os.path.lexists(folder / name):
                shutil.move(Path(parent) / name, folder / name)


def _user_of(request: Json) -> str:
    """Whose user a training runs as. Raises ApiError for a tag that says neither."""
    user = tag_value(request, USER) or "caller"
    if user not in _USERS:
        raise invalid(f"Tag '{USER}' has value '{user}'. Expected one of: {', '.join(_USERS)}.")
    return user


def _check_hosts(request: Json) -> None:
    count = request["ResourceConfig"]["InstanceCount"]
    if count > _MOST_HOSTS:
        raise invalid(f"InstanceCount {count} is more than {_MOST_HOSTS} containers on this machine. Use --on aws.")


def _check_paths(request: Json) -> None:
    """Raises ApiError for a LocalPath that is none, or whose contents would be lost."""
    path = PurePosixPath(checkpoint_path(request))
    reserved = (_OPT_ML, *(_OPT_ML / each for each in ("input", "model", "output", "code")))
    if not path.is_absolute() or ".." in path.parts or path in (PurePosixPath("/"), *reserved):
        raise invalid(
            f"Value '{path}' at 'checkpointConfig.localPath' cannot be used. Expected a folder of its own, such as "
            "/opt/ml/checkpoints or /state."
        )
    if path.is_relative_to(_OPT_ML / "input"):
        raise invalid(f"Value '{path}' at 'checkpointConfig.localPath' cannot be used: /opt/ml/input is read-only.")
    for member in ("DebugHookConfig", "TensorBoardOutputConfig"):
        local_path = PurePosixPath(request.get(member, {}).get("LocalPath", "/opt/ml/output/any"))
        if not any(local_path.is_relative_to(_OPT_ML / each) for each in _WRITTEN) or ".." in local_path.parts:
            raise invalid(
                f"Value '{local_path}' at '{member}.localPath' cannot be used: only /opt/ml/model and /opt/ml/output "
                "outlive the container. Expected a folder such as /opt/ml/output/tensors."
            )


def _check_links(channel: Json) -> None:
    """Raises ApiError for a folder with links that lead out of it: a container does not see what they lead to."""
    try:
        folder = read_address(channel["DataSource"]["S3DataSource"]["S3Uri"])
    except KennelError as error:
        raise invalid(str(error)) from error
    if not isinstance(folder, Path) or not folder.is_dir():
        return
    real = folder.resolve()
    for parent, folders, files in os.walk(real):
        for name in (*folders, *files):
            link = os.path.join(parent, name)
            if os.path.islink(link) and not Path(link).resolve().is_relative_to(real):
                raise invalid(
                    f"Channel '{channel['ChannelName']}': {link} is a link to {os.path.realpath(link)}, which is "
                    f"outside {real}, so that a container does not see it. Copy it into the folder (cp -rL), or give "
                    "the folder that holds both."
                )


def _let_everybody_read(model_dir: Path) -> None:
    """A server runs as its image's user; a model that was unpacked here may be its owner's only."""
    if model_dir.is_symlink():
        return
    for parent, _, files in os.walk(model_dir):
        os.chmod(parent, os.stat(parent).st_mode | 0o555)  # noqa: S103  a model is no secret
        for name in files:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode | 0o444)


def _read_address(file: Path) -> Address | None:
    try:
        return Address(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
