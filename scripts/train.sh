#!/usr/bin/env bash
# Trains a classifier on a folder of images: scripts/train.sh --data DIR [--name NAME] [-p key=value ...]
# On AWS: scripts/train.sh --on aws --data s3://... [--instance ml.g5.xlarge] [--spot] [--max-cost 5] [--dry-run]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" train "$@"
