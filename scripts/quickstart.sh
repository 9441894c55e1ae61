#!/usr/bin/env bash
# From nothing to predictions: installs, draws a small data set, trains on it, reports, deploys, asks, and cleans up again.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2s/^# //p' "${BASH_SOURCE[0]}"
  exit 0
fi
kennel=("$scripts/kennel.sh")
data=$scripts/../data/sample
name=quickstart-$(date +%Y%m%d-%H%M%S)

if [[ ! -d $data ]]; then "${kennel[@]}" data sample "$data"; fi
# Drawn coats look like nothing in ImageNet: a small network learns them from random weights.
"${kennel[@]}" train --data "$data" --name "$name" -p weights=none -p trainable=all -p image-size=64 \
  -p scheduler=one-cycle -p epochs=5 --debug
"${kennel[@]}" report "$name"
trap '"${kennel[@]}" delete --endpoint-name "$name"' EXIT
"${kennel[@]}" deploy "$name"
photos=()
for class in "$data"/test/*/; do
  pictures=("$class"*.jpg)
  photos+=("${pictures[0]}")
done
"${kennel[@]}" invoke "$name" "${photos[@]}"
