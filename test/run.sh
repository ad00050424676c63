#!/usr/bin/env bash
# Sets up, builds and passes all tests that need no GPU. The last lines are the runners' totals.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh
exec test/check.sh build
