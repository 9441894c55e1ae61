"""What a SageMaker framework estimator says of somebody's script, in hyperparameters that never reach the script.

    sagemaker_program            train.py: the file in the source folder
    sagemaker_submit_directory   s3://bucket/job/source/sourcedir.tar.gz: the source folder, packed
    sagemaker_torch_distributed_enabled   true: torchrun starts it, one process for each GPU of each host

Values are JSON inside a string, as the SDK sends them, or plain text. Read by the local SageMaker, which checks them
when a job is created, and by the program that runs the script.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from kennel.errors import UserError

PROGRAM: Final = "sagemaker_program"
SUBMIT_DIRECTORY: Final = "sagemaker_submit_directory"
OWN_PROGRAM: Final = "train.py"
# pytorchddp is torch.distributed too, which mpirun starts on AWS; torchrun's processes find RANK and the others too.
_TORCHRUN: Final = ("sagemaker_torch_distributed_enabled", "sagemaker_pytorch_ddp_enabled")
_REFUSED: Final = {
    "sagemaker_mpi_enabled": "MPI",
    "sagemaker_parameter_server_enabled": "a parameter server",
    "sagemaker_distributed_dataparallel_enabled": "smdistributed",
    "sagemaker_multi_worker_mirrored_strategy_enabled": "TensorFlow's MultiWorkerMirroredStrategy",
    "sagemaker_pytorch_xla_multi_worker_enabled": "PyTorch/XLA",
    "mp_parameters": "smdistributed",
}
# The toolkit's own rule (sagemaker-training 5.1.4).
_NAME: Final = re.compile(r"^[A-Za-z0-9._][A-Za-z0-9._+-]*(/[A-Za-z0-9._+-]+)*$")


def decoded(value: object) -> object:
    """A hyperparameter's value out of its quoting; plain text as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def text_of(hyperparameters: Mapping[str, object], name: str) -> str | None:
    """A hyperparameter as text; None where it is not there or empty."""
    value = decoded(hyperparameters.get(name))
    return str(value) if value not in (None, "") else None


def wants_torchrun(hyperparameters: Mapping[str, object]) -> bool:
    """Whether the job asks for its script to be started by torchrun."""
    return any(_is_on(hyperparameters, name) for name in _TORCHRUN)


def check_distribution(hyperparameters: Mapping[str, object]) -> None:
    """Raises UserError for a way to train together that is not in Kennel's images."""
    for name, what in _REFUSED.items():
        if _is_on(hyperparameters, name):
            raise UserError(
                f"Hyperparameter '{name}' asks for {what}, which is not among Kennel's packages. Use "
                "distribution={'torch_distributed': {'enabled': True}} (torchrun), or AWS's own image with --on docker "
                "or --on aws."
            )


def check_program(name: str) -> None:
    """Raises UserError for a program's name that is no plain path inside the source folder."""
    if not _NAME.match(name) or {".", ".."} & set(name.split("/")):
        raise UserError(
            f"'{name}' cannot be used as the program ('{PROGRAM}', the estimator's entry_point). Expected a path in "
            "the source folder, of letters, digits and . _ + - /, such as train.py or bin/train.sh."
        )


def _is_on(hyperparameters: Mapping[str, object], name: str) -> bool:
    value = decoded(hyperparameters.get(name))
    return bool(value) and str(value).lower() != "false"
