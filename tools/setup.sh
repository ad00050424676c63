#!/usr/bin/env bash
# Installs what the project needs and is missing (Debian 12 or later), and builds it into build/. Safe to run again.
#
#   tools/setup.sh            packages and build
#   tools/setup.sh --packages packages only
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build ccache make git python3 python3-numpy unzip
  llvm-22-dev llvm-22-tools libmlir-22-dev mlir-22-tools lld-22 liblld-22-dev zlib1g-dev libzstd-dev
  nlohmann-json3-dev libgtest-dev libopenblas-pthread-dev bible-kjv)

missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "setup: these packages are missing, and neither root nor sudo is here: ${missing[*]}" >&2; exit 1; }
    root=(sudo)
  fi
  echo "setup: installing ${missing[*]}"
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
[ "${1:-}" = --packages ] && exit 0

[ -f build/build.ninja ] || cmake --preset default
cmake --build build
