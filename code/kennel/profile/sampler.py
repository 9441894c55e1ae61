"""Samples of the machine beside a training, in SageMaker's own files: system/incremental/<hour>/<minute>.algo-1.json.

    python -P -m kennel.profile.sampler --output runs/NAME/ml/output/profiler --interval-ms 500 --host algo-1

Ends on SIGTERM, and with the process that started it.
"""

from pathlib import Path


class Sampler:
    """A thread that samples until it is stopped.

    folder: of the profiler's files. interval_ms: 100 to 60000. host: SageMaker's name of the machine.
    """

    def __init__(self, folder: Path, *, interval_ms: int = 500, host: str = "algo-1") -> None:
        self._folder, self._interval_s, self._host = folder, interval_ms / 1000, host

    def start(self) -> None:
        """Begins; returns at once."""

    def stop(self) -> None:
        """Ends it; what was sampled is in the files. May be called more than once, and without `start`."""
