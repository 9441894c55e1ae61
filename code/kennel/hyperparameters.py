"""The hyperparameters of a training: one table of names, defaults, ranges and help; and their reader.

Values reach a training as argv (from the toolkit) and as hyperparameters.json, in every quoting SageMaker's tools use:
`16`, `"16"`, `"\\"16\\""`, `True`, `true`. All of them read the same. `kennel train -h` prints the table.
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kennel.errors import HyperparameterError


@dataclass(frozen=True)
class Rule:
    """What a value must be: a range (ends included unless `is_open`), or one of `choices`, or what `check` accepts."""

    help: str
    low: float | None = None
    high: float | None = None
    is_open: bool = False
    choices: tuple[str, ...] = ()
    check: Callable[[str], bool] | None = None
    form: str = ""

    def describe(self) -> str:
        """The range in words, as the table and the error messages print it."""
        if self.choices:
            return " | ".join(self.choices)
        if self.form:
            return self.form
        if self.high is None:
            return f"{'above' if self.is_open else 'at least'} {self.low:g}"
        return f"{self.low:g} to {self.high:g}" + (f", {self.low:g} excluded" if self.is_open else "")

    def accepts(self, value: Any) -> bool:  # noqa: ANN401  any of the table's types
        if self.choices:
            return value in self.choices
        if self.check:
            return self.check(value)
        if isinstance(value, str):
            return bool(value)
        above = value > self.low if self.is_open else value >= self.low
        return math.isfinite(value) and above and (self.high is None or value <= self.high)


def _is_head(text: str) -> bool:
    return text == "linear" or all(part.isdigit() and 1 <= int(part) <= 8192 for part in text.split(","))


def _hyperparameter(default: Any, rule: Rule) -> Any:  # noqa: ANN401  as dataclasses.field
    return dataclasses.field(default=default, metadata={"rule": rule})


@dataclass(frozen=True)
class Hyperparameters:
    """What a training is told. Written with dashes outside (`batch-size`), with underscores in Python."""

    backbone: str = _hyperparameter(
        "resnet18", Rule("torchvision classification network", form="a torchvision model name")
    )
    weights: str = _hyperparameter(
        "auto",
        Rule(
            "pretrained weights: auto looks in every known place, none starts at random",
            form="auto | none | a path",
        ),
    )
    trainable: str = _hyperparameter(
        "head",
        Rule(
            "what is trained: the head, the head and the stages from the one named on, or all",
            form="head | a stage name such as layer4 | all",
        ),
    )
    head: str = _hyperparameter(
        "linear",
        Rule(
            "layers after the backbone: linear, or hidden sizes",
            check=_is_head,
            form="linear | sizes such as 128 or 256,128 (1 to 8192)",
        ),
    )
    epochs: int = _hyperparameter(30, Rule("passes over the training images", 1, 1000))
    batch_size: int = _hyperparameter(32, Rule("images in a step, over all hosts and GPUs together", 1, 4096))
    lr: float = _hyperparameter(
        0.003, Rule("learning rate at its highest; pretrained stages get a tenth of it", 0, 10, is_open=True)
    )
    weight_decay: float = _hyperparameter(0.01, Rule("weight decay", 0, 1))
    eps: float = _hyperparameter(1e-8, Rule("epsilon of adamw and adam", 0, 1, is_open=True))
    optimizer: str = _hyperparameter("adamw", Rule("optimizer", choices=("adamw", "adam", "sgd")))
    scheduler: str = _hyperparameter(
        "cosine", Rule("how the learning rate moves", choices=("none", "cosine", "step", "one-cycle"))
    )
    label_smoothing: float = _hyperparameter(0.0, Rule("share of the target spread over all classes", 0, 0.9))
    class_weights: str = _hyperparameter(
        "none", Rule("balanced weighs rare classes up in the loss", choices=("none", "balanced"))
    )
    mixup: float = _hyperparameter(0.0, Rule("alpha of mixup; 0 is off", 0, 10))
    views: int = _hyperparameter(
        1,
        Rule(
            "with a frozen backbone: augmented views of an image that the epochs take in turn; 1 is the plain image",
            1,
            64,
        ),
    )
    patience: int = _hyperparameter(
        5, Rule("epochs without a better validation loss before stopping; 0 is never", 0, 1000)
    )
    image_size: int = _hyperparameter(224, Rule("side of the square the network sees, px", 32, 1024))
    precision: str = _hyperparameter(
        "float32",
        Rule("arithmetic of training; evaluation is always float32", choices=("float32", "bfloat16")),
    )
    seed: int = _hyperparameter(0, Rule("of weights, order, augmentation and the 80:10:10 split", 0, 2**31 - 1))
    bad_data: str = _hyperparameter(
        "refuse",
        Rule("broken pictures and leaks: refuse stops, skip leaves them out", choices=("refuse", "skip")),
    )
    debug: str = _hyperparameter(
        "auto",
        Rule(
            "save tensors and a timeline: auto where the job's DebugHookConfig or ProfilerConfig asks, on always",
            choices=("auto", "on", "off"),
        ),
    )

    def to_mapping(self) -> dict[str, str | int | float]:
        """Dashed names and plain values, as printed at the start and stored in the archive."""
        return {field.name.replace("_", "-"): getattr(self, field.name) for field in dataclasses.fields(self)}


FIELDS: Final = {field.name: field for field in dataclasses.fields(Hyperparameters)}
# What other programs call it: named in the error, never accepted, so that one job has one spelling.
SYNONYMS: Final = {"learning_rate": "lr", "model": "backbone", "arch": "backbone", "early_stopping": "patience"}
# Set by the platform or the SDK beside the user's own; never meant for the script.
RESERVED: Final = ("sagemaker_", "_tuning_objective_metric", "default_user_module_name")


def read_hyperparameters(values: Mapping[str, object]) -> Hyperparameters:
    """Hyperparameters from names (dashes or underscores) and values in any quoting.

    Raises HyperparameterError for an unknown name (with the nearest known one), a value outside its range,
    or a name given twice.
    """
    read: dict[str, Any] = {}
    for key, value in values.items():
        if key.startswith(RESERVED):
            continue
        name = _field_name(key)
        parsed = _parse(name, value)
        if name in read and read[name] != parsed:
            raise HyperparameterError(
                f"Hyperparameter '{_dashed(name)}' is given twice, as {read[name]!r} and {parsed!r}. Keep one of them."
            )
        read[name] = parsed
    return Hyperparameters(**read)


def resolve_hyperparameters(argv: Sequence[str], environ: Mapping[str, str], config_file: Path) -> Hyperparameters:
    """argv over SM_HPS over `config_file` over the defaults; the order every setting of Kennel follows."""
    values: dict[str, object] = {}
    sources = (_read_file(config_file), json.loads(environ.get("SM_HPS") or "{}"), read_argv(argv))
    for source in sources:
        for key, value in source.items():
            values[key if key.startswith(RESERVED) else _dashed(key)] = value
    return read_hyperparameters(values)


def read_argv(argv: Sequence[str]) -> dict[str, object]:
    """`--batch-size 16`, `--batch-size=16` and the toolkit's `-x 1` as a mapping.

    Raises HyperparameterError for a word that is no option, or an option without its value.
    """
    values: dict[str, object] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            raise HyperparameterError(f"'{word}' stands alone in the arguments. Write --name value.")
        key, equals, value = word.lstrip("-").partition("=")
        if not equals:
            if not words:
                raise HyperparameterError(f"'--{key}' has no value. Write --{key} value.")
            value = words.pop(0)
        values[key] = value
    return values


def read_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """`key=value` words (the command line's -p) as a mapping, checked one by one but not yet against the table."""
    values: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise HyperparameterError(
                f"'-p {assignment}' is no assignment. Write -p name=value, for example -p epochs=5."
            )
        values[key] = value
    return values


def table() -> str:
    """Name, default, range and help of every hyperparameter, a line each."""
    rows = []
    for name, field in FIELDS.items():
        rule: Rule = field.metadata["rule"]
        rows.append(f"  {_dashed(name):<16} {field.default!s:<9} {rule.help}\n  {'':<26} {rule.describe()}")
    return "\n".join(rows)


def _read_file(path: Path) -> dict[str, object]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise HyperparameterError(
            f"{path} is not JSON ({error}). SageMaker writes a flat map of strings there."
        ) from error
    return dict(content or {})


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _field_name(key: str) -> str:
    name = key.replace("-", "_")
    if name in FIELDS:
        return name
    known = [_dashed(each) for each in FIELDS]
    near = [SYNONYMS[name]] if name in SYNONYMS else difflib.get_close_matches(_dashed(key), known, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known are: {', '.join(known)}."
    raise HyperparameterError(f"Unknown hyperparameter '{key}'. {hint}")


def _parse(name: str, value: object) -> int | float | str:
    field = FIELDS[name]
    rule: Rule = field.metadata["rule"]
    text = unquoted(value)
    try:
        parsed = _whole(text) if field.type is int else field.type(text)  # type: ignore[operator]  # int, float or str
    except ValueError:
        parsed = None
    if parsed is None or not rule.accepts(parsed):
        kind = {int: "a whole number, ", float: "a number, ", str: ""}[field.type]  # type: ignore[index]  # as above
        raise HyperparameterError(
            f"Hyperparameter '{_dashed(name)}' has value '{text}'. "
            f"Expected {kind}{rule.describe()} (default {field.default})."
        )
    return parsed


def _whole(text: str) -> int:
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def unquoted(value: object) -> str:
    """The bare text of a value, through up to two layers of JSON string quoting, as SageMaker's tools put around it."""
    text = value if isinstance(value, str) else json.dumps(value)
    for _ in range(2):
        text = text.strip()
        if len(text) >= 2 and text[0] == text[-1] == '"':
            try:
                text = json.loads(text)
            except json.JSONDecodeError:
                break
    return text.strip()
