#!/usr/bin/env bash
# Puts a run's model behind an endpoint: scripts/deploy.sh NAME [--endpoint-name E]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" deploy "$@"
