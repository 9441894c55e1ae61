"""torch as the engine: every backbone, just as training computed it.

Exercise it: pytest tests/unit/serving/test_engine.py, benchmarks/serving_engines.py
"""

import torch

from kennel.model.archive import Archive, Predict
from kennel.model.trained import array_predictor, load_classifier


def load_network(archive: Archive) -> Predict:
    """The archive's network in torch.

    The process is set to one thread for an operator: on these models more threads only cost (measured), and the server
    runs a process for each core. Raises ArchiveError.
    """
    torch.set_num_threads(1)
    return array_predictor(load_classifier(archive), temperature=archive.card.temperature)
