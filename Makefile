.DEFAULT_GOAL := help
SHELL := /bin/sh

# The newest supported Python that runs and can make an environment: version managers leave commands that lead nowhere.
ifndef PYTHON
PYTHON := $(firstword $(shell for name in python3.13 python3.12 python3.11; do \
	$$name -c 'import ensurepip' 2>/dev/null && echo $$name; done; true) python3)
endif
SUPPORTED = $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and \
	"Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python3.13")'
PIP := pip install --quiet --disable-pip-version-check
PY := .venv/bin/python
# An environment without frameworks for each Python.
LIGHT = .venv-light/$(notdir $(PYTHON))
LIGHT_TESTS := tests/tracking tests/terminal tests/videos tests/scoring tests/dashboard \
	$(addprefix --ignore tests/tracking/test_,models.py registry.py saved_files.py) # which define models in torch
DATA ?= data
# Where the AudioSet features are, and the time-stamped events beside them.
FEATURES ?= $(DATA)/downloads/audioset
STRONG ?= $(FEATURES)/strong
# With more than one, the paper's claims are measured over the seeds 0 .. SEEDS-1.
SEEDS ?= 1

export OMP_WAIT_POLICY := PASSIVE

.PHONY: help demo audioset ui dashboard test test-slow test-all test-light lint bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/user: requirements.txt requirements-light.txt constraints.txt
	@$(SUPPORTED)
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m $(PIP) -r requirements.txt
	$(PY) -m scoring.lists.kernels
	@touch $@

.venv/developer: .venv/user requirements-dev.txt
	$(PY) -m $(PIP) -r requirements-dev.txt
	@touch $@

$(LIGHT)/installed: requirements-light.txt requirements-dev.txt constraints.txt
	@$(SUPPORTED)
	test -x $(LIGHT)/bin/python || $(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python -m $(PIP) -r requirements-light.txt -r requirements-dev.txt
	@touch $@

demo: .venv/user ## train, fuse and compare three small members on generated data (three minutes)
	$(PY) -m training ingest synthetic --out $(DATA)/demo
	$(PY) -m training run --lineup demo --data $(DATA)/demo --trials 20

audioset: .venv/user ## the same on AudioSet/DESED: make audioset FEATURES=DIR [STRONG=DIR] (20 minutes); SEEDS=3: docs/results.md
	$(PY) -m training ingest audioset --features $(FEATURES) --strong $(STRONG) --out $(DATA)/audioset
	$(PY) -m training run --lineup audioset --data $(DATA)/audioset --shrink 0.5
	test $(SEEDS) -eq 1 || $(PY) -m benchmarks.claims --data $(DATA)/audioset --seeds $(SEEDS)

ui: .venv/user ## the MLflow UI on the default store; it prints the address of each dataset's runs
	$(PY) -m tracking ui

dashboard: .venv/user ## the dashboard, http://127.0.0.1:8501
	.venv/bin/streamlit run dashboard/app.py

test: .venv/developer ## the test suite
	$(PY) -m pytest -n 2 --dist loadfile

test-slow: .venv/developer ## the tests that need paper-size arithmetic
	$(PY) -m pytest -n 2 --dist worksteal -m slow --timeout 1500

test-all: .venv/developer ## both, in one run
	$(PY) -m pytest -n 2 --dist worksteal -m '' --timeout 1500

test-light: $(LIGHT)/installed ## the tests that need no framework: make test-light PYTHON=python3.13
	$(LIGHT)/bin/python -m pytest -n 2 --dist loadfile -m 'not slow and not frameworks' $(LIGHT_TESTS)

lint: .venv/developer ## ruff and pyright
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/pyright

bench: .venv/developer ## scoring against its named peers, written to benchmarks/results
	$(PY) -m benchmarks.scoring --fraction 0.02 --tables

clean: ## remove the environments; data and tracked runs stay
	rm -rf .venv .venv-light
