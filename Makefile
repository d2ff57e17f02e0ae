# The same few words locally and in CI.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PURELIB := 'import sysconfig; print(sysconfig.get_path("purelib"))'

.PHONY: install job-server demo check test test-slow lab lab-slurm clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

# What `ray job submit` needs beyond the rest: `ray[default]`, at the versions of constraints.txt.
# In a folder of its own, for where it is installed each Ray starts two to five seconds later.
JOB_SERVER := .venv/job-server
job-server: $(JOB_SERVER)/installed

$(JOB_SERVER)/installed: .venv/installed
	$(BIN)/python -m venv --without-pip $(JOB_SERVER)
	echo "import site; site.addsitedir('$$($(BIN)/python -c $(PURELIB))')" \
		> "$$($(JOB_SERVER)/bin/python -c $(PURELIB))/dexsearch-job-server.pth"
	$(BIN)/python -m pip --python $(JOB_SERVER)/bin/python install --quiet \
		--disable-pip-version-check --constraint constraints.txt 'ray[default]'
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

# It has what job submission is tested with, so there those tests are never skipped.
test-slow: export DEXSEARCH_REQUIRE_JOB_SERVER := 1
test-slow: install job-server
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "(slow or cluster) and not lab"

# Every fault of docs/faults.md on a cluster of this machine; needs Linux and root.
# `make lab CASE=partition` injects one.
lab: install
	$(BIN)/python -m pytest tests/lab -m lab $(if $(CASE),-k "$(CASE)")

# The batch script of deploy/slurm in a real Slurm of three nodes; needs root and its packages.
lab-slurm: install
	$(BIN)/python -m pytest tests/deploy/test_slurm.py -m lab

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
