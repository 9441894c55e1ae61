"""What a test may need that not every machine has."""

import os
from typing import NoReturn

import pytest


def absent(need: str, reason: str) -> NoReturn:
    """Skips the test for want of something, or fails it where KENNEL_REQUIRE (a list with commas) names that."""
    if need in os.environ.get("KENNEL_REQUIRE", "").split(","):
        pytest.fail(f"{reason}, and KENNEL_REQUIRE says that tests of '{need}' must run")
    pytest.skip(reason)
