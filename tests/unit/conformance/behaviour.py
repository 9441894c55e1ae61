"""What a small server of these tests was asked, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Asked:
    """One request as the server got it; headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_invocation(self) -> bool:
        return (self.method, self.path) == ("POST", "/invocations")


@dataclass
class Told:
    """What it answers."""

    status: int = 200
    body: bytes = b'{"label": "Red"}'
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


Behaviour = Callable[[Asked], Told]
