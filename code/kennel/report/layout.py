"""Where the files of a run lie: in a folder of `runs/`, or in what a SageMaker job left below its S3OutputPath.

    part       runs/<job>/                                    <S3OutputPath>/<job>/
    results    ml/output/data/                                output/output.tar.gz
    model      ml/model/                                      output/model.tar.gz
    tensors    ml/output/tensors/                             debug-output/
    profiler   ml/output/profiler/                            profiler-output/
    rules      rules/                                         rule-output/
    job, log   job.json, log.txt                              (not there)

A training that profiled itself (hyperparameter `debug=on`) has debug-output/ and profiler-output/ among its results.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunLayout:
    """The parts of one run. unpacked: where the archives of a SageMaker job were unpacked, if that was needed."""

    folder: Path
    unpacked: Path | None = None

    @property
    def results(self) -> Path:
        return self._first(self.folder / "ml" / "output" / "data", *self._unpacked("results"))

    @property
    def model(self) -> Path:
        return self._first(self.folder / "ml" / "model", *self._unpacked("model"))

    @property
    def tensors(self) -> Path:
        own = self.results / "debug-output"
        return self._first(self.folder / "ml" / "output" / "tensors", self.folder / "debug-output", own)

    @property
    def profiler(self) -> Path:
        own = self.results / "profiler-output"
        return self._first(self.folder / "ml" / "output" / "profiler", self.folder / "profiler-output", own)

    @property
    def rules(self) -> Path:
        return self._first(self.folder / "rules", self.folder / "rule-output")

    @property
    def job(self) -> Path:
        return self.folder / "job.json"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def failure(self) -> Path:
        return self.folder / "ml" / "output" / "failure"

    def rule_files(self) -> Iterator[Path]:
        """Every file that may hold what a rule found, in the order of their names."""
        if self.rules.is_dir():
            yield from (path for path in sorted(self.rules.rglob("*.json")) if path.name != "rules.json")

    def _unpacked(self, part: str) -> tuple[Path, ...]:
        return (self.unpacked / part,) if self.unpacked else ()

    def _first(self, *candidates: Path) -> Path:
        """The first that holds something; the first of all where none does."""
        return next((path for path in candidates if path.is_dir() and any(path.iterdir())), candidates[0])
