"""Somebody's inference script, loaded and asked as SageMaker's toolkit does it.

    model_fn(model_dir)                       once, at the start
    input_fn(body, content_type)              for each request; body is text for JSON and CSV, else a bytearray
    predict_fn(data, model)
    output_fn(prediction, accept)             text, bytes, what JSON can hold, or one of these with its content type
    transform_fn(model, body, content_type, accept)     in place of the last three
    pre_model_fn(model_dir), model_warmup_fn(model_dir, model)     around model_fn

Each may take one argument more, the toolkit's context. What is missing comes from kennel.serving.functions where the
model is Kennel's (the archive has a model.json, and the script no model_fn), and from kennel.serving.script_defaults
otherwise. Unlike with the toolkit a fault is never answered with its traceback: that is in the log.

The script runs as on AWS: its folder comes first on sys.path, the model's folder is the current one, what it prints and
logs is in the endpoint's log. Exercise it:
pytest tests/unit/serving/test_script.py, tests/contract/test_script_serving_contract.py
"""

import importlib
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from kennel.errors import ContractError, KennelError
from kennel.paths import ml_paths
from kennel.serving import script_defaults
from kennel.serving.request import RequestError
from kennel.serving.source_dir import SourceDir, has_card

# Each with the number of its arguments, the context not counted.
FUNCTIONS: Final = {
    "pre_model_fn": 1,
    "model_fn": 1,
    "model_warmup_fn": 2,
    "input_fn": 2,
    "predict_fn": 2,
    "output_fn": 2,
    "transform_fn": 4,
}
_IN_TURN: Final = ("input_fn", "predict_fn", "output_fn")
_SHOWN: Final = 500


class ScriptError(ContractError):
    """A script that cannot be imported, or whose functions cannot be used or do not give a model."""


