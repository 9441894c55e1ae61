"""What a hook is asked to save: debughookconfig.json as SageMaker gives it, or Kennel's own defaults.

    order = read_hook_config(paths.input_config_dir / "debughookconfig.json", base=paths.base)

{"S3OutputPath": ..., "LocalPath": "/opt/ml/output/tensors/", "HookParameters": {...},
 "CollectionConfigurations": [{"CollectionName": ..., "CollectionParameters": {...}}]}

All values are strings, and any of them may be null. Where no collection is named, Kennel's are saved: statistics of
everything, at an interval that fits the epoch (smdebug's own default, losses every 500 steps, sees nothing of a small
training). One parameter is ours: HookParameters "kennel.max_mb", the bound on what is written (1000).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from kennel.errors import ContractError

DEFAULT_MAX_MB: Final = 1000
MAX_MB: Final = "kennel.max_mb"
_PLATFORM_BASE: Final = PurePosixPath("/opt/ml")
_MODES: Final = ("", "train.", "eval.", "predict.", "global.")
_WHEN: Final = ("save_interval", "save_steps", "start_step", "end_step")
_WHAT: Final = ("include_regex", "reductions", "save_raw_tensor", "save_shape", "save_histogram")
_HOOK_ONLY: Final = ("save_all", "include_workers", "dry_run", "export_tensorboard", "tensorboard_dir", MAX_MB)


@dataclass(frozen=True)
class HookOrder:
    """What to save and where.

    folder: of smdebug's files. parameters: HookParameters without ours. collections: name -> its parameters.
    unknown: parameters that nobody knows, to be told to the user.
    """

    folder: Path
    parameters: Mapping[str, str] = field(default_factory=dict)
    collections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    max_bytes: int = DEFAULT_MAX_MB * 10**6
    unknown: tuple[str, ...] = ()

    @property
    def has_defaults(self) -> bool:
        """Whether Kennel says what is saved: nothing was named but, at most, when."""
        return not self.collections and all(_is_when(name) for name in self.parameters)

    @property
    def has_schedule(self) -> bool:
        """Whether it says when to save in training."""
        return any(_is_when(name) for name in self.parameters)


def read_hook_config(path: Path, *, base: Path) -> HookOrder:
    """The order in debughookconfig.json; /opt/ml in its LocalPath stands for `base`.

    Raises ContractError naming the key for a file that is not as SageMaker writes it.
    """
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise _wrong(path, f"is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise _wrong(path, f"holds {content!r} in place of an object")
    local = content.get("LocalPath") or str(_PLATFORM_BASE / "output" / "tensors")
    if not isinstance(local, str):
        raise _wrong(path, f"has LocalPath {local!r} in place of a string")
    parameters = dict(_strings(path, "HookParameters", content.get("HookParameters")))
    max_bytes = _max_bytes(path, parameters.pop(MAX_MB, None))
    collections = _collections(path, content.get("CollectionConfigurations"))
    _check_schedule(path, "HookParameters", parameters)
    for name, values in collections.items():
        _check_schedule(path, f"CollectionParameters of {name}", values)
    return HookOrder(_within(base, local), parameters, collections, max_bytes, _unknown(parameters, collections))


def _collections(path: Path, entries: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401  whatever JSON holds
    if not isinstance(entries or [], list):
        raise _wrong(path, f"has CollectionConfigurations {entries!r} in place of a list")
    found: dict[str, dict[str, str]] = {}
    for entry in entries or []:
        name = entry.get("CollectionName") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            raise _wrong(path, f"has a collection without a CollectionName: {entry!r}")
        found[name] = dict(_strings(path, "CollectionParameters", entry.get("CollectionParameters")))
    return found


def _strings(path: Path, key: str, values: Any) -> dict[str, str]:  # noqa: ANN401
    """A flat map of strings; nulls in it are left out."""
    if not isinstance(values or {}, dict):
        raise _wrong(path, f"has {key} {values!r} in place of an object")
    for name, value in (values or {}).items():
        if value is not None and not isinstance(value, str):
            raise _wrong(path, f"has {key} '{name}' with value {value!r}; all values are strings")
    return {name: value for name, value in (values or {}).items() if value is not None}


def _check_schedule(path: Path, key: str, parameters: Mapping[str, str]) -> None:
    for name, text in parameters.items():
        if not _is_when(name):
            continue
        numbers = text.split(",") if name.endswith("save_steps") else [text]
        low = 1 if name.endswith("save_interval") else 0
        if not all(number.strip().isdigit() and int(number) >= low for number in numbers):
            raise _wrong(path, f"has {key} '{name}' with value '{text}'; expected whole numbers from {low} on")


def _max_bytes(path: Path, text: str | None) -> int:
    try:
        megabytes = DEFAULT_MAX_MB if text is None else float(text)
        if not megabytes > 0:
            raise ValueError
        return int(megabytes * 10**6)
    except (ValueError, OverflowError):
        raise _wrong(path, f"has '{MAX_MB}' with value '{text}'; expected a number of megabytes above 0") from None


def _unknown(parameters: Mapping[str, str], collections: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    found = [name for name in parameters if not (_is_when(name) or name in _WHAT or name in _HOOK_ONLY)]
    for values in collections.values():
        found += [name for name in values if not (_is_when(name) or name in _WHAT)]
    return tuple(dict.fromkeys(found))


def _is_when(name: str) -> bool:
    return any(name == mode + key for mode in _MODES for key in _WHEN)


def _within(base: Path, local: str) -> Path:
    path = PurePosixPath(local)
    return base / path.relative_to(_PLATFORM_BASE) if path.is_relative_to(_PLATFORM_BASE) else Path(local)


def _wrong(path: Path, what: str) -> ContractError:
    return ContractError(f"{path} {what}. It is the DebugHookConfig of CreateTrainingJob as SageMaker writes it.")
