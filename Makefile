# Every target makes its own virtual environment as needed; nothing is written outside this folder
# (but for pip's own download cache). Other interpreter: make PYTHON=python3.12 test
#
#   make demo    the main job on phantoms, with the weights that ship (no download after the installation)
#   make test    lint, types and tests
#   make lint    ruff, mypy and the import contracts (make format: let ruff repair what it can)
#   make docs    the documentation as pages in build/docs; a warning is an error, nothing is loaded from elsewhere
#   make bench   the benchmarks that need no real scans (speed: the published order of work beside ours)
#   make clean   remove the environment and everything that the targets wrote

VENV ?= .venv
OUTPUT ?= medlsam-demo
# A pyenv shim exists for versions that are not installed, so the first that really runs is taken.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)

BIN := $(VENV)/bin
CACHE := $(abspath $(VENV))/cache
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Libraries that would write into HOME write into the environment: HOME may be empty or read-only.
export MPLCONFIGDIR := $(CACHE)/matplotlib
export IPYTHONDIR := $(CACHE)/ipython
export JUPYTER_CONFIG_DIR := $(CACHE)/jupyter/config
export JUPYTER_DATA_DIR := $(CACHE)/jupyter/data
export JUPYTER_RUNTIME_DIR := $(CACHE)/jupyter/runtime
export MPLBACKEND := Agg
# The theme's advertisement for its successor (docs/decisions/house says more).
export NO_MKDOCS_2_WARNING := 1

.PHONY: demo test lint format types docs bench clean

demo: $(VENV)/.ready
	$(BIN)/medlsam demo --output $(OUTPUT)

# Two processes of one thread each are nearly twice as fast as one of two threads; a file's tests stay together.
TEST_PROCESSES ?= 2
test: export OMP_NUM_THREADS := 1
test: lint
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --cache-dir $(CACHE)/import-linter

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.ready-dev
	$(BIN)/mypy

docs: $(VENV)/.ready-dev
	$(BIN)/python -m mkdocs build --strict --clean

bench: $(VENV)/.ready-dev
	@set -e; for name in speed one_scan search_time; do echo "== $$name"; $(BIN)/python benchmarks/$$name.py; done

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.13 found; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-ci build dist medlsam-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find medlsam tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
