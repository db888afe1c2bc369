# make quickstart   from a clone to a trained, evaluated model and recommendations
# make test         install, lint, type-check, run the tests
# make setup        the part that both share
# make flink-test   the sessionise job on a local Flink cluster (needs Java 17 and Maven)
# make prism-test   the same on Beam's Prism (needs Go)
# make chromium     Debian's Chromium, with which the tests look at the report's page (needs root)
# make redis        Debian's Redis, with which the tests try the store that uses it (needs root)
# make lock         after a change of setup.py: resolve and write requirements.lock again

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := beam_pipelines benchmarks cosernn_tf experiments tests
# TensorFlow's start-up notices drown a newcomer's first output.
export TF_CPP_MIN_LOG_LEVEL ?= 3

# Where it is allowed, a test of servers has a network of its own: nothing comes in, nothing goes out.
ALONE = $(shell unshare --map-root-user --net true 2>/dev/null && echo unshare --map-root-user --net)

.PHONY: quickstart test setup lint lock clean chromium redis flink-test prism-test

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

# Files of tests, a worker a processor: what a file's tests share is made once. More than four
# workers would have to share memory, not time.
test: setup lint
	$(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

# The list of packages may be missing or old.
APT_INSTALL := DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends

chromium:
	command -v chromium > /dev/null || $(APT_INSTALL) chromium || \
	  { apt-get update --quiet && $(APT_INSTALL) chromium; }

redis:
	command -v redis-server > /dev/null || $(APT_INSTALL) redis-server || \
	  { apt-get update --quiet && $(APT_INSTALL) redis-server; }

FLINK_JARS := build/flink/jars

$(FLINK_JARS)/.fetched: tests/runners/pom.xml
	rm -rf $(FLINK_JARS)
	mvn --batch-mode --quiet --file $< dependency:copy-dependencies -DoutputDirectory=$(abspath $(FLINK_JARS))
	touch $@

flink-test: setup $(FLINK_JARS)/.fetched
	FLINK_JARS=$(abspath $(FLINK_JARS)) $(ALONE) $(BIN)/python -m pytest tests/runners/test_flink.py

PRISM := build/prism/prism

$(PRISM): requirements.lock
	GOTOOLCHAIN=local GOFLAGS=-mod=mod GOBIN=$(abspath $(@D)) go install \
	  github.com/apache/beam/sdks/v2/go/cmd/prism@v$(shell sed -n 's/^apache[-_]beam==//p' requirements.lock)
	touch $@

prism-test: setup $(PRISM)
	PRISM=$(abspath $(PRISM)) $(ALONE) $(BIN)/python -m pytest tests/runners/test_prism.py

lock: setup.py
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet setuptools wheel '.[dev,serve,tuning]'
	$(BIN)/python -m pip freeze --exclude cosernn_tf --all | grep -v '^pip==' > requirements.lock

clean:
	rm -rf $(VENV) workspace build *.egg-info
