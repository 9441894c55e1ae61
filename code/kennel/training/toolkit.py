"""What SageMaker's `train` runs in place of its own runner: the script's owner, from start to exit status.

The toolkit alone (sagemaker-training 5.1.4) never tells the script of a SIGTERM and leaves it behind as an orphan,
ends with status 1 whatever the script's was, and hides the reason of a failure. `main` mends the three:

    SAGEMAKER_TRAINING_MODULE=kennel.training.toolkit:main SAGEMAKER_PROGRAM=train.py train

The script gets a process group of its own; whatever is left of the group when the script ends is killed,
and the script dies with `train`, also when that is killed with -9.

A script that came with the job (hyperparameter sagemaker_program) is run in place of train.py, as AWS's images run it:
once on each host, by torchrun only where the job asks for that (kennel.training.user_script). Kennel's own train.py is
started by torchrun wherever there are several hosts or GPUs (kennel.training.hosts).
"""

import contextlib
import json
import logging
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from sagemaker_training import environment, process

from kennel.errors import KennelError
from kennel.opt_ml import shown_as_opt_ml
from kennel.orphans import adopt_orphans, die_with_parent
from kennel.paths import ml_paths
from kennel.stand_in import STANDS_IN_FOR, stand_in_note
from kennel.training.failure import report_failure
from kennel.training.hosts import MASTER_PORT, Cluster, free_port, hosts_timeout_s, process_count, wait_for_hosts
from kennel.training.library_settings import LIBRARY_SETTINGS
from kennel.training.output_tail import OutputTail, script_failure
from kennel.training.user_script import UserScript, choose_program, command_of, kind_of, prepare_script

logger = logging.getLogger(__name__)

_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT)
_SHELLS: Final = ("sh", "bash", "dash", "zsh", "ksh")
_STOPPED: Final = tuple(128 + signum for signum in _FORWARDED)
# Without it cuBLAS may choose another algorithm for the same product each time, and a continued training ends with
# other weights; it is read when CUDA starts.
_GPU_ENVIRONMENT: Final = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


class Script:
    """The running script; passes signals on to it, those from before its start included.

    is_launched: what runs is torchrun, and the script its children: they are told, and it then ends with them. Told
    itself, it would end with a status of its own. is_shell: the same of a shell, which would end and leave its command
    behind, unless it has a trap.
    """

    def __init__(self, *, is_launched: bool = False, is_shell: bool = False) -> None:
        self.is_launched = is_launched
        self.is_shell = is_shell
        self._pid: int | None = None
        self._received: list[int] = []

    @property
    def was_told_to_stop(self) -> bool:
        return bool(self._received)

    def forward(self, signum: int, _frame: FrameType | None = None) -> None:
        """A signal handler. Only the script is told, not its children: it knows what to do with them."""
        self._received.append(signum)
        if self._pid is not None:
            self._tell(self._pid, signum)

    def wait(self, started: "subprocess.Popen[bytes]") -> int:
        """Exit status, as a shell gives it, once the script and everything in its group are gone."""
        self._pid = started.pid
        for signum in self._received:
            self._tell(started.pid, signum)
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
        _kill_group(started.pid)  # before the script is reaped: until then nobody else can have its number
        self._pid = None
        status = exit_status(started.wait())
        if self.is_launched:
            _kill_orphans()
        return status

    def _tell(self, pid: int, signum: int) -> None:
        ranks = _children(pid) if self.is_launched else _commands(pid) if self.is_shell else []
        for each in ranks or [pid]:  # torchrun without ranks is still waiting for other hosts, and may go
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signum)


@dataclass(frozen=True)
class Run:
    """A script and what it is started with. cluster: the hosts and processes that torchrun, if any, brings together."""

    script: UserScript
    cluster: Cluster
    arguments: list[str]

    @property
    def command(self) -> list[str]:
        """What is run on this host."""
        if self.cluster.is_alone:
            return command_of(self.script.program, self.arguments)
        return self.cluster.command(process.validate_entry_point(self.script.program), self.arguments)

    def start(self, tail: OutputTail | None) -> "subprocess.Popen[bytes]":
        """The script, started, in a process group of its own that is tied to this process's life.

        tail: takes its output. Without, that is not captured.
        """
        command = self.command
        logger.info("Starting %s", " ".join(command))
        toolkit, show = os.getpid(), shown_as_opt_ml(ml_paths().base) if self.script.is_users else None

        def in_child() -> None:
            if show:
                show()
            die_with_parent(toolkit)  # last: a process that gets rights of its own forgets its parent

        started = subprocess.Popen(
            command,
            cwd=program_dir(self.script.program),
            stdout=tail.inlet if tail else None,
            stderr=tail.inlet if tail else None,
            start_new_session=True,
            preexec_fn=in_child,
        )
        if tail:
            tail.start()
        return started


def main() -> None:
    """Runs the job's script, or the one SAGEMAKER_PROGRAM names; returns if it succeeded, ends this process if not."""
    script = Script()
    for signum in _FORWARDED:
        signal.signal(signum, script.forward)
    ml_paths().failure_file.unlink(missing_ok=True)  # a restart's: this run has not failed yet
    if image := os.environ.get(STANDS_IN_FOR):
        print(stand_in_note(image), flush=True)
    for name, value in LIBRARY_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        run = _prepared(script)
    except KennelError as error:
        _end(report_failure(error, ml_paths().failure_file))
    if script.was_told_to_stop:
        _end(128 + signal.SIGTERM)
    # Kennel's own script writes its reasons itself, and its output is left alone.
    tail = OutputTail() if run.script.is_users else None
    status = script.wait(run.start(tail))
    printed = tail.finish() if tail else ""
    if status == 0 and ml_paths().failure_file.exists():
        status = 1  # the script says that it failed; its own status may have wrapped (256 reads as 0)
    if status != 0:
        is_told = script.was_told_to_stop or (script.is_launched and status in _STOPPED)  # another host may be the one
        _fail(run, status, was_told_to_stop=is_told, printed=printed)


