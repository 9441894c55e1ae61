#!/usr/bin/env bash
# Makes a small Debian image to build on, where no registry can be reached: tests/images/make_base_image.sh NAME
# It trusts the certificates that this machine trusts, so that a build reaches what this machine reaches.
set -euo pipefail

name=${1:?see the first lines of this script}
certificates=/etc/ssl/certs/ca-certificates.crt
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
options=(--variant=minbase "--include=ca-certificates,python3")
if [[ -e $certificates ]]; then
  options+=("--customize-hook=cp '$certificates' \"\$1$certificates\"")
fi
mmdebstrap --quiet "${options[@]}" bookworm "$scratch/base.tar"
docker import "$scratch/base.tar" "$name" >/dev/null
echo "$name"
