"""The process that a tuning job's trainings are forked from, so that none of them has to import torch again.

    nursery = Nursery(tuning_request, machine)
    nursery.start()         # before the first trial; trials that come while it imports wait for that
    nursery.stop()          # after the last one

It listens in the folder that the trials share (KENNEL_SHARED_DIR) and is a program like others: under a guard, named
after its tuning job, its output in runs/<tuning job>/nursery.log. Should it end, trainings import by themselves.
"""

import sys
from typing import Final

from kennel.local.machine import SHARED_DIR, Machine, program_environ
from kennel.local.places import DOCKER, runs_on
from kennel.local.processes import Program, RunningProgram
from kennel.local.settings import Settings
from kennel.local.validation import Json

_MODULE: Final = "kennel.training.nursery"
_SCRIPT: Final = "sagemaker_program"


class Nursery:
    """One tuning job's. Idle for trials that run in containers, run somebody's script, share nothing, or are one."""

    def __init__(self, request: Json, machine: Machine) -> None:
        """request: CreateHyperParameterTuningJob's."""
        self._name: str = request["HyperParameterTuningJobName"]
        self._request = request
        self._machine = machine
        self._running: RunningProgram | None = None

    def start(self) -> None:
        """Starts it, if it is of use; the shared folder must be there."""
        if self._is_of_use() and self._running is None:
            self._running = self._machine.processes.start(self._program())

    def stop(self) -> None:
        """Ends it, once the trainings it forked have ended."""
        if self._running is not None:
            self._machine.processes.end(self._running)
            self._running = None

    def _is_of_use(self) -> bool:
        limits = self._request["HyperParameterTuningJobConfig"]["ResourceLimits"]
        others = [
            each
            for each in self._definitions
            if _SCRIPT in each.get("StaticHyperParameters", {}) or SHARED_DIR in each.get("Environment", {})
        ]
        is_ours = self._machine.settings.train_command == Settings().train_command and not others
        return is_ours and runs_on(self._request) != DOCKER and limits.get("MaxNumberOfTrainingJobs") != 1

    @property
    def _definitions(self) -> list[Json]:
        one = self._request.get("TrainingJobDefinition")
        return [one] if one else list(self._request.get("TrainingJobDefinitions", []))

    def _program(self) -> Program:
        layout, settings = self._machine.layout, self._machine.settings
        folder = layout.shared_dir(self._name)
        # Its first trials' settings of threads and memory; trials with others import by themselves.
        user = self._definitions[0].get("Environment", {})
        return Program(
            owner=f"hyper-parameter-tuning-jobs/{self._name}",
            command=(sys.executable, "-P", "-m", _MODULE, str(folder)),
            environ=program_environ(self._machine, image={}, user=user, platform={}),
            cwd=folder,
            log=layout.job_dir(self._name) / "nursery.log",
            grace_s=settings.stop_grace_s,
        )