class RaisedError(Exception):
    """A function raised, as its cause says. name: of the function."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Function:
    """One of FUNCTIONS, called with the context if it takes it."""

    name: str
    function: Callable[..., Any]
    takes_context: bool

    def __call__(self, context: object, *arguments: object) -> Any:  # noqa: ANN401  a script's business
        """What it returns. Raises RaisedError from whatever it raises, sys.exit included."""
        try:
            return self.function(*arguments, *([context] if self.takes_context else []))
        except (RequestError, MemoryError):
            raise
        except BaseException as error:  # a script's sys.exit() must not end a worker
            raise RaisedError(self.name) from error


@dataclass(frozen=True)
class Script:
    """A script with its model. Each function by name; `own` are those that it defines itself."""

    name: str
    own: tuple[str, ...]
    functions: Mapping[str, Function]
    model: Any
    golden: int = 0

    @property
    def description(self) -> dict[str, Any]:
        """What answers, for the log and the answers."""
        return {"script": self.name, "functions": list(self.own)}

    def transform(self, context: object, body: str | bytearray, *, content_type: str | None, accept: str) -> Any:  # noqa: ANN401
        """What the script answers to a request. Raises RaisedError, RequestError, MemoryError."""
        if "transform_fn" in self.functions:
            return self.functions["transform_fn"](context, self.model, body, content_type, accept)
        data = self.functions["input_fn"](context, body, content_type)
        prediction = self.functions["predict_fn"](context, data, self.model)
        return self.functions["output_fn"](context, prediction, accept)


def load_script(source: SourceDir, model_dir: Path, *, context: object) -> Script:
    """The script, imported, with what its model_fn gave. Raises KennelError, its traceback on stderr.

    From then on this process is the script's: its modules, its current folder.
    """
    name = source.program.relative_to(source.folder).as_posix() if source.program else "none"
    module = None
    if source.program:
        _make_way(source, source.program, model_dir)
        module = _imported(source.program, name)
    functions, own = _functions(module, name, is_kennels=has_card(model_dir))
    try:
        if "pre_model_fn" in functions:
            functions["pre_model_fn"](context, str(model_dir))
        model = functions["model_fn"](context, str(model_dir))
        if "model_warmup_fn" in functions:
            functions["model_warmup_fn"](context, str(model_dir), model)
    except RaisedError as raised:
        error = raised.__cause__
        if isinstance(error, KennelError):
            raise error from None
        raise _told(f"{name}: {raised.name} raised", error, source.folder) from error
    return Script(name, own, functions, model)


def _make_way(source: SourceDir, program: Path, model_dir: Path) -> None:
    """Makes this process one in which the script finds what it would find on AWS."""
    requirements = source.folder / "requirements.txt"
    # The SDK packs dependencies= into lib/, and says that they are beside the script.
    paths = list(dict.fromkeys([str(source.folder), str(program.parent), str(source.folder / "lib")]))
    if requirements.is_file():
        from kennel.requirements_file import provide_requirements  # needs a package that nothing else here does

        packages = Path(tempfile.mkdtemp(prefix="script-")) / "packages"
        print(provide_requirements(requirements, packages, os.environ), file=sys.stderr, flush=True)
        paths += [str(packages)] if packages.is_dir() else []
    sys.path[:0] = paths
    sys.dont_write_bytecode = True  # the model's folder is to be treated as read-only
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(source.folder), os.environ.get("PYTHONPATH")]))
    os.chdir(model_dir)


def _imported(program: Path, name: str) -> ModuleType:
    module = program.parent.name if program.name == "__init__.py" else program.stem
    root = str(program.parent.parent if program.name == "__init__.py" else program.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    sys.modules.pop(module, None)  # Kennel's own `inference`, where somebody has imported it
    try:
        return importlib.import_module(module)
    except BaseException as error:
        raise _told(f"{name} cannot be imported:", error, program.parent) from error


def _functions(
    module: ModuleType | None, name: str, *, is_kennels: bool
) -> tuple[dict[str, Function], tuple[str, ...]]:
    """The functions by name, and the names of those that the script defines. Raises ScriptError."""
    own = {each: getattr(module, each) for each in FUNCTIONS if callable(getattr(module, each, None))}
    also = [each for each in _IN_TURN if each in own]
    if "transform_fn" in own and also:
        raise ScriptError(
            f"{name} defines transform_fn, and {', '.join(also)} too, which it would replace. Leave one out."
        )
    wanted = ("model_fn",) if "transform_fn" in own else ("model_fn", *_IN_TURN)
    missing = [each for each in wanted if each not in own]
    instead = _instead(missing, is_kennels="model_fn" not in own and is_kennels)
    chosen = {**{each: instead[each] for each in missing}, **own}
    return {each: _function(each, function, name) for each, function in chosen.items()}, tuple(own)


def _instead(missing: list[str], *, is_kennels: bool) -> Mapping[str, Callable[..., Any]]:
    """What stands in for the functions that a script does not define."""
    if is_kennels:
        from kennel.serving import functions

        return {each: getattr(functions, each) for each in missing}
    script_defaults.check_torch(missing)
    return script_defaults.defaults()


def _function(name: str, function: Callable[..., Any], script: str) -> Function:
    """The toolkit's rule: as many parameters as arguments, or one more for the context."""
    count = FUNCTIONS[name]
    signature = inspect.signature(function)
    given = len(signature.parameters)
    if given in (count, count + 1):
        return Function(name, function, given > count)
    try:
        signature.bind(*range(count))
    except TypeError as error:
        raise ScriptError(
            f"{script}: {name}{signature} takes {given} arguments. Expected {count}, or {count + 1} with the context."
        ) from error
    return Function(name, function, False)


def _told(what: str, error: BaseException | None, folder: Path) -> ScriptError:
    """What is wrong with a script, on one line; its traceback goes to stderr."""
    if error is None:
        return ScriptError(what)
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    return ScriptError(f"{what} {summary(error)}{_place(error, folder)}.{remedy(error)} Its traceback is above.")


def summary(error: BaseException) -> str:
    """`ValueError: what it says`, on one line."""
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    return f"{type(error).__name__}: {text:.{_SHOWN}}".rstrip(": .")


def _place(error: BaseException, folder: Path) -> str:
    """` (inference.py:12)`: the innermost line that is the script's own."""
    if isinstance(error, SyntaxError):
        return f" ({Path(error.filename or '').name}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def remedy(error: BaseException) -> str:
    """What helps, of faults that are met here and not on AWS."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        if error.name in ("torch", "torchvision"):
            return f" {error.name} is not installed here: use the image that has torch (scripts/build.sh serve)."
        return f" Put {error.name} into the archive's code/, or name it in code/requirements.txt."
    if "weights_only" in text.lower() or "weights only" in text.lower():
        return (
            " torch.load reads weights alone since 2.6. If you trust the file: weights_only=False in the script's "
            "torch.load, or TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 in the model's environment (env= in the SDK)."
        )
    if type(error).__name__ in ("URLError", "ConnectionError", "gaierror"):
        return (
            " A server has no network on most machines: pack what it needs into the archive (weights=None, then load)."
        )
    if isinstance(error, OSError) and "/opt/ml" in text and ml_paths().base != Path("/opt/ml"):
        return (
            " On this machine /opt/ml may stand elsewhere: take the folder that model_fn is given, or use --on docker."
        )
    return ""
