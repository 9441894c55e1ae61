"""SageMaker's batch transform operations on this machine."""

from kennel.local.machine import Machine
from kennel.local.models import Models
from kennel.local.store import Store
from kennel.local.validation import Operation, service_model


class TransformJobs:
    """Every batch transform job of a runs folder, finished ones included."""

    def __init__(self, machine: Machine, models: Models) -> None:
        shape = service_model("sagemaker").operation_model("DescribeTransformJob").output_shape
        self._machine = machine
        self._models = models
        self.store = Store(shape, machine.layout.transform_file)

    def load(self) -> None:
        """Finds the transform jobs of earlier services on disk. One that was running then has failed."""

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {}

    @property
    def is_running(self) -> bool:
        """Whether a transform job has not ended."""
        return False

    def stop_all(self) -> None:
        """Stops every job and its server, as the service itself ends, and waits for that."""

    def kill_all(self) -> None:
        """Ends every server without its grace time."""
