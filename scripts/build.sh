#!/usr/bin/env bash
# Builds the images: scripts/build.sh [train|serve|all] [--cpu] [--base-image IMAGE] [--weights FILE] [--tag TAG] [--cache-from IMAGE]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Docker does the work: nothing needs to be installed on this side, not even in .venv.
PYTHONPATH=$root/code exec python3 -P -m kennel.cli build "$@"
