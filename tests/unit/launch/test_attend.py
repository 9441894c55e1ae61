"""Watching goes on through what passes, ends with a way back where nothing more is told, and asks at Ctrl-C."""

import http.server
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError

from kennel.aws.words import CredentialsError
from kennel.errors import KennelError, UserError
from kennel.launch.places import Place
from kennel.launch.watching.attend import CONTINUE, DETACH, STOP, Detached, Manner, ask_on_terminal, attend, unbroken
from kennel.launch.watching.kinds import ENDPOINT, TRAINING, Kind


def aws_place() -> Place:
    place = Place("aws", "r", "t", "s", "ml.m5.large")
    place.__dict__["boto"] = boto3.Session(region_name="eu-west-1")
    return place


def refused(code: str, status: int = 400) -> ClientError:
    response = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "DescribeTrainingJob")  # type: ignore[arg-type]  # the rest of an answer


class Subject:
    """Plays what each look finds: an error is raised, True is the end."""

    weight = 1.0

    def __init__(self, *looks: bool | BaseException, kind: Kind = TRAINING) -> None:
        self.kind = kind
        self.name = "dogs-1"
        self.place = aws_place()
        self.place.__dict__["sagemaker"] = self  # a cached property
        self.said: list[str] = []
        self.stopped = 0
        self._looks: Iterator[bool | BaseException] = iter(looks)

    def look(self) -> bool:
        found = next(self._looks)
        if isinstance(found, BaseException):
            raise found
        return found

    def say(self, line: str) -> None:
        self.said.append(line)

    def paused(self) -> AbstractContextManager[None]:
        return nullcontext()

    def stop_training_job(self, TrainingJobName: str) -> None:  # noqa: N803
        assert TrainingJobName == "dogs-1"
        self.stopped += 1


def patient(sleeps: list[float] | None = None, *answers: str) -> Manner:
    left = list(answers)
    kept: list[float] = [] if sleeps is None else sleeps
    return Manner(5, 60, ask=lambda question, choices: left.pop(0), is_patient=True, sleep=kept.append)


def test_it_asks_less_and_less_often_while_nobody_answers() -> None:
    subject, sleeps = Subject(False, *[refused("ThrottlingException")] * 5, False, True), list[float]()
    attend(subject, patient(sleeps))
    assert sleeps == [5, 10, 20, 40, 60, 60, 5]
    assert [line.partition(" ")[0] for line in subject.said] == ["AWS", "AWS"]
    assert subject.said[0].endswith("training job dogs-1 goes on, and so does watching it.")
    assert subject.said[1] == "AWS answers again."


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (refused("ExpiredTokenException", 403), CredentialsError, "The credentials have expired"),
        (NoCredentialsError(), CredentialsError, "There are no AWS credentials"),
        (refused("AccessDeniedException"), UserError, "AWS refused DescribeTrainingJob: no"),
    ],
)
def test_what_time_does_not_mend_ends_with_the_way_back(
    error: Exception, raised: type[KennelError], message: str
) -> None:
    with pytest.raises(raised, match=message) as found:
        attend(Subject(False, error), patient())
    assert str(found.value).endswith("Follow it again: kennel attach dogs-1 --on aws --region eu-west-1")


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"TrainingJobStatus": "Completed"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


class Described(Subject):
    """A look is a request of boto3's."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.client = boto3.client(
            "sagemaker",
            region_name="eu-west-1",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="x",
            aws_secret_access_key="x",  # noqa: S106  nobody's
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )

    def look(self) -> bool:
        return bool(self.client.describe_training_job(TrainingJobName="dogs-1")["TrainingJobStatus"] == "Completed")


def test_a_lost_network_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    servers: list[http.server.HTTPServer] = []

    def back_after_two(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 2:
            servers.append(http.server.HTTPServer(("127.0.0.1", port), _Answers))
            threading.Thread(target=servers[0].serve_forever, daemon=True).start()

    sleeps: list[float] = []
    subject = Described(port)
    try:
        attend(subject, Manner(1, 60, ask=lambda *_: DETACH, is_patient=True, sleep=back_after_two))
    finally:
        subject.client.close()
        for server in servers:
            server.shutdown()
            server.server_close()
    assert sleeps == [2, 4]
    assert subject.said[0].startswith("AWS cannot be reached (Could not connect to the endpoint URL")
    assert subject.said[1] == "AWS answers again."


def test_here_an_error_is_an_error() -> None:
    with pytest.raises(ClientError):
        attend(Subject(refused("ThrottlingException")), Manner(0))


def test_ctrl_c_is_asked_about() -> None:
    subject = Subject(KeyboardInterrupt(), KeyboardInterrupt(), True)
    attend(subject, patient(None, CONTINUE, STOP))
    assert subject.stopped == 1 and subject.said == ["stopping dogs-1"]
    with pytest.raises(Detached, match="goes on.*\n.*follow it: kennel attach.*\n.*stop it:   kennel attach.*--stop"):
        attend(Subject(KeyboardInterrupt()), patient(None, DETACH))


def test_an_endpoint_is_not_offered_to_be_stopped() -> None:
    offered: list[tuple[str, ...]] = []

    def ask(question: str, choices: tuple[str, ...]) -> str:
        offered.append(choices)
        return DETACH

    with pytest.raises(Detached, match="delete it: kennel delete --endpoint-name dogs-1 --on aws --region eu-west-1"):
        attend(Subject(KeyboardInterrupt(), kind=ENDPOINT), Manner(0, ask=ask))
    assert offered == [(DETACH, CONTINUE)]


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert ask_on_terminal("it runs", (DETACH, STOP)) == DETACH


def test_a_ctrl_c_while_something_is_made_comes_after_it_with_its_name() -> None:
    made, before = list[str](), signal.getsignal(signal.SIGINT)
    with (
        pytest.raises(Detached, match="while training job dogs-1 was being made"),
        unbroken(TRAINING, "dogs-1", aws_place()),
    ):
        os.kill(os.getpid(), signal.SIGINT)
        made.append("it")
    assert made == ["it"]
    with pytest.raises(KeyboardInterrupt), unbroken(TRAINING, "dogs-1", aws_place()):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_fails_while_it_is_made_is_its_own_error() -> None:
    with pytest.raises(UserError, match="no role"), unbroken(TRAINING, "dogs-1", aws_place()):
        os.kill(os.getpid(), signal.SIGINT)
        raise UserError("no role")


def test_elsewhere_than_in_the_main_thread_nothing_is_held() -> None:
    done: list[int] = []

    def make() -> None:
        with unbroken(TRAINING, "dogs-1", aws_place()):
            done.append(1)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert done == [1]
