#!/bin/sh
# Write the lock files anew from pyproject.toml: exact versions with hashes, no index named.
set -eu
cd "$(dirname "$0")/.."
compile() {
    uv pip compile -q pyproject.toml --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
        --no-annotate --no-header --custom-compile-command "scripts/lock.sh" "$@"
}
compile --extra demo --extra dev -o requirements/dev.lock
compile --extra demo --extra build -c requirements/dev.lock -o requirements/demo.lock
compile --extra bench -c requirements/dev.lock -o requirements/bench.lock
compile --extra fuzz -c requirements/dev.lock -o requirements/fuzz.lock
compile --extra docs -c requirements/dev.lock -o requirements/docs.lock
