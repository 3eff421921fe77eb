.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
DATA ?= data
# Where the AudioSet features are, and the time-stamped events beside them.
FEATURES ?= $(DATA)/downloads/audioset
STRONG ?= $(FEATURES)/strong

export OMP_WAIT_POLICY := PASSIVE

.PHONY: help demo audioset ui dashboard test test-slow lint bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/user: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=/path/to/python3.11")'
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m scoring.lists.kernels
	@touch $@

.venv/developer: .venv/user requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: .venv/user ## train, fuse and compare three small members on generated data (about five minutes)
	$(PY) -m training ingest synthetic --out $(DATA)/demo
	$(PY) -m training run --lineup demo --data $(DATA)/demo

audioset: .venv/user ## the same on AudioSet/DESED: make audioset FEATURES=DIR [STRONG=DIR] (a quarter of an hour)
	$(PY) -m training ingest audioset --features $(FEATURES) --strong $(STRONG) --out $(DATA)/audioset
	$(PY) -m training run --lineup audioset --data $(DATA)/audioset

ui: .venv/user ## the MLflow UI on the default store, http://127.0.0.1:5000
	@echo "open http://127.0.0.1:5000/?workflowType=machine_learning"
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false .venv/bin/mlflow ui --workers 1 \
		--backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlruns/mlflow.db}

dashboard: .venv/user ## the dashboard, http://127.0.0.1:8501
	.venv/bin/streamlit run dashboard/app.py

test: .venv/developer ## the test suite
	$(PY) -m pytest -n 2 --dist loadfile

test-slow: .venv/developer ## the tests that need paper-size arithmetic
	$(PY) -m pytest -m slow --timeout 1500

lint: .venv/developer ## ruff and pyright
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/pyright

bench: .venv/developer ## scoring against its named peers, written to benchmarks/results
	$(PY) -m benchmarks.scoring --fraction 0.02 --tables

clean: ## remove the environment; data and tracked runs stay
	rm -rf .venv
