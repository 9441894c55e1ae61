"""The folder a hook writes into: what it does with one that is there already, and kennel.json in it.

A training that goes on from a checkpoint goes on in the same files: its steps have the numbers they would have had, and
those it does again replace their files. One that begins anew moves what it finds beside the folder, to NAME-earlier-1.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kennel.debug.tensors import FACTS_FILE
from kennel.rule_files import END_FILE

VERSION: Final = 1


def prepare_folder(folder: Path, *, is_resumed: bool) -> int:
    """Makes it ready to be written into. The size of what is there, bytes."""
    has_steps = (folder / "index").is_dir()
    if has_steps and not is_resumed:
        earlier = _free_name(folder)
        folder.rename(earlier)
        print(f"debug: tensors of an earlier training are now in {earlier}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / END_FILE).unlink(missing_ok=True)  # the training is not at its end any more
    for path in folder.rglob("*.tmp"):
        path.unlink()  # of a step in which it was killed
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes kennel.json, whole or not at all."""
    beside = folder / f"{FACTS_FILE}.tmp"
    beside.write_text(json.dumps({"version": VERSION, **facts}, indent=1))
    os.replace(beside, folder / FACTS_FILE)


def _free_name(folder: Path) -> Path:
    number = 1
    while (earlier := folder.with_name(f"{folder.name}-earlier-{number}")).exists():
        number += 1
    return earlier
