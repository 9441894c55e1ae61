"""Which images the local SageMaker can run as processes of this checkout."""

from typing import Final

from kennel.local.faults import invalid

TRAIN_IMAGE: Final = "kennel-train"
SERVE_IMAGE: Final = "kennel-serve"
OUR_IMAGES: Final = (TRAIN_IMAGE, SERVE_IMAGE)


def repository(image: str) -> str:
    """The last part of an image's name: `kennel-train` of `123456789012.dkr.ecr.../team/kennel-train:1@sha256:...`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def check_train_image(image: str) -> None:
    """Raises ApiError unless the image trains and can be run here as a process."""
    check_is_no_serve_image(image)
    _check(image, TRAIN_IMAGE)


def check_serve_image(image: str) -> None:
    """Raises ApiError unless the image serves and can be run here as a process."""
    check_is_no_train_image(image)
    _check(image, SERVE_IMAGE)


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


def _check(image: str, wanted: str) -> None:
    if repository(image) != wanted:
        raise invalid(
            f"The local SageMaker runs images named '{TRAIN_IMAGE}' and '{SERVE_IMAGE}' (any registry, any tag) as "
            f"processes of this checkout. '{image}' is neither: run it with --on docker, or --on aws."
        )
