# The same few words locally and in CI.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: install demo check test test-slow lab lab-slurm clean

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

# Every fault of docs/faults.md on a cluster of this machine; needs Linux and root.
# `make lab CASE=partition` injects one.
lab: install
	$(BIN)/python -m pytest tests/lab -m lab $(if $(CASE),-k "$(CASE)")

# The batch script of deploy/slurm in a real Slurm of three nodes; needs root and its packages.
lab-slurm: install
	$(BIN)/python -m pytest tests/deploy/test_slurm.py -m lab

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
