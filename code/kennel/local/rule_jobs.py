"""What runs beside one training job: its rules' evaluators, the sampler, and the way of all they write to S3.

Each is a program under a guard of its own, so that none outlives the job or the service. They talk by files only: they
are told by runs/<job>/rules/rules.json, and tell by runs/<job>/rules/<rule>.json, which DescribeTrainingJob repeats. A
fault of any of them is told there or in the service's log; the training goes on.
"""

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.errors import KennelError
from kennel.local.debug_layout import (
    custom_rules,
    debug_layout,
    has_debugging,
    orders_of,
    output_places,
    rules_of,
    source_of,
)
from kennel.local.growing_output import GrowingOutput
from kennel.local.json_file import write_json
from kennel.local.log_file import tail
from kennel.local.machine import Machine, program_environ
from kennel.local.ml_folder import is_profiled, seen_base, write_profiler_config
from kennel.local.processes import Program, RunningProgram
from kennel.local.rule_statuses import RuleStatuses, name_of
from kennel.local.runners import training_owner
from kennel.local.storage import STORAGE_ERRORS, read_address
from kennel.local.store import Store
from kennel.local.validation import Json
from kennel.rule_files import END_FILE

_LOOK_EVERY_S: Final = 1.0
_SETTLE_EVERY_S: Final = 0.2
_DEBUG: Final = "debug-rules"
_PROFILER: Final = "profiler-rules"
_SAMPLER: Final = "sampler"


@dataclass(frozen=True)
class Companion:
    """A program beside the job. rules: the entries that it evaluates."""

    what: str
    rules: tuple[Json, ...]
    running: RunningProgram

    @property
    def has_ended(self) -> bool:
        return self.running.wait(0) is not None


