#!/usr/bin/env bash
# Runs the GoogleTests and the lit tests of a build. Failures are printed in full; the last lines are the runners' totals.
#
#   test/check.sh [BUILD-FOLDER [LIT]]
set -uo pipefail
build=${1:-build}
lit=${2:-/usr/lib/llvm-22/bin/lit}
status=0
ctest --test-dir "$build" -E '^lit$' --output-on-failure -j "$(nproc)" > "$build/ctest.log" 2>&1 || { status=1; cat "$build/ctest.log"; }
"$lit" -v "$build/test" > "$build/lit.log" 2>&1 || status=1
echo "lit:"
grep -vE '^PASS:' "$build/lit.log"
echo "GoogleTest:"
tail -n 6 "$build/ctest.log"
exit $status
