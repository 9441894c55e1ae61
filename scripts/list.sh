#!/usr/bin/env bash
# Training jobs and endpoints, with their states: scripts/list.sh
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" list "$@"
