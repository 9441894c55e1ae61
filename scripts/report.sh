#!/usr/bin/env bash
# One page on a run, what to change first: scripts/report.sh NAME [--open]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" report "$@"
