#!/usr/bin/env bash
# Compiles the tiny language model with three residual topologies, trains each from three seeds on real text and compares the validation losses;
# then shows what the compiler fused and recomputed, and writes the mHC model's kernels for sm_90a as PTX.
#
#   examples/tiny-language-model/run.sh [--steps=N]
#
# Everything it writes is in build/tiny-language-model/.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools/setup.sh

here=examples/tiny-language-model
out=build/tiny-language-model
mkdir -p "$out"
steps=("$@")

# Four megabytes of public-domain prose, from the Debian package bible-kjv; bytes are the tokens.
text=$out/text.txt
[ -s "$text" ] || { bible gen1:1-rev22:21 > "$text.part" && mv "$text.part" "$text"; }

for topology in residual hc mhc; do
  echo "== $topology: compile"
  build/bin/mhc-compile "$here/$topology.json" -o "$out/$topology.mhcpkg"
  for seed in 1 2 3; do
    echo "== $topology: train, seed $seed"
    build/bin/mhc-run train "$out/$topology.mhcpkg" --data="$text" --seed=$seed --metrics="$out/$topology-$seed.jsonl" --monitor=50 \
      --save="$out/$topology-$seed.safetensors" "${steps[@]}" | tee "$out/$topology-$seed.log"
  done
  echo "== $topology: a page of the first run"
  build/bin/mhc-run report "$out/$topology-1.jsonl" --title="$topology, seed 1"
done

echo
echo "== mhc: what was fused and recomputed, and why"
build/bin/mhc-compile "$here/mhc.json" --explain -o "$out/mhc.mhcpkg" > "$out/explain.txt"
head -n 60 "$out/explain.txt"
echo "   (all of it: $out/explain.txt)"

echo
echo "== one fusion as IR, before"
build/bin/mhc-compile "$here/mhc.json" --compile-to=differentiate -o "$out/before.mlir"
build/bin/mhc-compile "$here/mhc.json" --compile-to=fuse -o "$out/after.mlir"
python3 "$here/show_fusion.py" "$out/before.mlir" "$out/after.mlir"

echo
echo "== mhc: kernels for sm_90a"
build/bin/mhc-compile "$here/mhc.json" --target=sm_90a --emit=ptx -o "$out/mhc-sm_90a.ptx"
grep -c '\.entry' "$out/mhc-sm_90a.ptx" | sed "s|^|$out/mhc-sm_90a.ptx: kernels: |"
ptxas=$(command -v ptxas || ls /usr/local/cuda/bin/ptxas 2>/dev/null || true)
if [ -n "$ptxas" ]; then
  "$ptxas" -arch=sm_90a "$out/mhc-sm_90a.ptx" -o "$out/mhc-sm_90a.cubin" && echo "$out/mhc-sm_90a.cubin: assembled"
else
  echo "ptxas is not installed: the PTX is not assembled"
fi

echo
echo "== validation loss (nats a byte) after training, three seeds"
python3 - "$out" <<'PY'
import re, statistics, sys
print(f"{'topology':10} {'seed 1':>8} {'seed 2':>8} {'seed 3':>8} {'mean':>8} {'spread':>8}")
for topology in ("residual", "hc", "mhc"):
    losses = [float(re.findall(r"validation loss ([0-9.]+)", open(f"{sys.argv[1]}/{topology}-{seed}.log").read())[-1]) for seed in (1, 2, 3)]
    print(f"{topology:10} " + " ".join(f"{x:8.4f}" for x in losses) + f" {statistics.mean(losses):8.4f} {statistics.stdev(losses):8.4f}")
PY
