# Every target explains itself: `make help`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= floe-data
LISTEN ?= 127.0.0.1:9092
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help venv run test check soak bench fuzz codec diagrams compat clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## Create .venv with Floe and everything its tests need

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Floe needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing Floe and what its tests need into $(VENV): a minute or two." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=23.2"
	@PYTHONWARNINGS='ignore:Editable installation' \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

run: venv ## Start Floe on 127.0.0.1:9092 (LISTEN=host:port, DATA=folder)
	@exec $(BIN)/floe serve --data-dir $(DATA) --listen $(LISTEN)

test: venv ## Run the checks and the tests
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest -q -n 2 \
		|| { echo "What failed is run once more, one after the other:"; \
			$(BIN)/python -m pytest -q --last-failed --last-failed-no-failures none; }

check: venv ## Lint, types, import contracts, tidiness
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 12
	@$(BIN)/python -m pytest -q tests/architecture

soak: venv ## The long form of crash, kill and fuzz tests (about an hour)
	@FLOE_SOAK=1 $(BIN)/python -m pytest -q tests/simulation tests/faults tests/broker/tiering

bench: venv ## Measure Floe, beside Apache Kafka where Java and Maven are found
	@$(BIN)/python -m tests.bench
	@$(BIN)/python -m tests.bench.tables
	@$(BIN)/python -m tests.bench.compaction

fuzz: venv ## Throw a million mutated frames at a broker
	@FLOE_SOAK=1 $(BIN)/python -m pytest -q tests/faults/test_fuzz.py

codec: venv ## Print a generated codec: make codec MSG=Fetch V=13
	@$(BIN)/python -m protocol.compiler $(MSG) $(V)

diagrams: venv ## Draw the state machines from their transition tables
	@$(BIN)/python -m broker.coordinator.diagrams

compat: venv ## Other people's clients against Floe (ONLY=go-franz,kcat; SMOKE=1)
	@$(BIN)/python -m compat $(if $(ONLY),--only $(ONLY)) $(if $(SMOKE),--smoke)

clean: ## Remove the virtual environment and caches (never data)
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
