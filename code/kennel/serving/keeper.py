"""The process of one loaded model: proves it, says so, and forks a worker for each connection to its socket.

    control   one JSON object a line, to the gateway:   {"pid": 4711}                       at once
                                                        {"model": {...}, "golden": 2}       it can be asked
                                                        {"reason": "...", "kind": "..."}    it cannot be served
              its end, at either side, is the end of the model
    socket    each connection is a worker. First it says its process id, and then, for each pair of messages
              (headers as JSON, body), gives back a pair (status and content type as JSON, body)

Messages are framed by multiprocessing.connection, and are plain bytes: nothing is ever unpickled.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NoReturn

from kennel.errors import ContractError, KennelError, UserError
from kennel.serving.handler import Model, answer, load_once, make_context

_ACCEPT_BACKLOG: Final = 128


def keep(control: socket.socket, model_dir: Path, address: Path) -> NoReturn:
    """Serves the model until `control` ends; never returns into the code that forked it."""
    status = 1
    try:
        os.setpgid(0, 0)  # the gateway ends a model, and all its workers, by their group
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no worker stays behind as a zombie
        _tell(control, pid=os.getpid())
        model = _load(control, model_dir)
        if model is not None:
            _serve(control, address, model, str(model_dir))
        status = 0
    except ConnectionError:
        status = 0  # the gateway gave the model up
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _load(control: socket.socket, model_dir: Path) -> Model | None:
    """What answers; None where it was told what is wrong with the model."""
    try:
        return load_once(str(model_dir))
    except MemoryError:
        _tell(control, kind="memory", reason=f"Memory ran out while {model_dir} was loaded.")
    except KennelError as error:
        kind = "archive" if isinstance(error, ContractError | UserError) else "fault"
        _tell(control, kind=kind, reason=f"{type(error).__name__}: {error}")
    except Exception as error:
        traceback.print_exc()
        _tell(control, kind="fault", reason=f"Unexpected {type(error).__name__}: {error}")
    return None


def _serve(control: socket.socket, address: Path, model: Model, model_dir: str) -> None:
    """Forks a worker for each connection, until `control` ends."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(_ACCEPT_BACKLOG)
        gc.collect()
        gc.freeze()  # what is there now stays shared with the workers: no collection will touch it
        _tell(control, model=model.description, golden=model.golden)
        while True:
            ready, _, _ = select.select([control, listener], [], [])
            if control in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                control.close()
                _work(Connection(connection.detach()), model, model_dir)
            connection.close()


def _work(requests: Connection, model: Model, model_dir: str) -> NoReturn:
    """A worker: one request at a time, until the gateway hangs up."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        requests.send_bytes(str(os.getpid()).encode())
        while True:
            headers, body = json.loads(requests.recv_bytes()), requests.recv_bytes()
            reply = answer(body, headers, model, context=make_context(model_dir, headers))
            requests.send_bytes(json.dumps([reply.status, reply.content_type]).encode())
            requests.send_bytes(reply.body)
    except (EOFError, ConnectionError):
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def _tell(control: socket.socket, **message: Any) -> None:  # noqa: ANN401  any JSON value
    control.sendall(json.dumps(message).encode() + b"\n")
