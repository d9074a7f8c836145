# Everything a contributor or a continuous integration server runs. `make` alone lists it.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ROUNDS ?= 1000
DATA ?= shared/data

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint bench quality docs coverage fuzz kill-rounds soak pins clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

setup: $(READY) ## build .venv with the pinned dependencies and tapewatch itself

# uv installs faster; plain pip does the same where uv cannot be had or cannot reach the index (it
# knows nothing of the settings of pip).
# Both check every file against the hashes in the requirement files.
$(READY): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tapewatch needs Python 3.11 or newer: make PYTHON=python3.11")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt >.venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt \
	  && $(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --require-hashes -r requirements.txt -r requirements-dev.txt \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "ready: $(BIN)/tapewatch"

demo: setup ## the whole path, offline, in about a minute
	@$(BIN)/tapewatch demo

test: lint ## everything that must pass before a change lands
	$(BIN)/pytest -rs

check: lint ## the fast half of test: style, types, structure, documentation
	$(BIN)/pytest tests/test_tidy.py tests/test_docs.py tests/test_exports.py

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## speed, as ratios against a reference in the same run (bench/README.md)
	$(BIN)/python bench/run.py

quality: setup ## measure the detectors on DATA and write the page on it (half an hour; DATA=folder)
	$(BIN)/python docs/quality.py --run $(DATA)

docs: setup ## write the reference pages that come from the code
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/metrics.py
	$(BIN)/python docs/asyncapi.py

coverage: setup ## which lines and branches the tests reach
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

fuzz: setup ## the properties with a hundred times more examples
	$(BIN)/pytest --hypothesis-profile long --timeout 3600

kill-rounds: setup ## kill a recording session ROUNDS times and look for what was lost
	TAPEWATCH_KILL_ROUNDS=$(ROUNDS) $(BIN)/pytest --timeout 0 -k kill_rounds

soak: setup ## all tests ROUNDS times, each time in another order, with other examples
	for round in $$(seq $(ROUNDS)); do $(BIN)/pytest || exit 1; done

pins: setup ## choose the newest dependencies that pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev -c requirements.txt --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet -o requirements-dev.txt

clean: ## remove what setup and the tools made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
