# Needs python3 (3.11 or newer) with pip. `make test` also wants Java 17 and Maven, for a real Apache Kafka.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory --no-builtin-rules

BIN := .venv/bin
UV := .tools/bin/uv
UV_VERSION := 0.13.9
INSTALLED := .venv/.installed
CODE := worker schemas tests deploy
CHECKOV := tests/deploy/tools/checkov
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' worker/__init__.py)
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header

.PHONY: help install lock lint test demo bench bench-peers chaos image dist release-check clean

help:  ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## Install the locked dependencies and .venv/bin/terminal-worker

lock: $(UV)  ## Write the lock files again from pyproject.toml
	$(COMPILE) pyproject.toml --output-file requirements.lock
	$(COMPILE) pyproject.toml --extra demo --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(COMPILE) --group build --output-file requirements-build.lock
	$(COMPILE) --python-version 3.11 $(CHECKOV)/requirements.in --output-file $(CHECKOV)/requirements.lock

lint: install  ## Check style, format and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

test: install lint  ## Lint, then run every test
	$(BIN)/pytest

demo: install  ## Watch requests run, with a worker killed on the way
	@$(BIN)/terminal-worker demo

bench: install  ## Measure the worker, its floor and FastStream in turns, on a real Kafka (10 minutes)
	@$(BIN)/python -m tests.benchmarks.compare

bench-peers: install  ## And Bento and Parallel Consumer, built with Go and Maven (15 minutes)
	@$(BIN)/python -m tests.benchmarks.compare --peers

chaos: install  ## Attack workers, brokers, network and API (DURATION=300 SEED=7), then count every promise
	@$(BIN)/python -m tests.chaos --seconds $(or $(DURATION),300) $(if $(SEED),--seed $(SEED))

image:  ## Build the container image
	@docker build --tag terminal-operations-worker:$(VERSION) --build-arg VERSION=$(VERSION) --build-arg REVISION="$$(git rev-parse HEAD)" .

dist: install  ## Build wheel and sdist, SBOM and release notes into dist/
	@rm -rf dist
	@$(UV) build --quiet --require-hashes --build-constraints requirements-build.lock --out-dir dist
	@$(BIN)/python deploy/sbom.py dist/sbom.cdx.json
	@$(BIN)/python deploy/release/notes.py dist/RELEASE_NOTES.md

release-check: install  ## Make dist/, and try its wheel in an environment of its own, outside the checkout
	@CI=true $(BIN)/pytest tests/deploy/test_release.py

clean:  ## Remove everything that is not in git
	rm -rf .venv .tools .kafka .hypothesis .mypy_cache .ruff_cache .pytest_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The version is in the stamp's name, so that another one is installed anew.
$(UV): .tools/uv-$(UV_VERSION)

.tools/uv-$(UV_VERSION):
	@rm -rf .tools
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .tools uv==$(UV_VERSION)
	@touch $@

# `pip sync` removes what is not locked, the project itself too: it is put back after.
$(INSTALLED): pyproject.toml requirements-dev.lock requirements-build.lock | $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$$(command -v python3)" .venv
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --build-constraints requirements-build.lock --editable .
	@touch $@
