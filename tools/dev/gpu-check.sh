#!/usr/bin/env bash
# An NVIDIA GPU, checked. Training: loss curves and gradients against the CPU's, the same bits from run to run, kill and resume, speed.
# Hyper-connections: hard shapes, one of them past 2^31 elements, against an fp64 reference; presets, conventions, manifolds and readouts by the numerics tests of test/Numerics.
#
#   tools/dev/gpu-check.sh prepare         here, with the compiler built: packages, data and the CPU's answers into build/gpu-check/
#   tools/dev/gpu-check.sh [run] [WORD..]  on the GPU machine (this checkout and build/gpu-check/): builds the runtime alone, then checks;
#                                          with words only those of: libs tests gradients curves determinism resume shapes boundary chains groups tune huge products experts conventions sanitizer speed alone
#
# build/gpu-check/ is about 400 MB, most of it code that packages have in common: tar c build/gpu-check | xz --lzma2=preset=3,dict=400MiB makes about 60 MB of it.
# The GPU machine needs CMake, a C++20 compiler, the CUDA libraries and Python 3 with numpy (shapes, boundary, chains and huge: and PyTorch); no LLVM. What the runtime's build needs beside them
# (nlohmann_json, GoogleTest) travels in build/gpu-check/. Exit status 0: all checks passed.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=build/gpu-check
python=${PYTHON:-python3}
command=${1:-run}
[ $# -gt 0 ] && shift

# A Python with numpy: Debian's belongs to Debian's Python, which need not be the first one on PATH.
"$python" -c "import numpy" 2>/dev/null || python=/usr/bin/python3

if [ "$command" = prepare ]; then
  mkdir -p "$out/deps/include" "$out/deps/share/cmake" "$out/deps/lib/cmake"
  cp -r /usr/include/nlohmann "$out/deps/include/"
  cp -r /usr/share/cmake/nlohmann_json "$out/deps/share/cmake/"
  for library in /usr/lib/*/libgtest.a /usr/lib/*/libgtest_main.a; do
    [ -e "$library" ] && cp "$library" "$out/deps/lib/"
  done
  [ -d /usr/include/gtest ] && cp -r /usr/include/gtest "$out/deps/include/"
  exec "$python" tools/dev/gpu_check.py prepare "$out" build/bin
fi

[ "$command" = run ] || { echo "usage: $0 prepare | run [WORD..]" >&2; exit 2; }
[ -e "$out/prepared.json" ] || { echo "$out/prepared.json is missing: run '$0 prepare' where the compiler is, and bring $out along" >&2; exit 2; }

# cuBLASLt and cuDNN may lie in Python's packages instead of the toolkit.
packages=$("$python" -c "import importlib.util as u; s = u.find_spec('nvidia'); print(':'.join(s.submodule_search_locations) if s else '')" 2>/dev/null || true)
for folder in ${packages//:/ }; do
  for lib in "$folder"/*/lib; do
    for found in "$lib"/libcublasLt.so.* "$lib"/libcudnn.so.*; do
      if [ -e "$found" ]; then export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$lib"; break; fi
    done
  done
done

runtime=build/gpu-check-runtime
blas=ON
echo '#include <cblas.h>' | ${CXX:-c++} -E -x c++ - >/dev/null 2>&1 || blas=OFF
generator=$(command -v ninja >/dev/null && echo "-GNinja" || echo "")
cmake -S runtime -B "$runtime" $generator -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$PWD/$out/deps" -DMHC_RT_BLAS=$blas -DMHC_RT_TESTS=OFF >"$out/cmake.log" \
  || { cat "$out/cmake.log"; exit 1; }
cmake --build "$runtime" -j "$(nproc)" >"$out/build.log" 2>&1 || { tail -n 50 "$out/build.log"; exit 1; }
"$python" tools/dev/gpu_check.py run "$out" "$runtime/bin" "$@"
