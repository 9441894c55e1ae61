#!/usr/bin/env bash
# Every check that runs nothing of ours: format, lint, types, shell, Dockerfiles. --fix mends what can be mended.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2s/^# //p' "${BASH_SOURCE[0]}"
  exit 0
fi
"$root/scripts/install.sh" --dev
cd "$root"
bin=$root/.venv/bin
shell=(scripts/*.sh tests/images/*.sh .ci/run)

if [[ ${1:-} == --fix ]]; then
  "$bin/ruff" format
  "$bin/ruff" check --fix
  "$bin/shfmt" --indent 2 --write "${shell[@]}"
  exit
fi
"$bin/ruff" format --check
"$bin/ruff" check
"$bin/shfmt" --indent 2 --diff "${shell[@]}"
"$bin/shellcheck" "${shell[@]}"
for file in Dockerfile.*; do
  if [[ -e $file ]]; then "$bin/hadolint" "$file"; fi
done
"$bin/mypy"