def cluster_of(env: environment.Environment, script: UserScript) -> Cluster:
    """The hosts and processes that torchrun brings together; alone, the script is started once on every host."""
    alone = Cluster((env.current_host,), env.current_host, 1, env.network_interface_name)
    is_python = script.program.endswith(".py")
    if not is_python or (script.is_users and not script.asks_for_torchrun):
        return alone
    processes = process_count(env.num_gpus)
    hosts = tuple(env.hosts)
    return Cluster(hosts, env.current_host, processes, env.network_interface_name, is_asked=script.asks_for_torchrun)


def _prepared(script: Script) -> Run:
    """What has to be so before the script starts. Raises KennelError where something of it is not there."""
    hyperparameters = json.loads((ml_paths().input_config_dir / "hyperparameters.json").read_text())
    users = choose_program(hyperparameters)
    env = environment.Environment()
    run = Run(users, cluster_of(env, users), env.to_cmd_args())
    script.is_launched, script.is_shell = not run.cluster.is_alone, kind_of(users.program) == "command"
    prepare_script(users, env.to_env_vars())
    settings = dict(_GPU_ENVIRONMENT if env.num_gpus else {})
    if script.is_launched or len(env.hosts) > 1:
        settings |= Cluster(
            tuple(env.hosts), env.current_host, run.cluster.processes, run.cluster.interface
        ).environment()
        wait_for_hosts(env.hosts, limit_s=hosts_timeout_s(), is_over=lambda: script.was_told_to_stop)
    if users.is_users:  # AWS's images say so too, and scripts call init_process_group() with it
        settings["MASTER_ADDR"] = env.hosts[0]
        settings["MASTER_PORT"] = str(free_port() if len(env.hosts) == 1 else MASTER_PORT)
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if script.is_launched:
        adopt_orphans()  # torchrun puts each rank into a session of its own, which no signal to its group reaches
    return run


def program_dir(program: str) -> str:
    """The folder with the program: the job's own code, or else where the program is installed with this package.

    An image keeps nothing in /opt/ml, which SageMaker may cover with what it mounts.
    """
    if not Path(environment.code_dir, program).exists():
        spec = find_spec(program.removesuffix(".py"))
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent)
    return str(environment.code_dir)


def exit_status(returncode: int) -> int:
    """A status from 0 to 255 for subprocess's returncode: 128 + n for signal n, never 0 for a failure."""
    if returncode < 0:
        return 128 - returncode
    return returncode if returncode <= 255 else 1


def describe_failure(program: str, status: int) -> str:
    """What happened, for a person, when the script itself left no word."""
    if status == 128 + signal.SIGKILL:
        return (
            f"{program} was killed by signal 9 (SIGKILL): most often the machine ran out of memory. "
            "Try a smaller batch-size or image-size, or a larger machine."
        )
    if status > 128:
        try:
            name = signal.Signals(status - 128).name
        except ValueError:
            name = "unknown"
        return f"{program} was killed by signal {status - 128} ({name}). The last lines of the log may say more."
    return f"{program} ended with status {status} and gave no reason. The last lines of the log may say more."


def _fail(run: Run, status: int, *, was_told_to_stop: bool, printed: str) -> None:
    """Ends this process with the script's status. printed: the last of its output, where that was kept."""
    failure_file, program = ml_paths().failure_file, run.script.program
    if was_told_to_stop:
        logger.info("%s was told to stop and ended with status %d", program, status)
    elif not failure_file.exists():
        reason = describe_failure(program, status)
        if run.script.is_users:
            reason = script_failure(status, printed, command=" ".join(run.command), default=reason)
        failure_file.parent.mkdir(parents=True, exist_ok=True)
        failure_file.write_text(reason + "\n")
    if failure_file.exists():
        logger.error("Training failed with status %d: %s", status, failure_file.read_text(errors="replace").strip())
    _end(status)


def _end(status: int) -> NoReturn:
    """Ends this process.

    os._exit, because the toolkit's `finally` would turn SystemExit into status 0, and any exception into status 1
    with a traceback of ours in the log.
    """
    for child in multiprocessing.active_children():
        child.join(timeout=30)  # the toolkit's own upload of output/intermediate, where one runs
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _children(pid: int) -> list[int]:
    """Its children, as far as the kernel tells."""
    found: list[int] = []
    for tasks in Path("/proc", str(pid), "task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, tasks.read_text().split())
    return found


def _commands(pid: int) -> list[int]:
    """What a shell runs, shells within shells included; nothing for one that has a trap, which then hears itself."""
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))  # the script's name would be in `comm`
        if program not in _SHELLS or _catches_sigterm(pid):
            return []
    except OSError:  # it has just ended
        return []
    return [found for child in _children(pid) for found in _commands(child) or [child]]


def _catches_sigterm(pid: int) -> bool:
    caught = re.search(r"^SigCgt:\s*(\w+)", Path("/proc", str(pid), "status").read_text(), re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def _kill_orphans() -> None:
    """Ends what torchrun left behind, which has become this process's, until nothing of it is left."""
    ours = {child.pid for child in multiprocessing.active_children()}
    while orphans := [pid for pid in _children(os.getpid()) if pid not in ours]:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
