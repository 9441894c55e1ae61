"""What multi-model-server starts in place of its Python backend: the real one (kennel.serving.worker) runs already.

multi-model-server runs `<model_server_home>/mms/model_service_worker.py`, waits for the line "MMS worker started."
on its stdout, connects to the socket named in its arguments, and takes the end of this process for the end of the
backend.
"""

import os
import signal
from pathlib import Path

from kennel.orphans import die_with_parent
from kennel.serving.lifeline import LifelineWriter


def main(lifeline: Path) -> None:
    """Says what multi-model-server waits to hear, and stays until killed."""
    die_with_parent()
    LifelineWriter(lifeline)
    print(f"[PID] {os.getpid()}\nMMS worker started.", flush=True)
    while True:
        signal.pause()
