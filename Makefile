# Every target works in a fresh clone: what it needs, it makes first.
.DEFAULT_GOAL := help
.PHONY: help setup run check test bench faults lock clean

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.locked

help: ## show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## .venv with the locked dependencies and the dragoman command

$(STAMP): requirements/bootstrap.lock requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Dragoman needs Python 3.11 or newer; name one with: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "Python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the locked packages into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/bootstrap.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

run: setup ## a working chat on http://127.0.0.1:8000
	@$(BIN)/dragoman models pull
	@exec $(BIN)/dragoman serve --demo

check: setup ## formatting, lint, types, floors and the house's own rules
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > .venv/lint-imports.log 2>&1 || { cat .venv/lint-imports.log; exit 1; }
	@$(BIN)/python -m lints

test: setup ## the whole suite, with the services it needs
	@$(BIN)/dragoman models pull chat embedder transcriber
	@# Three files at a time, for most of them wait for servers to start; a few tests can share the machine with none.
	@$(BIN)/python -m pytest -n 3 --dist loadfile -m "not alone"
	@$(BIN)/python -m pytest -m alone

bench: setup ## speed beside its floor; BENCH_QUICK=1 for under 45 s
	@$(BIN)/python -m bench

faults: setup ## the fault harness in full
	@$(BIN)/python -m faults

lock: setup ## resolve the dependencies anew
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links --python-version 3.11 --upgrade --extra dev pyproject.toml --output-file requirements/dev.lock
	@awk '/^uv==/ {p = 1} p {print} p && !/\\$$/ {exit}' requirements/dev.lock > requirements/bootstrap.lock

clean: ## remove what was made, but not the data of ./var
	@rm -rf .venv bench/results .mypy_cache .ruff_cache .hypothesis
