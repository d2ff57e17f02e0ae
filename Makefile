# The same few words locally and in CI.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: install demo check test test-slow lab clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/dexsearch tune --space quickstart.yaml
	@echo
	$(BIN)/dexsearch best

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow and not cluster and not gpu and not lab"

test-slow: install
	$(BIN)/python -m pytest -m "(slow or cluster) and not lab"

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
