#!/usr/bin/env bash
# Built images into a registry, as the commit they are of: scripts/push.sh [train|serve|all] [--registry REG] [--dry-run]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" push "$@"
