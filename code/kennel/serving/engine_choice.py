"""Which engine computes the predictions: torch, or ONNX Runtime where there is no torch, or where it is asked for.

    KENNEL_ENGINE=onnxruntime serve

Nothing is imported to find that out. Exercise it: pytest tests/unit/serving/test_engine_choice.py
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from kennel.errors import ContractError, UserError

# In the order of preference, with the packages each one needs.
ENGINES: Final = {"torch": ("torch", "torchvision"), "onnxruntime": ("onnx", "onnxruntime")}
_EXTRAS: Final = {"torch": "torch", "onnxruntime": "onnx"}


def choose_engine(environ: Mapping[str, str] = os.environ) -> str:
    """One of ENGINES: the one KENNEL_ENGINE names, or the first whose packages are installed. Nothing is imported.

    Raises UserError for another name, or one that is not installed, and ContractError where none is.
    """
    asked = environ.get("KENNEL_ENGINE", "").strip()
    if not asked:
        return _installed_engine()
    if asked not in ENGINES:
        raise UserError(f"KENNEL_ENGINE is {asked!r}. Expected {' or '.join(ENGINES)}.")
    absent = _absent(asked)
    if absent:
        raise UserError(
            f"KENNEL_ENGINE is {asked!r}, but {' and '.join(absent)} is not installed here. "
            f"Install it (pip install 'kennel[{_EXTRAS[asked]}]'), or leave KENNEL_ENGINE out."
        )
    return asked


def _installed_engine() -> str:
    for engine in ENGINES:
        if not _absent(engine):
            return engine
    raise ContractError(
        "Nothing that computes predictions is installed. Install torch (pip install 'kennel[torch]') "
        "or ONNX Runtime (pip install 'kennel[onnx]')."
    )


def _absent(engine: str) -> list[str]:
    return [package for package in ENGINES[engine] if find_spec(package) is None]
