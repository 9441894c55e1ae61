#!/usr/bin/env bash
# Searches for the best hyperparameters: scripts/tune.sh --data DIR [--ranges FILE] [--max-jobs 20]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" tune "$@"
