"""CloudWatch's metrics: moto's, in this process; what trainings printed is put in before it answers.

    GetMetricStatistics(Namespace="/aws/sagemaker/TrainingJobs", MetricName="validation:loss",
                        Dimensions=[{"Name": "TrainingJobName", "Value": "first"}], ...)

which is what the SDK's `estimator.training_job_analytics.dataframe()` asks. Every value of each of the job's
MetricDefinitions is one datum, at its line's time; logs are read as far as they are, and read on at the next question.
"""

import datetime
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from kennel.local.log_file import LogReader
from kennel.local.metric_scan import Regexes, compiled, values_in
from kennel.local.restoring import MotoApp
from kennel.local.settings import ACCOUNT, REGION, Layout
from kennel.local.store import Record, Store
from kennel.local.validation import Json

NAMESPACE: Final = "/aws/sagemaker/TrainingJobs"


@dataclass(frozen=True)
class _Job:
    """A training job's log, and what is read from it."""

    log: LogReader
    regexes: Regexes


class Metrics:
    """A WSGI app. jobs: every training job of the runs folder, finished ones included."""

    def __init__(self, layout: Layout, jobs: Store) -> None:
        self._layout = layout
        self._jobs = jobs
        self._moto = MotoApp("cloudwatch")
        self._known: dict[str, _Job] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        self._moto.load()
        with self._lock:
            for record in self._jobs.all():
                self._bring(record)
        return self._moto(environ, start_response)

    def _bring(self, record: Record) -> None:
        """Puts in what a job has printed since the last time."""
        name = record.description["TrainingJobName"]
        if name not in self._known:
            definitions = record.request["AlgorithmSpecification"].get("MetricDefinitions", [])
            self._known[name] = _Job(LogReader(self._layout.job_dir(name) / "log.txt"), compiled(definitions))
        job = self._known[name]
        if not job.regexes:
            return
        data = [
            _datum(name, metric, value, event.time_ms)
            for event, metric, value in values_in(job.log.new_events(), job.regexes)
        ]
        backend = import_module("moto.cloudwatch.models").cloudwatch_backends[ACCOUNT][REGION]
        backend.put_metric_data(NAMESPACE, data)


def _datum(job: str, metric: str, value: float, time_ms: int) -> Json:
    at = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).replace(tzinfo=None)  # as moto compares them
    dimensions = [{"Name": "TrainingJobName", "Value": job}]
    return {"MetricName": metric, "Dimensions": dimensions, "Value": value, "Timestamp": at}
