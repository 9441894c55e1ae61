"""What a program says first where Kennel's packages stand in for those of an AWS image.

The local SageMaker names the image in KENNEL_STANDS_IN_FOR; the program that trains or serves prints the note:

    print(stand_in_note("763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.5-cpu-py311"))
"""

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Final

STANDS_IN_FOR: Final = "KENNEL_STANDS_IN_FOR"
_PYTHON: Final = re.compile(r"-py(\d)(\d*)(?:-|$)")


def stand_in_note(image: str) -> str:
    """A line for the log: what of the image's is replaced, by which versions, and which ones its tag asks for."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    framework = tag.partition("-")[0]
    python = _PYTHON.search(tag)
    asked = f"{python[1]}.{python[2]}".rstrip(".") if python else ""
    packages = [
        f"torch {_version('torch')}{_asked(framework)}",
        f"torchvision {_version('torchvision')}",
        f"Python {platform.python_version()}{_asked(asked)}",
    ]
    return f"Kennel's packages stand in for those of {image}: {', '.join(packages)}."


def _asked(version_asked: str) -> str:
    return f" (asked for: {version_asked})" if version_asked else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
