#!/usr/bin/env bash
# Whether an AWS account is ready, and the commands that make what is missing: scripts/setup.sh [--region R] [--bucket B] [--write]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" setup "$@"
