"""Every error Kennel raises on purpose, and the exit status each one ends a command with.

    KennelError              1   a fault of ours, or of the machine
    ├── UserError            2   the request: an argument, a name, a value
    │   └── HyperparameterError
    ├── DataError            3   the pictures and their folders
    │   ├── ImageError           one picture (has `.reason`)
    │   └── FolderError          in kennel.dataset.folders (has `.kind`)
    ├── ContractError        4   what two programs agreed on: archives, weights, SageMaker's folder
    │   ├── WeightsError
    │   └── ArchiveError
    ├── PeerError                another process of the same training is gone
    ├── DownloadError            in kennel.dataset.download
    └── DiskFullError            in kennel.training.writing

A message names the thing, its value and the remedy; a caller shows it without a traceback:

    try:
        train(job)
    except KennelError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
"""


class KennelError(Exception):
    """Base class: the message is written for a person."""

    exit_status = 1


class PeerError(KennelError):
    """Another process of the same training, on this host or another, has ended or does not answer."""


class UserError(KennelError):
    """What was asked for cannot be done; asking differently helps."""

    exit_status = 2


class HyperparameterError(UserError):
    """A hyperparameter that does not exist, or a value outside its range."""


class DataError(KennelError):
    """The pictures or their folders are at fault."""

    exit_status = 3


class ImageError(DataError):
    """One picture cannot be used.

    reason: one of "empty", "not_an_image", "unsupported_format", "truncated", "too_many_bytes", "too_many_pixels".
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ContractError(KennelError):
    """A file or folder is not what its reader and its writer agreed on."""

    exit_status = 4


class WeightsError(ContractError):
    """Pretrained weights that cannot be found, or belong to another architecture."""


class ArchiveError(ContractError):
    """A model archive that cannot be read, or that answers differently from when it was written."""
