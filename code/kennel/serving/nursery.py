"""The process that every model of a multi-model server is forked from: it has imported all that a model needs.

    python -m kennel.serving.nursery FOLDER     (FOLDER: kennel.serving.frontend.private_folder)

So a model is loaded without importing anything, and what was imported is in memory once, not once for each model. Who
connects to its socket and names a model gets a process for it (kennel.serving.keeper), with this connection as its
control.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Final

from kennel.errors import KennelError
from kennel.orphans import die_with_parent
from kennel.serving.engine_choice import choose_engine
from kennel.serving.frontend import NURSERY_LIFELINE
from kennel.serving.lifeline import Failed, LifelineWriter, Ready

SOCKET: Final = "nursery.sock"
_ENGINES: Final = {"torch": "kennel.serving.torch_engine", "onnxruntime": "kennel.serving.onnx_engine"}


def main(folder: Path) -> None:
    """Imports, tells the supervisor, and makes models until killed."""
    os.register_at_fork(after_in_child=die_with_parent)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no model stays behind as a zombie
    lifeline = LifelineWriter(folder / NURSERY_LIFELINE)
    os.register_at_fork(after_in_child=lifeline.drop)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / SOCKET))
        listener.listen()
        _import_all(lifeline)
        gc.collect()
        gc.freeze()  # what was imported stays shared with the models: no collection will touch it
        lifeline.tell(Ready())
        while True:
            control, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _become_keeper(control)
            control.close()


def request(control: socket.socket, model_dir: Path, address: Path) -> None:
    """Asks for a model at the other end of a connection to SOCKET; what comes back says kennel.serving.keeper."""
    control.sendall(json.dumps({"model_dir": str(model_dir), "address": str(address)}).encode() + b"\n")


def _import_all(lifeline: LifelineWriter) -> None:
    try:
        importlib.import_module("kennel.serving.keeper")
        importlib.import_module(_ENGINES[choose_engine()])
    except KennelError as error:
        lifeline.tell(Failed(f"{type(error).__name__}: {error}", error.exit_status))
        sys.exit(error.exit_status)
    except Exception as error:
        traceback.print_exc()
        lifeline.tell(Failed(f"Unexpected {type(error).__name__}: {error}", 1))
        sys.exit(1)


def _become_keeper(control: socket.socket) -> None:
    from kennel.serving.keeper import keep

    with control.makefile("rb") as lines:
        order = json.loads(lines.readline())
    keep(control, Path(order["model_dir"]), Path(order["address"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
