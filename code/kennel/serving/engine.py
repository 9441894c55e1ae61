"""The model, ready to answer: read from its archive, proved on its golden predictions, run with one thread.

Exercise it: pytest tests/unit/serving/test_engine.py
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from kennel.model.archive import FORMAT_VERSION, Archive, read_archive, replay_golden

# Images that go through the network together. More gains nothing on a CPU (8 % at best) and costs memory.
_BATCH: Final = 8


@dataclass(frozen=True)
class Candidate:
    """One class, and the probability that the picture shows it."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What one picture shows: its most probable class, and the next ones, the most probable first.

    abstain: the best probability is below the archive's threshold, so the label is better not relied on.
    """

    label: str
    probability: float
    abstain: bool
    top_k: tuple[Candidate, ...]


@dataclass(frozen=True)
class Answer:
    """The predictions for one request, in the order of its pictures, and the model that made them."""

    predictions: tuple[Prediction, ...]
    model: Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """A model in evaluation mode, with everything its archive says about how to use it."""

    archive: Archive

    def predict(self, images: Iterable[Image.Image], *, top_k: int) -> Answer:
        """The predictions for RGB images. They are drawn one at a time, so that only one is in memory at full size.

        top_k: classes named for each image; all of them where there are fewer.
        """
        # map, not a comprehension, whose variable would keep an image while the next one is drawn.
        inputs = torch.stack(list(map(self.archive.card.eval_transform, images)))
        rows = [row for batch in torch.split(inputs, _BATCH) for row in self.archive.predict(batch)]
        return Answer(tuple(self._prediction(row, top_k) for row in rows), self.description)

    @property
    def description(self) -> dict[str, Any]:
        """Which model this is, for the answers."""
        card = self.archive.card
        return {
            "backbone": card.backbone,
            "classes": len(card.classes),
            "format": FORMAT_VERSION,
            "created": card.created,
            "data_digest": card.data_digest,
        }

    def _prediction(self, probabilities: torch.Tensor, top_k: int) -> Prediction:
        card = self.archive.card
        values, targets = probabilities.topk(min(top_k, len(card.classes)))
        candidates = tuple(
            # Nine digits are all a float32 has; more would only be noise in the answer.
            Candidate(card.classes[target].label, float(f"{value:.9g}"))
            for value, target in zip(values.tolist(), targets.tolist(), strict=True)
        )
        best = candidates[0]
        return Prediction(best.label, best.probability, best.probability < card.abstain_threshold, candidates)


def load_engine(model_dir: Path) -> Engine:
    """The engine for an archive, after its golden predictions came out as they did when it was written.

    The process is set to one thread for an operator: on these models more threads only cost (measured), and the server
    runs a process for each core. Raises ArchiveError.
    """
    torch.set_num_threads(1)
    archive = read_archive(model_dir)
    replay_golden(archive)
    return Engine(archive)
