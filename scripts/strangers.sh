#!/usr/bin/env bash
# Installs the controls that others wrote into build/strangers, as far as the toolchains here allow, at pinned versions.
set -euo pipefail
cd "$(dirname "$0")/.."
HOME_OF_STRANGERS=build/strangers
mkdir -p "$HOME_OF_STRANGERS"

if ! cmp -s tests/strangers/requirements.txt "$HOME_OF_STRANGERS/requirements.txt"; then
  "${PYTHON:-python3}" -m venv "$HOME_OF_STRANGERS/venv"
  "$HOME_OF_STRANGERS/venv/bin/python" -m pip --disable-pip-version-check --quiet install -r tests/strangers/requirements.txt
  cp tests/strangers/requirements.txt "$HOME_OF_STRANGERS/requirements.txt"
fi

if command -v npm >/dev/null; then
  if ! cmp -s tests/strangers/package-lock.json "$HOME_OF_STRANGERS/package-lock.json"; then
    cp tests/strangers/package.json tests/strangers/package-lock.json "$HOME_OF_STRANGERS/"
    (cd "$HOME_OF_STRANGERS" && npm ci --no-audit --no-fund --loglevel=error >/dev/null)
  fi
  # Modules are looked for beside the file that asks for them.
  cp tests/strangers/servers/*.mjs "$HOME_OF_STRANGERS/"
else
  echo "LEFT OUT: the controls of npm: no npm on PATH" >&2
fi
