# Everything needs only make and Python 3.11 or later; the rest is installed into .venv, once.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The first interpreter that is new enough; name another with `make PYTHON=...`.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)

# CrypTen 0.4.1 names `sklearn`, the retired alias of scikit-learn, which installs only for those who ask for it.
export SKLEARN_ALLOW_DEPRECATED_SKLEARN_PACKAGE_INSTALL := True
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DELETE_ON_ERROR:
.PHONY: help setup demo test lint clean

help:
	@echo "make demo    train a classifier, compile it, and run it privately"
	@echo "make test    lint, type check and test"
	@echo "make lint    the first two of these"
	@echo "make setup   install into $(VENV)"
	@echo "make clean   remove $(VENV) and every cache"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	@test -n "$(PYTHON)" || { echo "mpccompile needs Python 3.11 or later; name one with: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' does not work; on Debian and Ubuntu install the package python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
# CrypTen asks for torchvision for its collection of image models only. One that was built for another torch (a CUDA
# build beside a CPU torch) cannot be imported, and transformers imports it whenever it is there: it is better absent.
	@$(BIN)/python -c 'import torchvision' >/dev/null 2>&1 || { \
	  echo "removing a torchvision that does not fit this torch"; \
	  $(BIN)/python -m pip uninstall --quiet --yes torchvision; }
	@touch $@

demo: $(STAMP)
	$(BIN)/mpccompile demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f mpccompile/runtime/kernels/_native*.so
