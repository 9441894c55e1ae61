"""`kennel transform`: a batch transform job, from the checks to its outputs."""

import argparse

from kennel.errors import UserError


def run(arguments: argparse.Namespace) -> int:
    """The exit status."""
    raise UserError(f"transform {arguments.name}: not built yet")
