# Needs Python >= 3.11 with venv, git and make. Everything else is installed, hash-checked, into .uv and .venv*.
# Choose another interpreter with PYTHON=..., hand arguments to pytest with ARGS=...

PYTHON  ?= python3
PYTHONS ?= 3.12 3.13
ARGS    ?=

# One environment at a time: the targets for other environments call make again with these two changed.
VENV    ?= .venv
LOCK    ?= requirements/dev.txt
# Only a lock all of whose packages have wheels may forbid building.
BUILD   ?= --no-build

export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# An environment that happens to be active is not ours to use or to change.
unexport VIRTUAL_ENV

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
UV      := .uv/bin/uv
UV_DONE := .uv/.done
# The stamp's name holds the Python version, so that another PYTHON makes the environment anew.
READY   := $(VENV)/.ready-$(VERSION)
BIN     := $(VENV)/bin
# The tests of a file stay together; ARGS="-n 0" runs all in one process, as a debugger needs it.
PYTEST  := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-nightly test-load fuzz bench benchmark .venv-langgraph-server test-lowest test-0.3 test-all-pythons pytest lint size frames format lock clean check-python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## set up .venv and run the quickstart
	$(BIN)/python cookbook/quickstart.py $(ARGS)

test: lint .venv-langgraph-server ## lint, type-check, and run all tests with 100 % branch coverage
	$(PYTEST) --cov $(ARGS)

test-nightly: $(READY) ## run the properties, races and memory tests at full length (about three quarters of an hour)
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest \
	  tests/test_properties.py tests/test_races.py tests/test_memory.py $(ARGS)

fuzz: $(READY) ## give each decoder of tokens a million mutated ones (about three minutes)
	for decoder in decode decode_graph unseal; do \
	  $(BIN)/python -m tests.fuzz.tokens $$decoder -runs=1000000 -timeout=1 -max_len=4096 || exit 1; \
	done

test-load: $(READY) ## let processes race at full size: 1,000 runs for each ledger, 2,000 requests to LangServe
	LEDGER_RUNS=1000 LANGSERVE_REQUESTS=2000 $(BIN)/python -m pytest \
	  tests/ledgers/test_processes.py tests/deployments/test_langserve_load.py $(ARGS)

bench: ## measure what the handler costs beside other packages' (about twenty minutes; ARGS="--quick" for a glance)
	@$(MAKE) --no-print-directory benchmark VENV=.venv-bench LOCK=requirements/bench.txt

benchmark: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)

size: | check-python ## count the package's code lines, by file and by room
	@$(PYTHON) -m benchmarks.size

frames: $(READY) ## count the frames that the start of a run, and a whole run, pass through
	@$(BIN)/python -m benchmarks.frames

test-lowest: ## run the tests with the lowest allowed versions of the dependencies
	@$(MAKE) --no-print-directory pytest VENV=.venv-lowest LOCK=requirements/lowest.txt

test-0.3: ## run the tests with LangChain 0.3 and LangGraph 0.6
	@$(MAKE) --no-print-directory pytest VENV=.venv-0.3 LOCK=requirements/langchain-0.3.txt

test-all-pythons: ## run the tests on each Python of PYTHONS (3.12 3.13) that is installed
	@left_out=; \
	for version in $(PYTHONS); do \
	  found=; \
	  for python in "$$(command -v python$$version)" \
	      $$(ls -d "$$(pyenv root 2>/dev/null)/versions/$$version".*/bin/python 2>/dev/null | sort -rV); do \
	    if [ "$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$$version" ]; \
	    then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then left_out="$$left_out $$version"; continue; fi; \
	  echo "== Python $$version"; \
	  $(MAKE) --no-print-directory pytest PYTHON="$$found" VENV=.venv-$$version || exit 1; \
	done; \
	if [ -n "$$left_out" ]; then echo "left out, as not installed:$$left_out"; fi

pytest: $(READY) .venv-langgraph-server ## run the tests only (ARGS="-k token" for some of them)
	$(PYTEST) $(ARGS)

lint: $(READY) ## check style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy langchain_ldai cookbook $(wildcard tests/typing)

format: $(READY) ## format the code and repair what ruff can repair
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --python .uv/bin/python \
	--generate-hashes --no-header --no-annotate --upgrade
TESTED  = pyproject.toml --group pyproject.toml:test -c requirements/langchain-0.3.in

lock: $(UV_DONE) ## renew every lock file in requirements/
	echo uv | $(COMPILE) - -o requirements/uv.txt
	$(COMPILE) pyproject.toml --group pyproject.toml:dev -o requirements/dev.txt
	$(COMPILE) $(TESTED) -o requirements/langchain-0.3.txt
	$(COMPILE) pyproject.toml --all-extras --no-deps --resolution lowest-direct -o .uv/lowest.txt
	$(COMPILE) $(TESTED) -c .uv/lowest.txt -o requirements/lowest.txt
	$(COMPILE) pyproject.toml --group pyproject.toml:langgraph-server -o requirements/langgraph-server.txt
	$(COMPILE) pyproject.toml --group pyproject.toml:bench -c requirements/dev.txt -o requirements/bench.txt

clean: ## remove the environments, caches and build output
	rm -rf .uv .venv .venv-* .coverage* htmlcov build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "$(PYTHON) is $(or $(VERSION),not to be found); Python 3.11 or newer is needed: make PYTHON=/path/to/python3" >&2; \
	  exit 1; }

$(UV_DONE): requirements/uv.txt | check-python
	$(PYTHON) -m venv --clear .uv
	.uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@

# LangServe and the LangGraph server exclude each other's sse-starlette, so that the latter has an environment.
.venv-langgraph-server: | check-python
	@$(MAKE) --no-print-directory $@/.ready-$(VERSION) VENV=$@ LOCK=requirements/langgraph-server.txt BUILD=

$(READY): $(LOCK) pyproject.toml $(UV_DONE) | check-python
	$(PYTHON) -m venv --clear --without-pip $(VENV)
	$(UV) pip sync --quiet $(BUILD) --python $(BIN)/python --require-hashes $(LOCK)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
