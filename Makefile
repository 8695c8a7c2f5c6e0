# Every target sets up what it needs: Python 3.11 or newer and the package registry are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo test check format lint types imports bench lock clean

install: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/tfcells demo

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: format lint types imports test

format: $(INSTALLED)
	$(BIN)/ruff format --check

lint: $(INSTALLED)
	$(BIN)/ruff check

types: $(INSTALLED)
	$(BIN)/mypy

imports: $(INSTALLED)
	$(BIN)/lint-imports

# The slow figures of benchmarks/RESULTS.md; see benchmarks/README.md for what each needs.
bench: $(INSTALLED)
	$(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/simulations.py
	$(BIN)/python benchmarks/selection.py
	$(BIN)/python benchmarks/shortcuts.py
	$(BIN)/python benchmarks/kills.py --kills 50

# For Python >= 3.11 on Linux, x86-64 and aarch64, with hashes; needs uv, and only when dependencies change.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-annotate \
	  --custom-compile-command 'make lock' pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
