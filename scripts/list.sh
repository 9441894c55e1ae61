#!/usr/bin/env bash
# Jobs and endpoints, with their states, and on AWS what they cost: scripts/list.sh [--on aws]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" list "$@"
