"""Which images the local SageMaker can run as processes of this checkout."""

from typing import Final

from kennel.local.faults import invalid

TRAIN_IMAGE: Final = "kennel-train"
SERVE_IMAGE: Final = "kennel-serve"


def repository(image: str) -> str:
    """The last part of an image's name: `kennel-train` of `123456789012.dkr.ecr.../team/kennel-train:1@sha256:...`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def check_train_image(image: str) -> None:
    """Raises ApiError unless the image trains and can be run here."""
    _check(
        image,
        TRAIN_IMAGE,
        other=SERVE_IMAGE,
        hint=f"'{image}' serves models and cannot train. Give a training job an image named '{TRAIN_IMAGE}'.",
    )


def check_serve_image(image: str) -> None:
    """Raises ApiError unless the image serves and can be run here."""
    _check(
        image,
        SERVE_IMAGE,
        other=TRAIN_IMAGE,
        hint=f"'{image}' trains models and cannot serve them. Give a model an image named '{SERVE_IMAGE}': "
        f"image_uri='.../{SERVE_IMAGE}:1' in the SDK's deploy() or Model().",
    )


def _check(image: str, wanted: str, *, other: str, hint: str) -> None:
    found = repository(image)
    if found == other:
        raise invalid(hint)
    if found != wanted:
        raise invalid(
            f"The local SageMaker runs images named '{TRAIN_IMAGE}' and '{SERVE_IMAGE}' (any registry, any tag) as "
            f"processes of this checkout. '{image}' is neither: run it with --on docker, or --on aws."
        )
