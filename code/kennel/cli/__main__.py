"""python -m kennel.cli VERB ..., for where the package is not installed."""

import sys

from kennel.cli import main

if __name__ == "__main__":
    sys.exit(main())