class RuleJobs:
    """The companions of one job. `prepare`, `start`, `program_ended` are called in this order by the job's thread.

    stop_training: called once with the reason when a rule's action asks for it.
    """

    def __init__(self, name: str, machine: Machine, store: Store, *, stop_training: Callable[[str], None]) -> None:
        self._name = name
        self._machine = machine
        self._store = store
        self._layout = debug_layout(machine.layout.job_dir(name), self._description)
        self._statuses = RuleStatuses(name, store, self._layout.rules, stop_training=stop_training)
        self._output = GrowingOutput(machine.objects)
        self._sources: dict[str, Path] = {}
        self._companions: dict[str, Companion] = {}
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._has_begun = self._has_ended = self._is_stopping = False
        self._settle_until = float("inf")
        self._brought_at = 0.0
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether rules are still evaluated or their output is still being stored."""
        return self._thread is not None and self._thread.is_alive()

    def prepare(self) -> None:
        """Brings what the rules need and writes their orders. A custom rule whose file cannot be had ends as Error."""
        description = self._description
        if not has_debugging(description):
            return
        for number, rule in enumerate(custom_rules(description)):
            try:
                source = self._bring_source(rule, self._layout.sources / str(number))
                self._sources[rule["RuleConfigurationName"]] = source
            except STORAGE_ERRORS as error:
                self._tell(f"the file of rule '{rule['RuleConfigurationName']}' was not brought: {error}")
        self._write_orders()

    def start(self) -> None:
        """Starts the companions, as the training program starts."""
        with self._lock:
            self._has_begun = True
            self._start_wanted()

    def program_ended(self) -> None:
        """Ends the sampler and lets the rules finish, for a minute at most. Called again it does nothing."""
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
            self._settle_until = time.monotonic() + self._machine.settings.rules_settle_s
            self._end(_SAMPLER)
            self._write_end_files()
            if self._thread is None:
                self._statuses.give_up(rules_of(self._description), "Stopped", "The training had not begun")
        self._wake.set()

    def update(self, changes: Json) -> None:
        """Changes the job's ProfilerConfig and adds to its profiler rules, while it runs."""
        with self._lock:
            before = self._description
            self._store.update(self._name, changes)
            record = self._store.get(self._name)
            base = seen_base(self._layout.ml, record.request if record else {})
            write_profiler_config(self._layout.ml.input_config_dir, self._description, base)
            if self._has_ended:
                new = changes.get("ProfilerRuleConfigurations", [])
                self._statuses.give_up(new, "Stopped", "The training had ended")
            if not self._has_begun or self._has_ended:
                return
            if self._description.get("ProfilerConfig") != before.get("ProfilerConfig"):
                self._end(_SAMPLER)
            if "ProfilerRuleConfigurations" in changes:  # one evaluator for the old and the new, from the beginning
                self._end(_PROFILER)
                self._statuses.forget(self._description.get("ProfilerRuleConfigurations", []))
            elif not is_profiled(self._description):
                self._end(_PROFILER)
                rules = self._description.get("ProfilerRuleConfigurations", [])
                self._statuses.give_up(rules, "Stopped", "The profiler was disabled")
            self._start_wanted()

    def settle(self, reason: str) -> None:
        """Of a service that ended before: rules that it left InProgress are Stopped, for this reason."""
        self._has_ended = True
        self._statuses.give_up(rules_of(self._description), "Stopped", reason)

    def stop(self) -> None:
        """Ends everything soon: rules that have not fired are Stopped."""
        self._is_stopping = True
        self._wake.set()

    def kill(self) -> None:
        """Ends everything now."""
        self.stop()
        for companion in list(self._companions.values()):
            companion.running.kill()

    def join(self, timeout_s: float | None = None) -> None:
        """Waits until everything has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    @property
    def _description(self) -> Json:
        record = self._store.get(self._name)
        return record.description if record else {}

    def _start_wanted(self) -> None:
        """Starts what the description asks for and does not run yet."""
        description = self._description
        if not has_debugging(description):
            return
        self._write_orders()
        orders = str(self._layout.orders)
        custom = custom_rules(description)
        built_in = [rule for rule in description.get("DebugRuleConfigurations", []) if rule not in custom]
        if built_in:
            self._start(_DEBUG, built_in, "kennel.debug.watch", orders)
        for number, rule in enumerate(custom):
            self._start(f"custom-{number}", [rule], "kennel.debug.watch", orders, "--custom", name_of(rule))
        if is_profiled(description):
            self._start_sampler(description["ProfilerConfig"].get("ProfilingIntervalInMilliseconds", 500))
            if rules := description.get("ProfilerRuleConfigurations"):
                self._start(_PROFILER, rules, "kennel.profile.watch", orders)
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name=f"rules of {self._name}", daemon=True)
            self._thread.start()

    def _start_sampler(self, interval_ms: int) -> None:
        self._layout.profiler.mkdir(parents=True, exist_ok=True)
        words = ("--output", str(self._layout.profiler), "--interval-ms", str(interval_ms), "--host", "algo-1")
        self._start(_SAMPLER, [], "kennel.profile.sampler", *words)

    def _start(self, what: str, rules: list[Json], *command: str) -> None:
        if what in self._companions:
            return
        program = Program(
            owner=f"{training_owner({'TrainingJobName': self._name})}/{what}",
            command=(*self._machine.settings.companion_command, *command),
            environ=program_environ(
                self._machine,
                image={},
                user={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},  # cores and GPUs are the training's
                platform={},
            ),
            cwd=self._layout.rules,
            log=self._layout.logs / f"{what}.txt",
            grace_s=self._machine.settings.rules_grace_s,
        )
        try:
            self._layout.logs.mkdir(parents=True, exist_ok=True)
            running = self._machine.processes.start(program)
        except OSError as error:
            self._tell(f"{what} could not be started: {error}")
            return
        self._statuses.begin(rules)
        self._companions[what] = Companion(what, tuple(rules), running)

    def _end(self, what: str) -> None:
        companion = self._companions.pop(what, None)
        if companion:
            self._machine.processes.end(companion.running)

    def _live(self) -> None:
        try:
            self._look_until_the_end()
        except Exception:  # a fault of ours must not leave rules InProgress for ever
            traceback.print_exc()
        with self._lock:
            for what in list(self._companions):
                self._end(what)
            self._statuses.give_up(rules_of(self._description), "Stopped", "The evaluation was stopped")
        self._bring()

    def _look_until_the_end(self) -> None:
        """Until every evaluator has ended after the program, or its time is over."""
        while True:
            with self._lock:
                self._collect()
                self._statuses.refresh()
                if self._is_over():
                    return
            self._bring_now_and_then()
            self._wake.wait(_SETTLE_EVERY_S if self._has_ended else _LOOK_EVERY_S)
            self._wake.clear()

    def _is_over(self) -> bool:
        if self._is_stopping and self._has_ended:
            return True
        return self._has_ended and (not self._companions or time.monotonic() > self._settle_until)

    def _collect(self) -> None:
        """Takes in companions that have ended; one that ended too early is told of, with the end of its log."""
        for companion in [each for each in self._companions.values() if each.has_ended]:
            del self._companions[companion.what]
            self._machine.processes.finish(companion.running)
            last = tail(companion.running.program.log, lines=3) or "nothing"
            code = companion.running.wait(0)
            self._statuses.give_up(companion.rules, "Error", f"The evaluator ended with status {code}. It said: {last}")
            if not companion.rules and not self._has_ended:
                self._tell(f"{companion.what} ended with status {code}: {last}")

    def _bring_now_and_then(self) -> None:
        if time.monotonic() - self._brought_at > self._machine.settings.checkpoint_every_s:
            self._bring()
            self._brought_at = time.monotonic()

    def _bring(self) -> None:
        try:
            self._output.bring(output_places(self._layout, self._description))
        except (OSError, KennelError, KeyError) as error:
            self._tell(f"debugging output was not stored: {error}")

    def _bring_source(self, rule: Json, folder: Path) -> Path:
        address = read_address(str(source_of(rule)))
        if isinstance(address, Path):
            return address
        self._machine.s3.download_folder(address, folder)
        return folder

    def _write_orders(self) -> None:
        try:
            self._layout.rules.mkdir(parents=True, exist_ok=True)
            self._layout.rule_output.mkdir(exist_ok=True)
            write_json(self._layout.orders, orders_of(self._layout, self._description, self._sources))
        except OSError as error:
            self._tell(f"the orders of its rules could not be written: {error}")

    def _write_end_files(self) -> None:
        """The files by which readers know that nothing more comes; real jobs have them."""
        description = self._description
        folders = [self._layout.tensors] if "DebugHookConfig" in description else []
        if self._layout.profiler.is_dir():
            folders += [self._layout.profiler / "system", self._layout.profiler / "framework"]
        for folder in folders if self._has_begun else []:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / END_FILE).touch()
            except OSError as error:
                self._tell(f"{folder} could not be marked as complete: {error}")

    def _tell(self, text: str) -> None:
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)
