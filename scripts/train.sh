#!/usr/bin/env bash
# Trains a classifier on a folder of images: scripts/train.sh --data DIR [--name NAME] [-p key=value ...]
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/kennel.sh" train "$@"
