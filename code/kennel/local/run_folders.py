"""One name, one folder: training, tuning and transform jobs share the names under runs/."""

from typing import Final

from kennel.local.faults import invalid
from kennel.local.settings import Layout

_KINDS: Final = {
    "job.json": "a training job",
    "tuning.json": "a hyperparameter tuning job",
    "transform.json": "a transform job",
}


def check_name_is_free(layout: Layout, name: str) -> None:
    """Raises ApiError if `runs/<name>` is there already, saying what it holds."""
    folder = layout.job_dir(name)
    if not folder.exists():
        return
    for file, kind in _KINDS.items():
        if (folder / file).is_file():
            raise invalid(
                f"The name '{name}' is taken by {kind}: {folder} holds it. Delete it, or choose another name."
            )
    raise invalid(f"{folder} is there already and holds no run. Move it away, or choose another job name.")
