#!/usr/bin/env bash
# Follows a job or an endpoint that was left running: scripts/attach.sh NAME --on aws
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" attach "$@"
