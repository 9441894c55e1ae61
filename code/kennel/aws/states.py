"""What SageMaker's states mean, where the word alone does not say it.

    state_words("Interrupted")          # "a spot machine was taken back; ..."
    Transitions().new(description)      # lines, one for each change since the last call

Sources: the API's own model (SecondaryStatus, SecondaryStatusTransition); AWS may add states and change messages.
Exercise it: pytest tests/unit/aws/test_states.py
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_WORDS: Final = {
    "Pending": "waits for machines",
    "Interrupted": "a spot machine was taken back; goes on from its checkpoint when there is one again",
    "Restarting": "starts again, from its checkpoint where there is one",
    "MaxRuntimeExceeded": "its time limit has ended it",
    "MaxWaitTimeExceeded": "no spot machine came in time, or not for long enough",
    "Creating": "machines start, the image and the model are brought to them",
    "Updating": "changes to another configuration; the present one answers meanwhile",
    "SystemUpdating": "AWS maintains it; it answers meanwhile",
    "RollingBack": "goes back to what it was",
    "UpdateRollbackFailed": "the update failed, and so did going back: some machines have either",
    "OutOfService": "answers nobody",
}


def state_words(state: str, message: str = "") -> str:
    """What a state means, and AWS's own message; "" where the word says it all."""
    known = _WORDS.get(state, "")
    if known and message and message.rstrip(".").lower() != known:
        return f"{known} (AWS: {message})"
    return known or message


class Transitions:
    """Says each of a training job's states once, and each new message of it."""

    def __init__(self) -> None:
        self._said: set[tuple[int, str, str]] = set()

    def new(self, description: Mapping[str, Any]) -> Iterator[str]:
        """`Downloading: Downloading input data` for each change since the last call, none left out."""
        for place, each in enumerate(description.get("SecondaryStatusTransitions") or ()):
            state, message = str(each["Status"]), str(each.get("StatusMessage") or "")
            if (place, state, message) not in self._said:
                self._said.add((place, state, message))
                words = state_words(state, message)
                yield f"{state}: {words}" if words else state
