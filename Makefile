# make demo        a first result: an ensemble of monitored runs, its currents on disk, a figure
# make test        the tests (make test-slow: those that take minutes too)
# make lint        style, types, and who may import whom
# make wheel-test  build the wheel, install it elsewhere, test that
# make docs        the pages, into site/
# make bench       the benchmarks
#
# Needs make and Python 3.11 or newer. Everything is installed into .venv. `make PYTHON=/path/to/python test` chooses one.

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format docs bench wheel-test clean
.DELETE_ON_ERROR:

VENV := .venv
BIN  := $(VENV)/bin
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

# The first of these that runs and is new enough. Some systems' python3 is older than the python3.x beside it.
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python python3.14 python3.13 python3.12 python3.11)
FIND_PYTHON = for p in $(CANDIDATES); do "$$p" -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { python=$$p; break; }; done

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.stamp-test
	$(BIN)/python examples/two_vdp_demo.py

test: $(VENV)/.stamp-test
	$(BIN)/python -m pytest -n auto

test-slow: $(VENV)/.stamp-test
	$(BIN)/python -m pytest -n auto -m ""

lint: $(VENV)/.stamp-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" lint-imports

format: $(VENV)/.stamp-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.stamp-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

bench: $(VENV)/.stamp-bench
	@set -e; for script in benchmarks/bench_*.py; do echo "$$script"; $(BIN)/python "$$script"; done

# The tests run from a copy beside which there is no backaction/, so that the wheel is what they import.
WHEEL := build/wheel-test
wheel-test: $(VENV)/.stamp-test
	rm -rf $(WHEEL) && mkdir -p $(WHEEL)/tree
	$(BIN)/python -m build --outdir $(WHEEL)/dist .
	$(BIN)/python -m venv $(WHEEL)/venv
	$(WHEEL)/venv/bin/python -m pip install --quiet --disable-pip-version-check "$$(echo $(WHEEL)/dist/*.whl)[test]"
	cp -R tests examples pyproject.toml $(WHEEL)/tree/
	cd $(WHEEL)/tree && ../venv/bin/python -c 'import backaction, pathlib; \
	    here = pathlib.Path(backaction.__file__).parent; print("testing", here); \
	    assert "site-packages" in here.parts, "this is not the wheel"; \
	    assert (here / "py.typed").exists(), "py.typed is not in the wheel"'
	cd $(WHEEL)/tree && ../venv/bin/python -m pytest -n auto

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find backaction tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment: made once, brought up to date when pyproject.toml changes ---

$(VENV)/.stamp-python:
	@$(FIND_PYTHON); \
	if [ -z "$$python" ]; then \
	    echo "backaction needs Python 3.11 or newer; tried: $(CANDIDATES)." >&2; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	    exit 1; \
	fi; \
	if $(BIN)/python -c '$(NEW_ENOUGH)' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    echo "using the environment in $(VENV)"; \
	else \
	    echo "making $(VENV) with $$python ($$("$$python" --version))"; \
	    "$$python" -m venv --clear $(VENV) || { \
	        echo "Could not make $(VENV). On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	fi
	@touch $@

$(VENV)/.stamp-test: pyproject.toml $(VENV)/.stamp-python
	@echo "installing backaction and what it needs into $(VENV) (minutes, the first time)"
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[test]"
	@touch $@

$(VENV)/.stamp-%: pyproject.toml $(VENV)/.stamp-test
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[$*]"
	@touch $@
