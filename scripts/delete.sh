#!/usr/bin/env bash
# Deletes endpoints with all that was made for them, and on AWS jobs: scripts/delete.sh [--on aws] --endpoint-name E | --name JOB | --all
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" delete "$@"
