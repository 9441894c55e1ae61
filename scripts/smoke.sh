#!/usr/bin/env bash
# The contract, checked with docker run: what SageMaker would make of any image, with the remedy: scripts/smoke.sh IMAGE...
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" conformance "$@"
