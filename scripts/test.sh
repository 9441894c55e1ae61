#!/usr/bin/env bash
# Sets up .venv, then runs every check and every test; arguments go to pytest, for example: scripts/test.sh -k serving
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2s/^# //p' "${BASH_SOURCE[0]}"
  exit 0
fi
"$root/scripts/install.sh" --dev
"$root/scripts/lint.sh"
cd "$root"
exec .venv/bin/python -m pytest "$@"
