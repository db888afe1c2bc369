# make quickstart   from a clone to a trained, evaluated model and recommendations
# make test         install, lint, type-check, run the tests
# make setup        the part that both share
# make lock         after a change of setup.py: resolve and write requirements.lock again

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := beam_pipelines benchmarks cosernn_tf experiments tests
# TensorFlow's start-up notices drown a newcomer's first output.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: quickstart test setup lint lock clean

setup: $(STAMP)

$(STAMP): requirements.lock setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  { echo "error: Python 3.11 is needed (the locked versions are tested with it); set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

quickstart: setup
	$(BIN)/python -m experiments.quickstart

lint: setup
	$(BIN)/ruff format --check $(SOURCES) setup.py
	$(BIN)/ruff check $(SOURCES) setup.py
	$(BIN)/mypy $(SOURCES)

test: setup lint
	$(BIN)/python -m pytest

lock: setup.py
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet setuptools wheel '.[dev]'
	$(BIN)/python -m pip freeze --exclude cosernn_tf --all | grep -v '^pip==' > requirements.lock

clean:
	rm -rf $(VENV) workspace build *.egg-info
