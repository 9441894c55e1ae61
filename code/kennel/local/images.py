"""Which images the local SageMaker can run as processes of this checkout.

Kennel's own two, and those of AWS's PyTorch images (as `sagemaker.image_uris.retrieve("pytorch", ...)` names them):
the programs behind Kennel's stand in for the latter, with Kennel's versions of Python, torch and torchvision.
"""

from collections.abc import Mapping
from typing import Final

from kennel.local.faults import ApiError, invalid
from kennel.script_mode import PROGRAM

TRAIN_IMAGE: Final = "kennel-train"
SERVE_IMAGE: Final = "kennel-serve"
OUR_IMAGES: Final = (TRAIN_IMAGE, SERVE_IMAGE)
# AWS's repositories, whatever the account and the region. The last one is that of torch 0.4 to 1.1.
_AWS_TRAIN: Final = ("pytorch-training", "sagemaker-pytorch")
_AWS_SERVE: Final = ("pytorch-inference", "sagemaker-pytorch")


def repository(image: str) -> str:
    """The last part of an image's name: `kennel-train` of `123456789012.dkr.ecr.../team/kennel-train:1@sha256:...`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def is_aws_image(image: str) -> bool:
    """Whether it is one of AWS's PyTorch images, for which Kennel's programs stand in."""
    return repository(image) in (*_AWS_TRAIN, *_AWS_SERVE)


def check_train_image(image: str, hyperparameters: Mapping[str, str] | None = None) -> None:
    """Raises ApiError unless the image trains and can be run here as a process, with the script the job names."""
    check_is_no_serve_image(image)
    name = repository(image)
    if name == TRAIN_IMAGE:
        return
    if name not in _AWS_TRAIN:
        raise _unknown(image, serves=name in _AWS_SERVE)
    if PROGRAM not in (hyperparameters or {}):
        raise invalid(
            f"'{image}' trains with a script of the job's own, and hyperparameter '{PROGRAM}' names none. Give the "
            f"estimator an entry_point (sagemaker.pytorch.PyTorch(entry_point='train.py', ...)); Kennel's own training "
            f"is behind an image named '{TRAIN_IMAGE}'."
        )


def check_serve_image(image: str) -> None:
    """Raises ApiError unless the image serves and can be run here as a process."""
    check_is_no_train_image(image)
    name = repository(image)
    if name != SERVE_IMAGE and name not in _AWS_SERVE:
        raise _unknown(image, trains=name in _AWS_TRAIN)


def check_is_no_serve_image(image: str) -> None:
    """Raises ApiError for our image that serves, where one that trains is wanted."""
    if repository(image) == SERVE_IMAGE:
        raise invalid(f"'{image}' serves models and cannot train. Give a training job an image named '{TRAIN_IMAGE}'.")


def check_is_no_train_image(image: str) -> None:
    """Raises ApiError for our image that trains, where one that serves is wanted."""
    if repository(image) == TRAIN_IMAGE:
        raise invalid(
            f"'{image}' trains models and cannot serve them. Give a model an image named '{SERVE_IMAGE}': "
            f"image_uri='.../{SERVE_IMAGE}:1' in the SDK's deploy() or Model()."
        )


def _unknown(image: str, *, serves: bool = False, trains: bool = False) -> ApiError:
    if serves or trains:
        other = f"'{_AWS_TRAIN[0]}' or '{TRAIN_IMAGE}'" if serves else f"'{_AWS_SERVE[0]}' or '{SERVE_IMAGE}'"
        verb = "serves models and cannot train" if serves else "trains models and cannot serve them"
        return invalid(f"'{image}' {verb}. Give an image named {other}.")
    return invalid(
        f"The local SageMaker runs images named '{TRAIN_IMAGE}', '{SERVE_IMAGE}', '{_AWS_TRAIN[0]}' and "
        f"'{_AWS_SERVE[0]}' (any registry, any tag) as processes of this checkout. '{image}' is none of them, and what "
        f"is in it is not here: run it with --on docker (docker pull {image}), or --on aws."
    )
