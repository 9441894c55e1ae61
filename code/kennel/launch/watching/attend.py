"""Stays with what runs elsewhere until it has ended, whatever comes between: Ctrl-C, throttling, a lost network.

    attend(subject, manner_of(place))       # Detached, CredentialsError: what is watched goes on without us

On AWS Ctrl-C asks what to do; elsewhere it stops the job, as it would a program of this machine.
Exercise it: pytest tests/unit/launch/test_attend.py tests/aws/test_watch_aws.py
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from kennel.aws.words import CredentialsError, explained, passing_cause
from kennel.errors import KennelError
from kennel.launch.places import Place
from kennel.launch.watching.kinds import Kind, attach_command, stop_command

DETACH: Final = "d"
STOP: Final = "s"
CONTINUE: Final = "c"
_WORDS: Final = {DETACH: "[d]etach", STOP: "[s]top it", CONTINUE: "[c]ontinue watching"}
Ask = Callable[[str, tuple[str, ...]], str]


class Detached(KennelError):
    """Nobody watches any more, because somebody said so; what was watched goes on. As a shell says Ctrl-C."""

    exit_status = 130


class Subject(Protocol):
    """What is watched, and where it is shown. weight: of a look, for what asks AWS much at each."""

    kind: Kind
    name: str
    place: Place

    @property
    def weight(self) -> float: ...

    def look(self) -> bool:
        """Asks once and shows what is new. Whether it has ended."""
        ...

    def say(self, line: str) -> None:
        """Shows a line that stays."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """No live view meanwhile: somebody is asked something."""
        ...


@dataclass(frozen=True)
class Manner:
    """How it is watched. poll_s: between looks. slowest_s: between looks at AWS when it does not answer.

    ask: what Ctrl-C asks; None where it stops the job. is_patient: whether to wait for a network that is lost.
    """

    poll_s: float
    slowest_s: float = 60.0
    ask: Ask | None = None
    is_patient: bool = False
    sleep: Callable[[float], None] = time.sleep


def ask_on_terminal(question: str, choices: tuple[str, ...]) -> str:
    """One of `choices`. Detaches without a terminal to ask on, at its end, and at a second Ctrl-C."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return DETACH
    words = ", ".join(_WORDS[each] for each in choices)
    while True:
        print(f"\n{question} {words}? ", end="", file=sys.stderr, flush=True)
        try:
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            line = ""
        if not line:  # the terminal is gone, or somebody is in a hurry
            print(file=sys.stderr)
            return DETACH
        if line.strip().lower()[:1] in choices:
            return line.strip().lower()[:1]


_HERE: Final = Manner(poll_s=0.5)
_AWS: Final = Manner(poll_s=5.0, ask=ask_on_terminal, is_patient=True)


def manner_of(place: Place) -> Manner:
    """How what runs at a place is watched."""
    return _AWS if place.is_aws else _HERE


def attend(subject: Subject, manner: Manner) -> None:
    """Returns when the subject has ended.

    Raises Detached when it was left; CredentialsError and other KennelErrors where AWS will not tell more, with what
    follows it again: it goes on by itself.
    """
    pace, is_stopping = _Pace(manner), False
    while True:
        try:
            if _has_ended(subject, pace):
                return
            manner.sleep(pace.seconds * subject.weight)
        except KeyboardInterrupt:
            if manner.ask is None:
                is_stopping = _stop_or_leave(subject, is_stopping)
            else:
                _ask(subject, manner.ask)


class _Pace:
    """How long until the next look: longer each time that nobody answers."""

    def __init__(self, manner: Manner) -> None:
        self.is_patient = manner.is_patient
        self.is_troubled = False
        self.seconds = manner.poll_s
        self._manner = manner

    def slow_down(self) -> None:
        self.is_troubled = True
        self.seconds = min(self.seconds * 2, self._manner.slowest_s)

    def recover(self) -> None:
        self.is_troubled = False
        self.seconds = self._manner.poll_s


def _has_ended(subject: Subject, pace: _Pace) -> bool:
    try:
        has_ended = subject.look()
    except (ClientError, BotoCoreError) as error:
        if not pace.is_patient:
            raise
        _bear(error, subject, pace)
        return False
    if pace.is_troubled:
        pace.recover()
        subject.say("AWS answers again.")
    return has_ended


def _bear(error: ClientError | BotoCoreError, subject: Subject, pace: _Pace) -> None:
    """Says once what is the matter; raises for what time does not mend."""
    cause = passing_cause(error)
    if cause is None:
        said = explained(error)
        goes_on = f"{subject.kind.title} {subject.name} goes on without us. Follow it again: "
        raise type(said)(f"{said}\n{goes_on}{attach_command(subject.name, subject.place)}") from error
    if not pace.is_troubled:
        subject.say(f"{cause} {subject.kind.title} {subject.name} goes on, and so does watching it.")
    pace.slow_down()


def _stop_or_leave(subject: Subject, is_stopping: bool) -> bool:
    """The first Ctrl-C stops the job, the second leaves it."""
    if is_stopping or not subject.kind.is_job:
        raise KeyboardInterrupt
    print(f"\nstopping {subject.name} (again Ctrl-C does not wait for it)", file=sys.stderr, flush=True)
    _stop(subject)
    return True


def _ask(subject: Subject, ask: Ask) -> None:
    choices = (DETACH, STOP, CONTINUE) if subject.kind.is_job else (DETACH, CONTINUE)
    with subject.paused():
        answer = ask(f"{subject.kind.title} {subject.name} runs on AWS.", choices)
    if answer == DETACH:
        raise detached(subject.kind, subject.name, subject.place)
    if answer == STOP:
        subject.say(f"stopping {subject.name}")
        _stop(subject)


def detached(kind: Kind, name: str, place: Place) -> Detached:
    """Says that it goes on, and the commands that follow and end it."""
    return Detached(f"{kind.title} {name} goes on.\n{_commands(kind, name, place)}")


def _commands(kind: Kind, name: str, place: Place) -> str:
    return (
        f"  follow it: {attach_command(name, place)}\n"
        f"  {'stop it:  ' if kind.is_job else 'delete it:'} {stop_command(kind, name, place)}"
    )


def _stop(subject: Subject) -> None:
    """Asks it to stop. Where that is refused it has most often ended meanwhile: what follows says how."""
    try:
        subject.kind.send_stop(subject.name, subject.place)
    except ClientError as error:
        if passing_cause(error) or isinstance(explained(error), CredentialsError):
            _say_not_stopped(error, subject)
        else:
            subject.say(f"{subject.name}: {error.response.get('Error', {}).get('Message', error)}")
    except BotoCoreError as error:
        _say_not_stopped(error, subject)


def _say_not_stopped(error: ClientError | BotoCoreError, subject: Subject) -> None:
    subject.say(f"{subject.name} was not stopped: {passing_cause(error) or explained(error)} Say it again.")


@contextmanager
def unbroken(kind: Kind, name: str, place: Place) -> Iterator[None]:
    """Ctrl-C waits while something is made, so that its name is not lost: Detached afterwards, with the commands.

    The SDK swallows a KeyboardInterrupt inside Estimator.fit (seen with 2.257). A second Ctrl-C is not held.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        if len(pressed) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        made = f"Ctrl-C came while {kind.title} {name} was being made. If it was made, it goes on."
        raise Detached(f"{made}\n{_commands(kind, name, place)}")
