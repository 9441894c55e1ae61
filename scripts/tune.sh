#!/usr/bin/env bash
# Searches for the best hyperparameters: scripts/tune.sh --data DIR [--ranges FILE] [--max-jobs 20]
# On AWS: scripts/tune.sh --on aws --data s3://... [--instance ml.g5.xlarge] [--spot] [--max-cost 20] [--dry-run]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" tune "$@"
