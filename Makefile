# `make demo` and `make test` set up everything they need in .venv and need nothing typed before.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One more than there are cores: tests of processes and browsers wait now and then.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

# Modules are compiled once, not by every process that a test starts, whatever the shell says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-all fuzz check format docs clean

help:
	@echo "make demo    set up, then Table 1 of the paper on the toy task -> reports/toy/report.md, page.html"
	@echo "make test    set up, then the tests but those marked long; make test-all: with them"
	@echo "make fuzz    set up, then thousands of damaged files and a table of what became of them"
	@echo "make check   set up, then formatter, linter and type checker"
	@echo "make format  rewrite the sources in the project's format"
	@echo "make docs    set up, then the guide and the reference of the Python names -> build/docs"
	@echo "make clean   remove the environment and caches"

demo: $(VENV)/installed
	$(BIN)/python -m experiments.toy

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not long"

test-all: $(VENV)/installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Of every kind of file; the suite has 6, always the same ones.
FUZZ_CASES ?= 50

fuzz: $(VENV)/installed-test
	FUZZ_CASES=$(FUZZ_CASES) $(BIN)/python -m pytest tests/fuzz

check: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/installed-test
	$(BIN)/mkdocs build --strict

$(VENV)/created:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "diffmask_jax needs Python >= 3.11: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "$(VENV) belongs to another Python: remove it, or make VENV=folder $(MAKECMDGOALS)"; exit 1; }
	@touch $@

# pip would compile what it installs on one core.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# Tests, torch's compiler and most models of transformers are hardly read; some files are no Python.
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests/|torch/(testing|_inductor)/|transformers/models' $(VENV)/lib || true

$(VENV)/installed: $(VENV)/created requirements.txt setup.cfg
	$(INSTALL) -r requirements.txt -e .
	@$(COMPILE)
	@touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(INSTALL) -r requirements-test.txt
	@$(COMPILE)
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
