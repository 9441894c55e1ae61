"""A stand-in for NVIDIA's library with two GPUs, of which the second is lost when asked."""

from types import ModuleType, SimpleNamespace


class NVMLError(Exception):
    """As pynvml's."""


def fake_nvml(*, lost: bool = False, driver: bool = True) -> ModuleType:
    """The functions that readings call. GPU i is used (10 * i + 7) % and holds (i + 1) of 4 GB."""
    module = ModuleType("pynvml")

    def initialise() -> None:
        if not driver:
            raise NVMLError("Driver Not Loaded")

    def utilization(handle: int) -> SimpleNamespace:
        if lost and handle == 1:
            raise NVMLError("GPU is lost")
        return SimpleNamespace(gpu=10 * handle + 7, memory=99)

    def by_uuid(uuid: str) -> int:
        if uuid != "GPU-second":
            raise NVMLError("Not Found")
        return 1

    module.__dict__.update(
        NVMLError=NVMLError,
        nvmlInit=initialise,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetUtilizationRates=utilization,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=(handle + 1) * 2**30, total=4 * 2**30),
    )
    return module
