#!/usr/bin/env bash
# Rules again over a run that has ended: scripts/debug.sh NAME [--rule Overfit -p ratio_threshold=0.3]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" debug "$@"
