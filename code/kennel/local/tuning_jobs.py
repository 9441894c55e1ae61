"""SageMaker's hyperparameter tuning operations on this machine."""

from kennel.local.machine import Machine
from kennel.local.store import Store
from kennel.local.training_jobs import TrainingJobs
from kennel.local.validation import Operation, service_model


class TuningJobs:
    """Every tuning job of a runs folder, finished ones included."""

    def __init__(self, machine: Machine, jobs: TrainingJobs) -> None:
        shape = service_model("sagemaker").operation_model("DescribeHyperParameterTuningJob").output_shape
        self._machine = machine
        self._jobs = jobs
        self.store = Store(shape, machine.layout.tuning_file)

    def load(self) -> None:
        """Finds the tuning jobs of earlier services on disk, and goes on with those that were cut short."""

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {}

    @property
    def is_running(self) -> bool:
        """Whether a tuning job has not ended."""
        return False

    def stop_all(self) -> None:
        """Ends every search, as the service itself ends, before the trials are stopped."""
