#!/usr/bin/env bash
# Predictions for a folder of files: scripts/transform.sh NAME --input DIR --output DIR; on AWS s3:// addresses, --on aws
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" transform "$@"
