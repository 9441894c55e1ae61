#!/usr/bin/env bash
# Runs the program `kennel` of this checkout, installing it first where it is not: scripts/kennel.sh VERB ...
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ ! -x $root/.venv/bin/kennel && " $* " =~ \ (-h|--help)\  ]]; then
  PYTHONPATH=$root/code exec python3 -m kennel.cli "$@" # help needs no installation
fi
"$root/scripts/install.sh" >&2
exec "$root/.venv/bin/kennel" "$@"
