#!/usr/bin/env bash
# What is wrong with a folder of images, before anything is paid for: scripts/check.sh --data DIR
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" check "$@"
