#!/usr/bin/env bash
# Deletes endpoints with all that was made for them: scripts/delete.sh --endpoint-name E | --all
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" delete "$@"
