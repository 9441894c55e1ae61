#!/usr/bin/env bash
# What was and is being paid on AWS for what Kennel made: scripts/cost.sh --on aws [NAME] [--json]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" cost "$@"
