# The commands of OVN Pay. Needs Python 3.11 or later and make; the rest is set up on first use.
#
#   make up ARGS=--detach       arguments for `ovnpay up`
#   make test ARGS='-k ledger'  arguments for pytest
#   make bench ONLY=B1,B4       only these benchmarks; QUICK=1 in small, PROFILE=1 with profiles
#   make up PYTHON=python3.12   the Python that creates .venv

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
BENCH := $(VENV)/.bench-installed
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet
# Each is run to try it: a version manager's shim may exist for a Python that isn't installed.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python3.14 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# A .venv whose Python was removed, or that was moved with the project, is created anew.
ifneq ($(wildcard $(RUNTIME)),)
ifneq ($(shell cat $(RUNTIME)) $(shell $(BIN)/python -c 'print("runs")' 2>/dev/null),$(CURDIR) runs)
$(shell rm -f $(RUNTIME) $(DEV) $(BENCH) $(BIN)/python)
endif
endif

EXAMPLES ?= 500

.DEFAULT_GOAL := help
.PHONY: help up down status test test-long model bench rolling outages pooler chaos chaos-many chaos-controls lint types audit alerts \
	dashboards image-check manifests format lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r a b; do printf '%-20s %s\n' "$$a" "$$b"; done

up: $(RUNTIME) ## start the whole system on this machine; Ctrl-C stops it
	@exec $(BIN)/ovnpay up $(ARGS)

down: $(RUNTIME) ## stop the system
	@exec $(BIN)/ovnpay down

status: $(RUNTIME) ## show the processes and whether they are ready
	@exec $(BIN)/ovnpay status $(ARGS)

# Two processes; the tests that share a running system stay in one of them (tests/conftest.py).
PYTEST_PARALLEL := $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder \
	--ignore=tests/benchmarks --ignore=tests/pooler --ignore=tests/chaos/long

test: $(DEV) ## run the tests of every change, about 6 minutes
	@exec $(PYTEST_PARALLEL) -m 'not long' $(ARGS)

test-long: $(DEV) ## run the tests that take minutes each: crashes, restarts, restore, chaos, fuzzing
	@exec $(PYTEST_PARALLEL) -m long $(ARGS)

model: $(DEV) ## compare the domain with its model on random examples (EXAMPLES=500, ARGS=--hypothesis-seed=…)
	@OVNPAY_TEST_MODEL_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/integration/test_model.py -k says $(ARGS)

bench: $(BENCH) ## run the benchmarks beside their yardsticks (ARGS=--list prints them)
	@exec $(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(if $(PROFILE),--profile) $(ARGS)

rolling: $(DEV) ## restart every process ten times under load, and print the failures that clients saw
	@OVNPAY_TEST_ROUNDS=10 exec $(BIN)/python -m pytest tests/acceptance/test_rolling_restart.py $(ARGS)

outages: $(DEV) ## stop Redis for a minute, then Postgres, then fill its disk (the last needs root)
	@OVNPAY_TEST_OUTAGE_SECONDS=60 exec $(BIN)/python -m pytest tests/acceptance/test_outages.py $(ARGS)

pooler: $(DEV) ## run the system behind PgBouncer in transaction mode (needs pgbouncer: apt install pgbouncer)
	@exec $(BIN)/python -m pytest tests/pooler $(ARGS)

# SEED selects the plan, SECONDS its duration; SEEDS is the number of plans, from SEED on.
chaos: $(DEV) ## inject faults under load by a seeded plan, and check that no payout is lost or paid twice (SEED=7 SECONDS=60)
	@exec $(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --seconds $(or $(SECONDS),60) $(ARGS)

chaos-many: $(DEV) ## run chaos for 20 seeds, and print one table (SEEDS=20 SECONDS=30)
	@exec $(BIN)/python -m tests.chaos --quiet --seed $(or $(SEED),1) --seeds $(or $(SEEDS),20) --seconds $(or $(SECONDS),30) $(ARGS)

chaos-controls: $(DEV) ## disable each safeguard in turn: chaos has to find a violation within 5 seeds
	@exec $(BIN)/python -m tests.chaos --quiet --controls --seed $(or $(SEED),1) --seconds $(or $(SECONDS),30) $(ARGS)

lint: $(DEV) ## check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(DEV) ## check types
	@$(BIN)/mypy

audit: $(DEV) ## audit the dependencies: pins, yanked releases, known vulnerabilities (ARGS=--strict)
	@$(BIN)/python -m deploy.checks.audit $(ARGS)

alerts: $(DEV) ## check the Prometheus rules, and run their tests (ARGS=--strict)
	@$(BIN)/python -m deploy.checks.alerts $(ARGS)

dashboards: $(DEV) ## run the queries of every dashboard panel on the running system under load
	@$(BIN)/python -m deploy.checks.dashboards $(ARGS)

image-check: $(DEV) ## run the build steps of the image without Docker (ARGS=--twice: compare two builds)
	@$(BIN)/python -m deploy.checks.image $(ARGS)

manifests: $(DEV) ## check Dockerfile, docker-compose.yml and the Kubernetes overlays (ARGS=--strict)
	@$(BIN)/python -m deploy.checks.manifests $(ARGS)

format: $(DEV) ## format the code, and apply automatic fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(DEV) ## resolve the dependencies, and pin them
	@$(BIN)/python -m deploy.checks.lock

clean: ## remove the virtual environment, caches and build files (not the data in .ovnpay)
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo 'OVN Pay needs Python 3.11 or later, and found none of python3.13, python3.12, python3.11 and python3.' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo '$(PYTHON) has no venv module: install it (Debian and Ubuntu: apt install python3-venv).' >&2; exit 1; }
	@[ -x $(BIN)/python ] || { echo 'Creating .venv with $(PYTHON)'; $(PYTHON) -m venv --clear $(VENV); }
	@echo 'Installing the pinned dependencies'
	@$(PIP_INSTALL) -r requirements.lock
	@$(PIP_INSTALL) --no-build-isolation --no-deps -e .
	@echo '$(CURDIR)' > $@

$(DEV): requirements-dev.lock requirements-tracing.lock $(RUNTIME)
	@echo 'Installing the pinned development tools'
	@$(PIP_INSTALL) -r requirements-tracing.lock -r requirements-dev.lock
	@touch $@

$(BENCH): requirements-bench.lock $(DEV)
	@echo 'Installing the pinned packages of the benchmarks'
	@$(PIP_INSTALL) -r requirements-bench.lock
	@touch $@
