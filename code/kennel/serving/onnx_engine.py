"""ONNX Runtime as the engine: the fast one on a CPU, and the one that needs no torch (0.1 GB installed against 5 GB).

Exercise it: pytest tests/unit/serving/test_engine_onnx.py, benchmarks/serving_engines.py
"""

import os

import numpy as np
from numpy.typing import NDArray

from kennel.errors import ArchiveError, HyperparameterError
from kennel.model.archive import Archive, Predict, unusable
from kennel.serving.onnx_graph import INPUT, OUTPUT, build_graph

# From 1.29 on, importing it starts a thread that reports to Microsoft over the network, and writes an identifier of the
# machine to the home folder. Nothing of that is begun if this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime  # noqa: E402


def load_network(archive: Archive) -> Predict:
    """The archive's network in ONNX Runtime, without any thread of its own: workers are forks of what loaded it.

    Raises ArchiveError where it cannot be built.
    """
    try:
        graph = build_graph(archive.card, archive.state)
    except (ArchiveError, HyperparameterError) as error:
        raise unusable(archive.folder, error) from error
    options = _options()
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(each) for each in graph.tensors.values()]
    options.add_external_initializers(list(graph.tensors), values)
    model = graph.model.SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def predict(images: NDArray[np.float32]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images})[0]
        return probabilities

    return predict


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # The server runs a process for each core. With 1, no pool of threads is made, which a fork would not take along.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors: what it warns of at a start is how it optimises
    return options
