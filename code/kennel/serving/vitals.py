"""Whether a server that runs still answers: seen from its workers' pulse, and by a request of our own when it is idle.

multi-model-server's /ping is 200 also when every worker hangs, and SageMaker would send requests there for ever. So
the supervisor looks every 10 s. Was a request answered since, all is well, however long it took. If none was, it sends
one picture through the port, at most one at a time, which waits in the queue as any other does. Only when nothing at
all was answered for twice the longest time a request may take plus a minute (180 s by default) is the server given up:
by then multi-model-server has replaced every worker that was too slow at least once, so a slow server is not taken for
a dead one. Looks are counted, not seconds: a container that was frozen (serverless) is not at fault.

Somebody's script is not asked: its worker answers by itself, which shows that it does not hang (script_answer).
The price is one picture of 1 x 1 pixel every 20 s, and only while nobody else asks.
"""

import math
import socket
from typing import Final

from kennel.errors import KennelError
from kennel.serving.pulse import PulseReader

LOOK_S: Final = 10.0
_GRACE_S: Final = 60.0
# A white PNG of 1 x 1 pixel.
_PICTURE: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415478da63f8ffff3f0005fe02fe331295"
    "140000000049454e44ae426082"
)
_REQUEST: Final = (
    b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nX-Kennel-Canary: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s"
) % (len(_PICTURE), _PICTURE)


class Vitals:
    """Call `look` every LOOK_S."""

    def __init__(self, pulse: PulseReader, port: int, *, timeout_s: int) -> None:
        self._pulse = pulse
        self._port = port
        self._patience = math.ceil((2 * timeout_s + _GRACE_S) / LOOK_S)
        self._last_beat = pulse.last_beat
        self._silent_looks = 0
        self._canary: socket.socket | None = None

    def look(self) -> None:
        """Raises KennelError when the server is to be given up."""
        beat = self._pulse.last_beat
        if beat != self._last_beat:
            self._last_beat, self._silent_looks = beat, 0
            self.close()
            return
        self._silent_looks += 1
        if self._silent_looks > self._patience:
            raise KennelError(
                f"No request was answered for {self._patience * LOOK_S:.0f} s, not even one of the server's own: "
                "its workers hang. They are started again with the container."
            )
        if self._canary is None or not self._is_waiting(self._canary):
            self.close()
            self._canary = self._send()

    def close(self) -> None:
        if self._canary is not None:
            self._canary.close()
            self._canary = None

    def _send(self) -> socket.socket | None:
        try:
            canary = socket.create_connection(("127.0.0.1", self._port), timeout=1)
            canary.sendall(_REQUEST)
        except OSError:
            return None  # also a sign, and the next look tries again
        canary.setblocking(False)
        return canary

    @staticmethod
    def _is_waiting(canary: socket.socket) -> bool:
        """Whether its answer is still to come. An answer without a pulse is multi-model-server's own, an error."""
        try:
            canary.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False
