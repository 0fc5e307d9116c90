# make demo   compile a real model with Inductor, and show what happened
# make test   lint, types, tests
#
# Each makes its own virtual environment in .venv.  Needs python3.11, g++ and make.
# PYTHON=python3.11  the interpreter;  VENV=.venv  where the environment goes;  PIP_ARGS=...  more arguments for pip install

PYTHON ?= python3.11
VENV ?= .venv
PIP_ARGS ?=
JOBS ?= 2

BIN := $(VENV)/bin
SOURCES := setup.py pyproject.toml $(wildcard csrc/*.cpp csrc/*.h)

.PHONY: demo test check lint types tests build clean

demo: $(VENV)/.demo build
	$(BIN)/python examples/demo.py

test: check
check: lint types tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

tests: $(VENV)/.dev build
	$(BIN)/python -m pytest -q -n $(JOBS)

build: $(VENV)/.built

$(VENV)/.base: requirements.txt requirements-build.txt
	@command -v $(PYTHON) >/dev/null || { echo "Alternator needs Python 3.11: install python3.11 and python3.11-venv, or say where it is: make PYTHON=/path/to/python3.11"; exit 1; }
	@command -v g++ >/dev/null || command -v "$${CXX:-c++}" >/dev/null || { echo "Alternator needs a C++ compiler to build its extension: install g++"; exit 1; }
	@$(PYTHON) -c "import os, sysconfig as s; exit(not os.path.exists(os.path.join(s.get_path('include'), 'Python.h')))" || { echo "Alternator needs Python's headers to build its extension: install python3.11-dev"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no virtual environment can be made: install python3.11-venv"; exit 1; }
	$(BIN)/python -m pip install -q $(PIP_ARGS) "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)"
	$(BIN)/python -m pip install -q $(PIP_ARGS) -r requirements-build.txt -r requirements.txt
	touch $@

$(VENV)/.built: $(VENV)/.base $(SOURCES)
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
	touch $@

$(VENV)/.demo: $(VENV)/.base requirements-demo.txt
	$(BIN)/python -m pip install -q $(PIP_ARGS) -r requirements-demo.txt
	touch $@

$(VENV)/.dev: $(VENV)/.base requirements-dev.txt requirements-demo.txt
	$(BIN)/python -m pip install -q $(PIP_ARGS) -r requirements-demo.txt -r requirements-dev.txt
	touch $@

clean:
	rm -rf build alternator/*.so $(VENV)/.built
