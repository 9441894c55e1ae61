"""What a command has made at a place so far, so that a failure leaves nothing half-made.

    made = Made()
    with made.taken_back_on_failure():
        with made.making("model dogs", lambda: delete_model("dogs"), "aws sagemaker delete-model --model-name dogs"):
            client.create_model(...)
        ...                                 # whatever is raised here: the model goes, and that is said

Exercise it: pytest tests/unit/launch/test_made.py
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import ClientError

from kennel.aws.words import CredentialsError, in_words
from kennel.errors import KennelError


@dataclass(frozen=True)
class _Step:
    """what: in words. undo: whether the thing was there. command: what a person types instead."""

    what: str
    undo: Callable[[], bool]
    command: str


class Made:
    """Things in the order in which they were made."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    @contextmanager
    def making(self, what: str, undo: Callable[[], bool], command: str) -> Iterator[None]:
        """Around the one request that makes it: where that is refused, nothing was made.

        Where its answer is lost, it may have been.
        """
        self.add(what, undo, command)
        try:
            yield
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) < 500:
                self._steps.pop()
            raise

    def add(self, what: str, undo: Callable[[], bool], command: str) -> None:
        """Before several requests, of which the first ones may have made something."""
        self._steps.append(_Step(what, undo, command))

    def keep(self) -> None:
        """From here on it stays."""
        self._steps.clear()

    @contextmanager
    def taken_back_on_failure(self) -> Iterator[None]:
        """Whatever is raised inside goes on, in words, after all was taken back, newest first."""
        try:
            with in_words():
                yield
        except BaseException as error:  # Ctrl-C too must leave nothing that costs money
            self._take_back(is_signed_out=isinstance(error, CredentialsError))
            raise

    def _take_back(self, *, is_signed_out: bool) -> None:
        """Says what it does; with what cannot be done, the command that does it later."""
        left = []
        while self._steps:
            step = self._steps.pop()
            reason = "nobody is signed in" if is_signed_out else _take_back(step)
            if reason is not None:
                left.append(f"  {step.what} ({reason}): {step.command}")
        if left:
            print("\n".join(["perhaps left, with what deletes it:", *left]), file=sys.stderr)


def _take_back(step: _Step) -> str | None:
    """Why it could not be taken back; says that it was."""
    try:
        with in_words():
            if step.undo():
                print(f"taken back: {step.what}", file=sys.stderr)
    except KennelError as error:
        return str(error)
    return None
