"""A process in which somebody's script runs: its output is in the server's log, and it sees no GPU.

Exercise it: pytest tests/contract/test_script_serving_contract.py
"""

import logging
import os
import re
import sys
import threading
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

import mms
from sagemaker_inference import parameters

from kennel.errors import UserError
from kennel.opt_ml import show_as_opt_ml
from kennel.orphans import die_with_parent
from kennel.paths import ml_paths
from kennel.stand_in import STANDS_IN_FOR

_MMS: Final = str(Path(mms.__file__).parent)
_PICKLES: Final = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_DRIVER: Final = Path("/proc/driver/nvidia/gpus")


def become_a_scripts() -> None:
    """From now on what this process prints and logs is in the server's log. Raises UserError for a bad log level."""
    sys.stdout.flush()
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    _log_like_the_toolkit()
    _hide_gpus()
    if show_as_opt_ml(ml_paths().base):  # scripts write it out in full
        die_with_parent(os.getppid())
    _load_as_the_image_would(os.environ)
    os.register_at_fork(after_in_child=_use_one_thread)


def _log_like_the_toolkit() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: not record.pathname.startswith(_MMS))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(_level(os.environ.get(parameters.LOG_LEVEL_ENV, "").strip()))


def _level(text: str) -> int:
    names: dict[str, Any] = logging.getLevelNamesMapping()
    level = int(text) if text.isascii() and text.isdigit() else names.get(text.upper() or "INFO")
    if level is None:
        raise UserError(f"{parameters.LOG_LEVEL_ENV} is '{text}'. Expected a number, as 20, or a name, as INFO.")
    return int(level)


def _load_as_the_image_would(environ: MutableMapping[str, str]) -> None:
    """torch.load read whole networks, pickled, until torch 2.6: in the place of an older image it does so here too.

    What is unpickled comes from the archive whose code runs anyway.
    """
    image = environ.get(STANDS_IN_FOR, "")
    version = re.search(r":(\d+)\.(\d+)[^/]*$", image)
    if version and (int(version[1]), int(version[2])) < (2, 6) and _PICKLES not in environ:
        environ[_PICKLES] = "1"
        print(f"torch.load reads pickled networks, as in {image} ({_PICKLES}=1).", flush=True)


def _use_one_thread() -> None:
    """In a worker: the threads that a script's model_fn had computing are not in its forks, which would wait for them
    for ever (torch 2.15, measured)."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def warn_of_threads() -> None:
    """Says so where a script started threads with its model: they are not in the workers either."""
    if (others := threading.active_count() - 1) > 0:
        print(
            f"WARNING: model_fn left {others} thread(s) running. The workers are forks of this process, without them: "
            "start threads in the first request.",
            flush=True,
        )


def _hide_gpus() -> None:
    """Workers are forks of the process that loaded the model, and CUDA does not outlive a fork."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") != "" and _DRIVER.is_dir():
        print("The script computes on the CPU: its workers are forks, and a GPU cannot be shared by them.", flush=True)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
