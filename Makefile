# `make demo` and `make test` do their whole set-up: Python 3.11 and make are all they need.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
HOME_DIR ?= .tuneladder

# Examples and benchmarks read their data here; what needs it says so where it is absent.
ifneq ($(wildcard ../shared/data),)
export TUNELADDER_DATA ?= $(abspath ../shared/data)
endif

.DEFAULT_GOAL := help
.PHONY: help install demo check format test test-long compose-check bench clean

help: ## Show this help.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

install: $(READY) ## Make .venv and install everything, pinned.

$(READY): pyproject.toml constraints.txt
	@echo "== Setting up $(VENV): pinned packages, about 2 GB and two minutes the first time"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	@touch $@

demo: $(READY) ## Tune an MLP on handwritten digits through Ray Tune and MLflow, in under three minutes.
	@echo "== tuneladder run examples/digits_mlp.yaml: Ray starts, the ladder is climbed, MLflow is written"
	@$(BIN)/tuneladder run examples/digits_mlp.yaml --home $(HOME_DIR) --new

check: $(READY) ## Lint, formatting, types, architecture.
	@echo "== ruff, mypy, import-linter"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY) ## Format and fix what can be fixed.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test: $(READY) ## Run the tests: two processes, under 20 minutes on two cores.
	@echo "== pytest"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not long"

test-long: $(READY) ## Run the tests that `make test` leaves out: other paths to what it tests, a minute each.
	@echo "== pytest, the long tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m long

compose-check: $(READY) ## Build and run docker-compose.yml, with a job that loses a node; needs Docker, minutes.
	@$(BIN)/python tests/compose/check.py

bench: $(READY) ## Run all benchmarks, which takes long; figures go to benchmarks/results and docs/performance.md.
	@$(BIN)/python -m benchmarks; failed=$$?; $(BIN)/python docs/generate.py && exit $$failed

clean: ## Remove the environment, caches and the demo's home.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache $(HOME_DIR) *.egg-info
