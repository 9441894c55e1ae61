"""multi-model-server's Python backend: loads the model, proves it, and only then takes connections.

    python -m kennel.serving.worker FOLDER     (FOLDER: kennel.serving.frontend.private_folder)

It is multi-model-server's own worker (mms.model_service_worker), started by the supervisor and not by Java, for two
reasons. Java would wait 60 s for it and then serve without a model, for ever; a large model on a cold disk takes
longer. And what is wrong with a model is known before there is a Java. Each worker is a fork of this process and
shares the model's memory; one that dies is back at once, without loading anything.
"""

import logging
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

from mms.model_loader import MmsModelLoader
from mms.model_service_worker import MXNetModelServiceWorker

from kennel.errors import KennelError
from kennel.orphans import die_with_parent
from kennel.paths import ml_paths
from kennel.serving.frontend import MODEL, PULSE, WORKER_LIFELINE, WORKER_SOCKET
from kennel.serving.lifeline import Failed, LifelineWriter, Loaded
from kennel.serving.pulse import Pulse
from kennel.serving.settings import read_settings

HANDLER: Final = "kennel.serving.handler"
# From multi-model-server's time-out to the worker's own end.
_GRACE_S: Final = 5


def main(folder: Path) -> None:
    """Loads the model, tells the supervisor, and serves multi-model-server's socket until killed."""
    os.register_at_fork(after_in_child=die_with_parent)
    lifeline = LifelineWriter(folder / WORKER_LIFELINE)
    os.register_at_fork(after_in_child=lifeline.drop)
    # mms logs to stdout, which is ours here: a metric for each request, and a traceback whenever Java hangs up.
    logging.getLogger().addHandler(logging.NullHandler())
    worker = _Worker("unix", str(folder / WORKER_SOCKET), None, None, None, True, str(folder))
    try:
        loaded = _load(worker)
    except KennelError as error:
        lifeline.tell(Failed(f"{type(error).__name__}: {error}", error.exit_status))
        sys.exit(error.exit_status)
    except Exception as error:
        traceback.print_exc()
        lifeline.tell(Failed(f"Unexpected {type(error).__name__}: {error}", 1))
        sys.exit(1)
    _let_beat(worker.service, Pulse(folder / PULSE), read_settings().timeout_s + _GRACE_S)
    lifeline.tell(loaded)
    worker.run_server()


class _Worker(MXNetModelServiceWorker):  # type: ignore[misc]  # mms has no types
    """multi-model-server's own, but for what a script writes to stdout, which is logged as on AWS.

    Java reads two pipes of each worker, and here logs what comes through that of stderr alone: the other one carries a
    line for each request.
    """

    speaks = False

    def _remap_io(self) -> None:
        super()._remap_io()
        if self.speaks:
            os.dup(1)  # else the pipe would end, and Java take the worker for ended
            os.dup2(2, 1)


def _load(worker: _Worker) -> Loaded:
    """Gives the worker its model, read from SageMaker's folder.

    The folder that multi-model-server names when it asks for a load is empty, and by then nothing is left to load.
    So no manifest that came with an archive chooses a handler, and nothing is written beside the model.
    """
    started = time.monotonic()
    model_dir = str(ml_paths().model_dir)
    worker.model_loader = MmsModelLoader()
    worker.service = worker.model_loader.load(MODEL, model_dir, HANDLER, None, 1)
    from kennel.serving.handler import load_once  # only now, when a failure to import it can be told
    from kennel.serving.script import Script

    model = load_once(model_dir)
    worker.speaks = isinstance(model, Script)
    return Loaded(model.description, model.golden, round(time.monotonic() - started, 2))


def _let_beat(service: Any, pulse: Pulse, limit_s: int) -> None:  # noqa: ANN401  mms has no types
    """From now on the supervisor can see whether a request is being answered.

    limit_s: a worker that takes longer is killed by its alarm. multi-model-server has given it up by then, and has
    another one; but it would leave this one at its work, and in memory, for ever.
    """
    predict = service.predict

    def predict_with_a_beat(batch: Any) -> Any:  # noqa: ANN401  mms has no types
        signal.alarm(limit_s)
        try:
            with pulse.beat():
                return predict(batch)
        finally:
            signal.alarm(0)

    service.predict = predict_with_a_beat


if __name__ == "__main__":
    main(Path(sys.argv[1]))
