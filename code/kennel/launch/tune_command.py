"""`kennel tune`: a search for hyperparameters, from the checks to the report."""

import argparse

from kennel.errors import UserError


def run(arguments: argparse.Namespace) -> int:
    """The exit status."""
    raise UserError(f"tune --data {arguments.data}: not built yet")
