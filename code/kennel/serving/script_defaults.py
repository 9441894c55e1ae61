"""What the functions that a script does not define do: what SageMaker's containers for PyTorch do.

Not by their toolkit: sagemaker-pytorch-inference needs torchserve, another server, which its authors have given up. Nor
by sagemaker_inference.decoder, which unpickles whatever a client sends as application/x-npy. The answers are the same.

    model_fn     the network in model.pt, or in the only .pt or .pth there is, if it is TorchScript
    input_fn     application/json and text/csv as a float32 tensor, application/x-npy as a tensor of its own type
    predict_fn   the model on it, in evaluation mode and without gradients
    output_fn    application/json, text/csv or application/x-npy

Exercise them: pytest tests/unit/serving/test_script_defaults.py
"""

import io
import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sagemaker_inference import content_types, encoder

from kennel.errors import ArchiveError, ContractError
from kennel.serving.request import RequestError, media_type
from kennel.serving.source_dir import jit_files

_READ: Final = (content_types.JSON, content_types.CSV, content_types.NPY)
_GIVEN: Final = (content_types.JSON, content_types.CSV, content_types.NPY)
_NEED_TORCH: Final = ("model_fn", "input_fn", "predict_fn")


def defaults() -> Mapping[str, Callable[..., Any]]:
    """The functions by name."""
    return {"model_fn": model_fn, "input_fn": input_fn, "predict_fn": predict_fn, "output_fn": output_fn}


def check_torch(missing: list[str]) -> None:
    """Raises ContractError where functions are left to the defaults, and these need a torch that is not installed.

    missing: what the script does not define.
    """
    needed = [name for name in _NEED_TORCH if name in missing]
    if needed and find_spec("torch") is None:
        raise ContractError(
            f"The script defines no {' and no '.join(needed)}, and what stands in for that needs torch, which is not "
            "installed here. Define it, or use the image that has torch (scripts/build.sh serve, without --cpu)."
        )


def model_fn(model_dir: str) -> Any:  # noqa: ANN401  a torch.jit.ScriptModule
    """The archive's network, which must be TorchScript. Raises ArchiveError."""
    import torch

    files = jit_files(Path(model_dir))
    remedy = "Define model_fn(model_dir) in the script, or save the network with torch.jit.script(model).save(...)."
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise ArchiveError(
            f"Without a model_fn the archive must have exactly one .pt or .pth file; it has {names}. {remedy}"
        )
    try:
        return torch.jit.load(str(files[0]), map_location=_device())  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ArchiveError(f"{files[0].name} is not TorchScript ({reason:.200}). {remedy}") from error


def input_fn(body: str | bytes, content_type: str | None) -> Any:  # noqa: ANN401  a torch.Tensor
    """The numbers in a request. Raises RequestError for another type, and for what cannot be read as that type."""
    import torch

    kind = media_type(content_type)
    if kind not in _READ:
        raise RequestError(
            f"Content-Type {content_type!a:.100} is not read here. Send {', '.join(_READ)}, or define input_fn in the "
            "script.",
            status=415,
            code="unsupported_media_type",
        )
    try:
        array = _array(body, kind)
        return torch.from_numpy(array).to(_device())
    except (ValueError, TypeError, EOFError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"The body is not {kind} of numbers: {reason:.200}.", code="invalid_body") from error


def predict_fn(data: Any, model: Any) -> Any:  # noqa: ANN401  tensors and a module
    """What the model makes of the data."""
    import torch

    device = _device()
    with torch.no_grad():
        return model.to(device).eval()(data.to(device))


def output_fn(prediction: Any, accept: str) -> tuple[bytes, str]:  # noqa: ANN401  a tensor, or what JSON can hold
    """The prediction in the first type of `accept` that can be given. Raises RequestError where there is none."""
    values = _plain(prediction)
    for part in accept.split(","):
        kind = media_type(part)
        if kind in (content_types.ANY, "application/*"):
            kind = content_types.JSON
        if kind in _GIVEN:
            encoded = encoder.encode(values, kind)
            return encoded.encode() if isinstance(encoded, str) else encoded, kind
    raise RequestError(
        f"Accept {accept!a:.100} cannot be given. Ask for {', '.join(_GIVEN)}, or define output_fn in the script.",
        status=406,
        code="not_acceptable",
    )


def _plain(prediction: Any) -> Any:  # noqa: ANN401
    """A tensor as lists, also within a list, a tuple or a dictionary."""
    if hasattr(prediction, "detach"):
        return prediction.detach().cpu().numpy().tolist()
    if isinstance(prediction, Mapping):
        return {key: _plain(value) for key, value in prediction.items()}
    if isinstance(prediction, list | tuple):
        return [_plain(value) for value in prediction]
    return prediction


def _array(body: str | bytes, kind: str) -> NDArray[Any]:
    if kind == content_types.NPY:
        data = body.encode() if isinstance(body, str) else bytes(body)
        array = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of several arrays")
        return array
    text = body if isinstance(body, str) else bytes(body).decode()
    if kind == content_types.JSON:
        return np.array(json.loads(text), dtype=np.float32)
    if not text.strip():
        raise ValueError("it is empty")
    return np.genfromtxt(io.StringIO(text), dtype=np.float32, delimiter=",")


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
