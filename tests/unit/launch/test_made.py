"""A command that fails takes back what it has made, or says how to."""

import pytest
from botocore.exceptions import ClientError

from kennel.aws.words import CredentialsError
from kennel.errors import KennelError, UserError
from kennel.launch.endpoint.endpoint_steps import create_once
from kennel.launch.made import Made


def refused(
    status: int = 400, *, message: str = "no", code: str = "ValidationException", retries: int = 0
) -> ClientError:
    metadata = {"HTTPStatusCode": status, "RetryAttempts": retries}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "CreateModel")


class Things:
    def __init__(self) -> None:
        self.there: list[str] = []

    def make(self, made: Made, name: str) -> None:
        self.there.append(name)
        made.add(name, lambda: self.delete(name), f"delete {name}")

    def delete(self, name: str) -> bool:
        if name == "stuck":
            raise refused(message="it is in use")
        was_there = name in self.there
        self.there = [each for each in self.there if each != name]
        return was_there


def test_all_goes_newest_first_and_what_cannot_go_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    made, things = Made(), Things()
    with pytest.raises(UserError, match="AWS refused CreateModel: no"), made.taken_back_on_failure():
        for name in ("first", "stuck", "second"):
            things.make(made, name)
        raise refused()
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["taken back: second", "taken back: first"]
    assert said[3].startswith("  stuck (AWS refused") and said[3].endswith(": delete stuck")
    assert things.there == ["stuck"]


def test_ctrl_c_takes_back_too_and_success_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    made, things = Made(), Things()
    with made.taken_back_on_failure():
        things.make(made, "first")
    assert things.there == ["first"]
    with pytest.raises(KeyboardInterrupt), made.taken_back_on_failure():
        raise KeyboardInterrupt
    assert things.there == [] and "taken back: first" in capsys.readouterr().err


def test_nothing_is_tried_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    made, things = Made(), Things()
    with pytest.raises(CredentialsError), made.taken_back_on_failure():
        things.make(made, "first")
        raise refused(403, code="ExpiredTokenException")
    assert things.there == ["first"] and "first (nobody is signed in): delete first" in capsys.readouterr().err


def test_what_was_refused_was_not_made_and_what_was_not_answered_may_have_been(
    capsys: pytest.CaptureFixture[str],
) -> None:
    things = Things()
    for status, is_tried in ((400, False), (500, True)):
        made = Made()
        with pytest.raises(KennelError), made.taken_back_on_failure():
            things.there = ["model"]
            with made.making("model", lambda: things.delete("model"), "delete model"):
                raise refused(status)
        assert (things.there == []) is is_tried
    assert capsys.readouterr().err == "taken back: model\n"


def test_a_creation_whose_answer_was_lost_is_no_failure() -> None:
    def create(error: ClientError) -> None:
        raise error

    taken = "Cannot create already existing endpoint"
    create_once(lambda: create(refused(message=taken, retries=1)))
    with pytest.raises(ClientError, match=taken):
        create_once(lambda: create(refused(message=taken)))
    with pytest.raises(ClientError, match=taken):
        create_once(lambda: create(refused(message=taken, retries=1)), lambda: False)
