#!/usr/bin/env bash
# Puts a run's model behind an endpoint: scripts/deploy.sh NAME [--endpoint-name E]
# On AWS: scripts/deploy.sh NAME --on aws [--instance ml.c7i.large | --serverless 3072 | --async] [--min 1 --max 4] [--ttl 2h]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" deploy "$@"
