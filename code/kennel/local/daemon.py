"""Starts, finds and stops the local SageMaker of a runs folder. Imports nothing heavy.

os.environ.update(daemon.environment(daemon.ensure(Path("runs"))))      # boto3 and the SDK now ask the local one
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from kennel.errors import KennelError, UserError
from kennel.local.remains import is_alive
from kennel.local.settings import HOST, Layout, client_environment
from kennel.local.state import (
    ALIVE_PATH,
    STAY,
    ServiceState,
    absolute_runs,
    is_locked,
    locked,
    read_state,
    write_choice,
)

# A start reads botocore's models, a second or two; longer after a kill -9, when programs are given time to end.
_START_S: Final = 90.0
# A stop gives jobs SageMaker's 120 seconds.
_STOP_S: Final = 180.0
_ANSWER_S: Final = 5.0
_POLL_S: Final = 0.05


def ensure(runs: Path) -> ServiceState:
    """The service of a runs folder, started if it is not running. Several at once get the same one."""
    return start(runs)


def start(runs: Path, *, port: int = 0, idle_s: float = 900, on: str | None = None) -> ServiceState:
    """Starts the service in the background and returns when it answers; one that runs already is returned.

    on: where jobs and models run that do not say it; stays chosen for the runs folder's later services.
    Raises UserError when it cannot start for a reason the user can mend (the port is taken, another port was wanted).
    """
    runs = absolute_runs(runs)
    with _alone(runs):
        running = _answering(runs, f"?{STAY}")
        if running and port in (0, running.port) and on in (None, running.on):
            return running
        if running:
            what = f"on port {running.port}, not {port}" if port not in (0, running.port) else f"with --on {running.on}"
            raise UserError(
                f"A local SageMaker already answers for {runs} {what}. Stop it first with: kennel local stop"
            )
        _wait_for_lock(runs)
        if on is not None:
            write_choice(runs, on)
        return _start(runs, port, idle_s)


def stop(runs: Path) -> bool:
    """Ends the service and everything it runs; False if none was running.

    Jobs are stopped as StopTrainingJob does, so this may take two minutes.
    """
    runs = absolute_runs(runs)
    layout = Layout(runs)
    with _alone(runs):
        if not is_locked(layout.lock_file):
            layout.state_file.unlink(missing_ok=True)  # of one that was killed
            return False
        if state := read_state(runs):
            os.kill(state.pid, signal.SIGTERM)
        if not _within(_STOP_S, lambda: not is_locked(layout.lock_file) and not (state and _lives(state.pid))):
            who = f"process {state.pid}" if state else "it"
            raise KennelError(
                f"The local SageMaker of {runs} did not end within {_STOP_S:g} s. End {who} with kill -9."
            )
        return True


def status(runs: Path) -> ServiceState | None:
    """The service of a runs folder, if it answers."""
    return _answering(runs.resolve(), "") if runs.is_dir() else None


def environment(state: ServiceState) -> dict[str, str]:
    """The variables with which unmodified boto3 and SageMaker SDK programs use the service, and nothing of AWS."""
    return {
        **client_environment(state.url),
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(Layout(Path(state.runs)).sdk_config),
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
        "BOTOCORE_EXPERIMENTAL__PLUGINS": "kennel=kennel.local.boto_plugin",
    }


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Nobody else starts or stops the service meanwhile."""
    try:
        with locked(Layout(runs).start_lock_file, wait_s=_START_S + _STOP_S):
            yield
    except TimeoutError as error:
        raise KennelError(f"Somebody else has been starting or stopping the service of {runs} for minutes.") from error


def _answering(runs: Path, query: str) -> ServiceState | None:
    """The state in the file, if that very service answers. A state file may be left of one that was killed."""
    state = read_state(runs)
    if state is None or not is_locked(Layout(runs).lock_file):
        return None
    connection = http.client.HTTPConnection(HOST, state.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", ALIVE_PATH + query)
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return state if isinstance(answer, dict) and answer.get("pid") == state.pid else None


def _wait_for_lock(runs: Path) -> None:
    """Until a service that is ending has ended. Raises UserError for one that neither answers nor ends."""
    if not _within(_STOP_S, lambda: not is_locked(Layout(runs).lock_file)):
        state = read_state(runs)
        who = f" (process {state.pid})" if state else ""
        raise UserError(f"The local SageMaker of {runs}{who} neither answers nor ends. Stop it: kennel local stop")


def _start(runs: Path, port: int, idle_s: float) -> ServiceState:
    layout = Layout(runs)
    log_from = layout.service_log.stat().st_size if layout.service_log.exists() else 0
    options = ["--runs", str(runs), "--port", str(port), "--idle-minutes", str(idle_s / 60)]
    pid = _spawn([sys.executable, "-P", "-m", "kennel.local.service", *options], layout)
    found: list[ServiceState] = []

    def is_settled() -> bool:
        state = _answering(runs, "")
        found.extend([state] if state else [])
        return bool(found) or not _lives(pid)

    if not _within(_START_S, is_settled):
        raise KennelError(f"The local SageMaker did not answer within {_START_S:g} s. See {layout.service_log}")
    if not found:
        raise _reason_of_end(layout.service_log, log_from)
    return found[0]


def _spawn(command: list[str], layout: Layout) -> int:
    """Starts a program that is nobody's child (so that nobody must wait for it) and returns its process id."""
    launcher = [sys.executable, "-P", "-m", "kennel.local.daemon", str(layout.service_log), *command]
    result = subprocess.run(launcher, check=True, stdout=subprocess.PIPE, text=True, cwd=layout.local_dir)
    return int(result.stdout)


def _lives(pid: int) -> bool:
    try:
        return is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def _reason_of_end(log: Path, start: int) -> KennelError:
    """What the service wrote last before it ended, as the error it meant."""
    with log.open("rb") as stream:
        stream.seek(start)
        text = stream.read().decode(errors="replace").strip()
    name, _, message = (text.splitlines() or [""])[-1].partition(": ")
    if name == UserError.__name__:
        return UserError(message)
    return KennelError(f"The local SageMaker ended while it started. {log} says: {text[-1000:] or 'nothing'}")


def _within(limit_s: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_S)
    return True


def main(argv: Sequence[str]) -> int:
    """`python -m kennel.local.daemon LOG PROGRAM ARG ...`: starts it in a session of its own, prints its process id."""
    with open(argv[0], "ab") as log:
        program = subprocess.Popen(
            argv[1:], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    print(program.pid, flush=True)
    os._exit(0)  # without waiting for it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
