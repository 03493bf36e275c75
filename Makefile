# Everything a person does here, one word each. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test docs quick check format bench bench-judges fuzz prove strangers defects generate lock clean debian-packages

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A stamp per lock file: installed once, again only when the lock or the project changes.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "proofload needs Python 3.11 or newer, got $$($(PYTHON) --version); name one with: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian, apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.%.stamp: requirements/%.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the locked dependencies ($*) into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/$*.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src # once, where the environment keeps every later process from doing so
	@touch $@

demo: $(VENV)/.demo.stamp ## Prove the reference system's controls (ARGS="TC-RL-001 --defect rl.limit_plus_one")
	@$(BIN)/proofload demo $(ARGS)

test: $(VENV)/.demo.stamp $(VENV)/.dev.stamp debian-packages ## Install what the tests need and run them all
	@PYTHON=$(BIN)/python scripts/test.sh $(ARGS)

docs: $(VENV)/.demo.stamp $(VENV)/.docs.stamp ## Build the documentation into site/, every broken link an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

quick: $(VENV)/.demo.stamp $(VENV)/.dev.stamp ## Run the tests that need no server and take no time
	@$(BIN)/pytest -n 2 -q tests/unit tests/property $(ARGS)

check: $(VENV)/.demo.stamp $(VENV)/.dev.stamp ## Check format, lint, types, architecture and doctests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q --doctest-modules -p no:cacheprovider src/proofload

format: $(VENV)/.dev.stamp ## Format the code and apply safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.demo.stamp $(VENV)/.bench.stamp debian-packages ## Measure against k6, Locust, wrk and aiohttp in one run; then keep 10 million exchanges
	@$(BIN)/python benchmarks/engine.py $(ARGS)
	@$(BIN)/python benchmarks/long_run.py

bench-judges: $(VENV)/.demo.stamp ## Measure the judges at 10 k to 10 M exchanges on one core
	@$(BIN)/python benchmarks/judges.py $(ARGS)

defects: $(VENV)/.demo.stamp ## Run each defect of the reference system against the case named for it (minutes)
	@$(BIN)/python scripts/defects.py $(ARGS)

strangers: $(VENV)/.demo.stamp ## Put limiters and breakers that others wrote to the test (writes docs/strangers.md with ARGS=--write)
	@PYTHON=$(PYTHON) scripts/strangers.sh
	@$(BIN)/python tests/strangers/strangers.py $(ARGS)

prove: $(VENV)/.demo.stamp $(VENV)/.dev.stamp ## Prove the judges on simulated systems, honest and broken (writes docs/proof.md)
	@$(BIN)/python tests/prove/proof.py $(ARGS)

fuzz: $(VENV)/.demo.stamp $(VENV)/.fuzz.stamp ## Fuzz the HTTP parser for a minute
	@$(BIN)/python tests/fuzz_http1.py -max_total_time=60 $(ARGS)

generate: ## Write the schemas and the tables of docs/target.md anew from the code
	@$(BIN)/python scripts/generate.py

lock: ## Write the lock files anew from pyproject.toml (needs uv)
	@scripts/lock.sh

debian-packages:
	@scripts/debian-packages.sh

clean: ## Remove what the other commands made, bundles excepted
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
