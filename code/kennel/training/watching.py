"""How a training is watched: its hook (kennel.debug), its timeline and the samples of the machine (kennel.profile).

    with watching(settings, paths, world) as watch:
        with watch.timeline.phase("features"): ...
        watch.hook_on(fitting.network, plan)
        fitting.run(train, valid, store, stop=stop, watch=watch)

`debug=auto`: what input/config/debughookconfig.json and profilerconfig.json ask for, into the folders they name. The
platform samples the machine then. `debug=on` without these files: all of it by Kennel's defaults, into
output/data/debug-output and output/data/profiler-output, so that it is in output.tar.gz. `off`: nothing.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from torch import nn

from kennel.debug import hook as hooks
from kennel.debug.hook import Hook, Plan
from kennel.debug.hook_config import HookOrder, read_hook_config
from kennel.hyperparameters import Hyperparameters
from kennel.paths import MlPaths
from kennel.profile import timeline as timelines
from kennel.profile.sampler import Sampler
from kennel.profile.timeline import Timeline, open_timeline
from kennel.rule_files import END_FILE
from kennel.training.distributed import World
from kennel.training.loader import reader_count

_PLATFORM_BASE: Final = PurePosixPath("/opt/ml")


@dataclass
class Watch:
    """What a training tells of itself, to whom. Without arguments: nobody."""

    timeline: Timeline = timelines.OFF
    hook: Hook = hooks.OFF
    orders: "_Orders | None" = None
    started: float = field(default_factory=time.perf_counter)

    def hook_on(self, network: nn.Module, plan: Plan) -> None:
        """Opens the hook, if there is to be one."""
        orders = self.orders
        if orders is not None and orders.has_hook:
            self.hook = hooks.open_hook(orders.read, plan, network, phase=self.timeline.phase, started=self.started)

    def unhook(self) -> None:
        """Closes the hook: what comes is results."""
        self.hook.close()
        self.hook = hooks.OFF


UNWATCHED: Final = Watch()


@dataclass(frozen=True)
class _Orders:
    """Which files ask for what."""

    settings: Hyperparameters
    paths: MlPaths

    @property
    def has_hook(self) -> bool:
        return self.settings.debug == "on" or (self.settings.debug == "auto" and self._hook_file.exists())

    @property
    def has_timeline(self) -> bool:
        if self._profiler_file.exists() and self._profiler().get("DisableProfiler"):
            return False
        return self.settings.debug == "on" or (self.settings.debug == "auto" and self._profiler_file.exists())

    @property
    def is_own_platform(self) -> tuple[bool, bool]:
        """Whether nobody but this training sees to the files of hook and profiler."""
        on = self.settings.debug == "on"
        return on and not self._hook_file.exists(), on and not self._profiler_file.exists()

    @property
    def own_folder(self) -> Path:
        return self.paths.output_data_dir

    def read(self) -> HookOrder:
        """What the hook is to save. Raises ContractError."""
        if self._hook_file.exists():
            return read_hook_config(self._hook_file, base=self.paths.base)
        return HookOrder(self.own_folder / "debug-output")

    def profiler_folder(self) -> Path:
        """Where profilerconfig.json says, or SageMaker's default, or in our own output."""
        if not self._profiler_file.exists():
            return self.own_folder / "profiler-output"
        local = PurePosixPath(self._profiler().get("LocalPath") or _PLATFORM_BASE / "output" / "profiler")
        is_ours = local.is_relative_to(_PLATFORM_BASE)
        return self.paths.base / local.relative_to(_PLATFORM_BASE) if is_ours else Path(local)

    def _profiler(self) -> dict[str, Any]:
        """profilerconfig.json; {} where it is not as SageMaker writes it."""
        try:
            return dict(json.loads(self._profiler_file.read_text()) or {})
        except (ValueError, TypeError):
            return {}

    @property
    def _hook_file(self) -> Path:
        return self.paths.input_config_dir / "debughookconfig.json"

    @property
    def _profiler_file(self) -> Path:
        return self.paths.input_config_dir / "profilerconfig.json"


@contextmanager
def watching(settings: Hyperparameters, paths: MlPaths, world: World) -> Iterator[Watch]:
    """The watch of a job's first process; others are not watched. All of it is ended when the block is."""
    orders = _Orders(settings, paths)
    if not world.is_leader or settings.debug == "off" or not (orders.has_hook or orders.has_timeline):
        yield Watch()
        return
    owns_hook, owns_profiler = orders.is_own_platform
    host, folder = os.environ.get("SM_CURRENT_HOST") or "algo-1", orders.profiler_folder()
    watch = Watch(orders=orders)
    with ExitStack() as ends:
        if owns_hook:
            ends.callback(_mark_ends, orders.own_folder / "debug-output")
        if owns_profiler:
            ends.callback(_mark_ends, folder / "system", folder / "framework")
        try:  # a folder that cannot be written, a sensor that is not there: none of it ends a training
            if orders.has_timeline:
                watch.timeline = open_timeline(folder, is_on=True, host=host, readers=reader_count())
                ends.callback(watch.timeline.close)
            if owns_profiler:
                sampler = Sampler(folder, host=host)
                ends.callback(sampler.stop)
                sampler.start()
        except Exception as error:
            print(f"debug: the profiler failed and is off, training goes on ({error})", flush=True)
        ends.callback(watch.unhook)
        yield watch


def _mark_ends(*folders: Path) -> None:
    """What a platform does: says that nothing is written any more."""
    for folder in folders:
        if folder.is_dir():
            with suppress(OSError):  # a full disk: its readers wait for news that do not come, and no more
                (folder / END_FILE).touch()
