# Needs Python 3.11 or newer, make and git; everything else is installed into .venv from pyproject.toml + constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Where it is set, each of the many processes that tests start would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install barman demo dev test test-all lint types check sql bench clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make the environment in .venv

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ...")'
	@echo "Installing into $(VENV) (once; a few minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

# Not in pyproject.toml: it is a program of its own (GPL-3), started and never imported, and asks for a psycopg2 that has
# to be compiled, while the one we have serves it.
barman: $(INSTALLED) ## Barman, which backs PostgreSQL up, beside the command; the tests of backups want it
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps barman

demo: $(INSTALLED) ## A synthetic district, every week through the real pipeline
	@$(BIN)/edupulse demo

dev: $(INSTALLED) ## The Dagster and MLflow pages over the same home
	@$(BIN)/edupulse dev

test: $(INSTALLED) ## All tests but the heavy ones (under 10 minutes)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not heavy"

test-all: $(INSTALLED) ## All tests
	@$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED) ## Style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(INSTALLED) ## Type check
	@$(BIN)/mypy

check: test lint types ## What CI runs

sql: $(INSTALLED) ## Generate sql/schema, sql/security, the data dictionary and docs/sending-data.md
	@$(BIN)/python -m edupulse_pipelines.schema.ddl sql/schema
	@$(BIN)/python -m edupulse_pipelines.governance.roles sql/security
	@$(BIN)/python -m edupulse_pipelines.schema.dictionary docs/data-dictionary.md
	@$(BIN)/python -m edupulse_pipelines.sources.sending_data docs/sending-data.md

bench: barman ## The benchmarks, each against the other way of doing it
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	@for name in features imports load score tenants quality encryption adopt backup; do $(BIN)/python -m edupulse_pipelines_tests.benchmarks $$name || exit 1; done

clean: ## Remove the environment and caches (not your data in .edupulse)
	@rm -rf $(VENV) .ruff_cache .mypy_cache .pytest_cache .hypothesis build *.egg-info
