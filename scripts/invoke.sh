#!/usr/bin/env bash
# Asks an endpoint for labels and probabilities: scripts/invoke.sh E photo.jpg ... [--json]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" invoke "$@"
