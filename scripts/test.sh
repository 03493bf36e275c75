#!/usr/bin/env bash
# Runs the suite in two parts: most tests side by side, then those that measure time or use the whole machine.
# Arguments go to pytest. A test that fails is run once more by itself: tests/plugins/rerun.py.
set -uo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
FLAKY=build/flaky.txt # one line for each flaky test of either part; .ci/run reads it
NOTHING_CHOSEN=5

part() {
  "$PYTHON" -m pytest -p tests.plugins.rerun --flaky "$FLAKY" --part "$@"
}

# Where the environment forbids bytecode, each worker would compile every test anew, and each command all of src.
unset PYTHONDONTWRITEBYTECODE

mkdir -p build
: >"$FLAKY"

part beside -p tests.plugins.longest_first -n 3 --dist loadfile --no-loadscope-reorder "$@"
beside=$?
# 1 is a failure, and the rest is still worth knowing; above it, bar 5, pytest was interrupted or could not run.
((beside <= 1 || beside == NOTHING_CHOSEN)) || exit "$beside"
part alone "$@"
alone=$?

if ((alone == NOTHING_CHOSEN)); then exit "$beside"; fi
if ((beside == NOTHING_CHOSEN)); then exit "$alone"; fi
exit "$((beside > alone ? beside : alone))"
