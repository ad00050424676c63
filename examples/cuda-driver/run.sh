#!/usr/bin/env bash
# From the description to a C program that runs its kernel: header and PTX, build, run. Everything it writes is in build/cuda-driver/.
#
#   examples/cuda-driver/run.sh [CHIP]     CHIP: sm_90a unless given
#
# Exit status: the program's; 77 where there is no CUDA driver or no GPU (all but the run has then been done).
set -euo pipefail
cd "$(dirname "$0")/../.."
tools/setup.sh

here=examples/cuda-driver
out=build/cuda-driver
chip=${1:-sm_90a}
mkdir -p "$out"

build/bin/mhc-compile "$here/hyper_connection.json" --target="$chip" --emit=ptx -o "$out/hyper_connection.ptx"
build/bin/mhc-compile "$here/hyper_connection.json" --target="$chip" --emit=c-header -o "$out/hyper_connection.h"
cc -std=c11 -O2 -Wall -Wextra -I"$out" "$here/hyper_connection.c" -o "$out/hyper_connection" -lm -ldl
"$out/hyper_connection" "$out/hyper_connection.ptx"
