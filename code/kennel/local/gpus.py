"""Which GPUs a container gets: all of the machine's, if its instance type has any and Docker can pass them on."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any, Final

_GPU_INSTANCE: Final = re.compile(r"ml\.[gp]\w*\.")  # ml.p3.2xlarge, ml.g5.xlarge; Graviton's are ml.m6g, ml.c7g
_CDI_DEVICE: Final = "nvidia.com/gpu=all"
_ANSWER_S: Final = 30.0


def device_requests(info: Mapping[str, Any], instance_type: str, *, machine_has_gpu: bool) -> list[dict[str, Any]]:
    """The GPUs to ask Docker for; none for an instance type without, or where Docker or the machine has none.

    info: what `docker info` says.
    """
    if not _GPU_INSTANCE.match(instance_type) or not machine_has_gpu:
        return []
    if "nvidia" in (info.get("Runtimes") or {}):
        return [{"Driver": "", "Count": -1, "DeviceIDs": [], "Capabilities": [["gpu"]], "Options": {}}]
    if any(each.get("ID") == _CDI_DEVICE for each in info.get("DiscoveredDevices") or ()):
        return [{"Driver": "cdi", "Count": 0, "DeviceIDs": [_CDI_DEVICE], "Capabilities": [], "Options": {}}]
    return []


def machine_has_gpu() -> bool:
    """Whether the NVIDIA driver of this machine sees a GPU. Starts a process, so not for the service."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        answer = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=_ANSWER_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.startswith("GPU ")
