#!/usr/bin/env bash
# Copies a folder of images to S3, only what changed: scripts/upload.sh --data DIR [--name N] [--anyway] [--replace] [--dry-run]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" upload "$@"
