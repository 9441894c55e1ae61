"""The program `kennel`: verbs that parse and call, nothing more. Every script in scripts/ is one of them.

Heavy modules are imported by the verb that needs them, so that `-h` answers at once and without an installation.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from kennel import __version__
from kennel.cli import account, cleanup, data, images, local, serving, training, transforms, watching
from kennel.errors import KennelError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status (0, or the error's own: see kennel.errors)."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except KennelError as error:
        print(f"kennel: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
        return 141


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    program = argparse.ArgumentParser(
        prog="kennel", description="Trains and serves image classifiers as SageMaker does."
    )
    program.add_argument("--version", action="version", version=f"kennel {__version__}")
    verbs = program.add_subparsers(required=True, metavar="VERB")
    for group in (data, account, training, watching, serving, transforms, cleanup, local, images):
        group.add_verbs(verbs)
    return program
