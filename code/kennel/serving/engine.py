"""The model, ready to answer: read from its archive, proved on its golden predictions, run with one thread.

What computes is torch (kennel.serving.torch_engine) or ONNX Runtime (kennel.serving.onnx_engine): either one gives a
Predict, from arrays to arrays, and only the one that is used is imported (kennel.serving.engine_choice says which).
Exercise it: pytest tests/unit/serving/test_engine.py
"""

import ctypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kennel.model.archive import FORMAT_VERSION, Archive, ModelCard, Predict, read_archive, replay_golden
from kennel.serving.engine_choice import choose_engine

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
    """A model in evaluation mode, with everything its archive says about how to use it.

    name: what computes, "torch" or "onnxruntime". golden: how many golden predictions came out as they must.
    """

    name: str
    card: ModelCard
    network: Predict
    golden: int

    def predict(self, images: Iterable[Image.Image], *, top_k: int) -> Answer:
        """The predictions for RGB images. They are drawn one at a time, so that only one is in memory at full size.

        top_k: classes named for each image; all of them where there are fewer.
        """
        # map, not a comprehension, whose variable would keep an image while the next one is drawn.
        inputs = list(map(self.card.eval_transform.array, images))
        batches = (np.stack(inputs[start : start + _BATCH]) for start in range(0, len(inputs), _BATCH))
        rows = [row for batch in batches for row in self.network(batch)]
        return Answer(tuple(self._prediction(row, top_k) for row in rows), self.description)

    @property
    def description(self) -> dict[str, Any]:
        """Which model this is, for the answers."""
        card = self.card
        return {
            "backbone": card.backbone,
            "classes": len(card.classes),
            "format": FORMAT_VERSION,
            "created": card.created,
            "data_digest": card.data_digest,
        }

    def _prediction(self, probabilities: NDArray[np.float32], top_k: int) -> Prediction:
        card = self.card
        targets = np.argsort(-probabilities, kind="stable")[:top_k]
        candidates = tuple(
            # Nine digits are all a float32 has; more would only be noise in the answer.
            Candidate(card.classes[target].label, float(f"{probabilities[target]:.9g}"))
            for target in targets.tolist()
        )
        best = candidates[0]
        return Prediction(best.label, best.probability, best.probability < card.abstain_threshold, candidates)


def load_engine(model_dir: Path, *, name: str | None = None) -> Engine:
    """The engine for an archive, after its golden predictions came out as they did when it was written.

    name: what computes; by default what the environment says (KENNEL_ENGINE), or what is installed. Raises ArchiveError
    for what is wrong with the archive, and what choose_engine raises.
    """
    engine = _proved(name or choose_engine(), read_archive(model_dir))
    _give_back_memory()
    return engine


def _proved(name: str, archive: Archive) -> Engine:
    network = _load_network(name, archive)
    replay_golden(archive, network)
    return Engine(name, archive.card, network, len(archive.golden))


def _load_network(name: str, archive: Archive) -> Predict:
    if name == "torch":
        from kennel.serving import torch_engine

        return torch_engine.load_network(archive)
    from kennel.serving import onnx_engine

    return onnx_engine.load_network(archive)


def _give_back_memory() -> None:
    """What loading took and freed goes back to the system: 225 of 406 MB, of a ResNet-50 in ONNX Runtime.

    glibc keeps it otherwise, for ever, and a server loads once. Other C libraries have no such function.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
