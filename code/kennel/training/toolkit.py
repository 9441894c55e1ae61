"""What SageMaker's `train` runs in place of its own runner: the script's owner, from start to exit status.

The toolkit alone (sagemaker-training 5.1.4) never tells the script of a SIGTERM and leaves it behind as an orphan,
ends with status 1 whatever the script's was, and hides the reason of a failure. `main` mends the three:

    SAGEMAKER_TRAINING_MODULE=kennel.training.toolkit:main SAGEMAKER_PROGRAM=train.py train

The script gets a process group of its own; whatever is left of the group when the script ends is killed,
and the script dies with `train`, also when that is killed with -9.

Where there are several hosts, or several GPUs, torchrun starts the script, once for each (kennel.training.hosts).
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Final

from sagemaker_training import entry_point, environment, process

from kennel.errors import PeerError
from kennel.orphans import adopt_orphans, die_with_parent
from kennel.paths import ml_paths
from kennel.training.failure import report_failure
from kennel.training.hosts import Cluster, hosts_timeout_s, process_count, wait_for_hosts

logger = logging.getLogger(__name__)

_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT)
_STOPPED: Final = tuple(128 + signum for signum in _FORWARDED)
# What the script starts with, unless the job says otherwise; the last three must be there before it starts.
# glibc gives large tensors back to the kernel at every step and takes them again, and threads that wait for each other
# take the cores from those that decode. Measured on 2 busy cores, features of a ResNet-18: 0.057 s of CPU an image with
# the three, 0.089 s without.
_ENVIRONMENT: Final = {
    "PYTHONUNBUFFERED": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    "OMP_WAIT_POLICY": "PASSIVE",
}
# Without it cuBLAS may choose another algorithm for the same product each time, and a continued training ends with
# other weights; it is read when CUDA starts.
_GPU_ENVIRONMENT: Final = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


class Script:
    """The running script; passes signals on to it, those from before its start included.

    is_launched: what runs is torchrun, and the script its children: they are told, and it then ends with them. Told
    itself, it would end with a status of its own.
    """

    def __init__(self, *, is_launched: bool = False) -> None:
        self.is_launched = is_launched
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
        ranks = _children(pid) if self.is_launched else []
        for each in ranks or [pid]:  # torchrun without ranks is still waiting for other hosts, and may go
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signum)


class ScriptRunner(process.ProcessRunner):  # type: ignore[misc]  # the toolkit has no types
    """The toolkit's own runner, but for the start: a process group of its own, tied to this process's life."""

    def run(self, wait: bool = True, capture_error: bool = False) -> "subprocess.Popen[bytes]":  # noqa: ARG002
        """The script, started; the caller waits. Its output is not captured, so the lines stay whole and in order."""
        command = self._command()
        logger.info("Starting %s", " ".join(command))
        toolkit = os.getpid()
        return subprocess.Popen(
            command,
            cwd=program_dir(self._user_entry_point),
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(toolkit),
        )

    def _command(self) -> list[str]:
        command: list[str] = self._create_command()
        return command


class TorchrunRunner(ScriptRunner):
    """Starts torchrun, which starts the script."""

    def __init__(self, cluster: Cluster, program: str, arguments: list[str], variables: dict[str, str]) -> None:
        super().__init__(program, arguments, variables, cluster.processes)
        self._cluster = cluster

    def _command(self) -> list[str]:
        return self._cluster.command(process.validate_entry_point(self._user_entry_point), self._args)


def main() -> None:
    """Runs the script that SAGEMAKER_PROGRAM names; returns if it succeeded, ends this process if not."""
    script = Script()
    for signum in _FORWARDED:
        signal.signal(signum, script.forward)
    ml_paths().failure_file.unlink(missing_ok=True)  # a restart's: this run has not failed yet
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    env = environment.Environment()
    # The toolkit would wait 15 minutes for every name, its own too, which Docker may not resolve.
    os.environ["SM_STUDIO_LOCAL_MODE"] = "true"
    cluster = cluster_of(env)
    script.is_launched = not cluster.is_alone
    _prepare(cluster, script, gpus=env.num_gpus)
    runner = script_runner(env, cluster)
    started = entry_point.run(
        env.module_dir, env.user_entry_point, env.to_cmd_args(), env.to_env_vars(), runner_type=runner
    )
    status = script.wait(started)
    if status == 0 and ml_paths().failure_file.exists():
        status = 1  # the script says that it failed; its own status may have wrapped (256 reads as 0)
    if status != 0:
        is_told = script.was_told_to_stop or (script.is_launched and status in _STOPPED)  # another host may be the one
        _fail(env.user_entry_point, status, was_told_to_stop=is_told)


def cluster_of(env: environment.Environment) -> Cluster:
    """The hosts and processes that train together; a program that is no Python is started once on every host."""
    processes = process_count(env.num_gpus)
    if not str(env.user_entry_point).endswith(".py"):
        return Cluster((env.current_host,), env.current_host, 1, env.network_interface_name)
    return Cluster(tuple(env.hosts), env.current_host, processes, env.network_interface_name)


def script_runner(env: environment.Environment, cluster: Cluster) -> ScriptRunner:
    """What starts the program: by itself, or by torchrun."""
    if cluster.is_alone:
        return ScriptRunner(env.user_entry_point, env.to_cmd_args(), env.to_env_vars(), 1)
    return TorchrunRunner(cluster, env.user_entry_point, env.to_cmd_args(), env.to_env_vars())


def _prepare(cluster: Cluster, script: Script, *, gpus: int) -> None:
    """What has to be so before the script starts; ends this process where the other hosts cannot be found."""
    settings = {**(_GPU_ENVIRONMENT if gpus else {}), **({} if cluster.is_alone else cluster.environment())}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if cluster.is_alone:
        return
    adopt_orphans()  # torchrun puts each rank into a session of its own, which no signal to its group reaches
    try:
        wait_for_hosts(cluster.hosts, limit_s=hosts_timeout_s(), is_over=lambda: script.was_told_to_stop)
    except PeerError as error:
        _end(report_failure(error, ml_paths().failure_file))
    if script.was_told_to_stop:
        _end(128 + signal.SIGTERM)


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


def _fail(program: str, status: int, *, was_told_to_stop: bool) -> None:
    """Ends this process with the script's status."""
    failure_file = ml_paths().failure_file
    if was_told_to_stop:
        logger.info("%s was told to stop and ended with status %d", program, status)
    elif not failure_file.exists():
        failure_file.parent.mkdir(parents=True, exist_ok=True)
        failure_file.write_text(describe_failure(program, status) + "\n")
    if failure_file.exists():
        logger.error("Training failed with status %d: %s", status, failure_file.read_text(errors="replace").strip())
    _end(status)


def _end(status: int) -> None:
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


def _kill_orphans() -> None:
    """Ends what torchrun left behind, which has become this process's, until nothing of it is left."""
    ours = {child.pid for child in multiprocessing.active_children()}
    while orphans := [pid for pid in _children(os.getpid()) if pid not in ours]:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
