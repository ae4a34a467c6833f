# OVN Pay: everything a developer types. Needs Python 3.11 or later and make; the rest is set up on first use.
#
#   make up ARGS=--detach      passes words on to `ovnpay up`
#   make test ARGS='-k ledger' passes words on to pytest
#   make up PYTHON=python3.12  says which Python makes .venv

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet
# Each is tried by running it: a version manager's shim may exist for a Python that isn't installed.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python3.14 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# A .venv of ours whose Python was removed since, or that was moved with the project, is made anew.
ifneq ($(wildcard $(RUNTIME)),)
ifneq ($(shell cat $(RUNTIME)) $(shell $(BIN)/python -c 'print("runs")' 2>/dev/null),$(CURDIR) runs)
$(shell rm -f $(RUNTIME) $(DEV) $(BIN)/python)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help up down status test bench lint types audit image-check manifests format lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r a b; do printf '%-14s %s\n' "$$a" "$$b"; done

up: $(RUNTIME) ## start the whole system on this machine; Ctrl-C stops it
	@exec $(BIN)/ovnpay up $(ARGS)

down: $(RUNTIME) ## stop the system
	@exec $(BIN)/ovnpay down

status: $(RUNTIME) ## show what runs, and whether it is ready
	@exec $(BIN)/ovnpay status $(ARGS)

test: $(DEV) ## run the tests, two files at a time (all but chaos and benchmarks, which take long)
	@exec $(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/chaos --ignore=tests/benchmarks $(ARGS)

bench: $(DEV) ## run the benchmarks, which print tables (ARGS=-k… for one of them)
	@exec $(BIN)/python -m pytest tests/benchmarks $(ARGS)

lint: $(DEV) ## check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(DEV) ## check types
	@$(BIN)/mypy

audit: $(DEV) ## audit the dependencies: pins, yanked releases, known vulnerabilities (ARGS=--strict)
	@$(BIN)/python .ci/audit $(ARGS)

image-check: $(DEV) ## carry out the image's build steps without Docker (ARGS=--twice: is it the same to the byte?)
	@$(BIN)/python .ci/image-check $(ARGS)

manifests: $(DEV) ## check Dockerfile, docker-compose.yml and the Kubernetes overlays (ARGS=--strict)
	@$(BIN)/python .ci/manifests $(ARGS)

format: $(DEV) ## format the code, and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(DEV) ## resolve the dependencies anew and pin them
	@$(BIN)/python .ci/lock

clean: ## remove the virtual environment, caches and build files (not the data in .ovnpay)
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo 'OVN Pay needs Python 3.11 or later, and no python3.13, python3.12, python3.11 or python3 here is one.' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo '$(PYTHON) has no venv module: install it (Debian and Ubuntu: apt install python3-venv).' >&2; exit 1; }
	@[ -x $(BIN)/python ] || { echo 'Making .venv with $(PYTHON)'; $(PYTHON) -m venv --clear $(VENV); }
	@echo 'Installing the pinned dependencies'
	@$(PIP_INSTALL) -r requirements.lock
	@$(PIP_INSTALL) --no-build-isolation --no-deps -e .
	@echo '$(CURDIR)' > $@

$(DEV): requirements-dev.lock requirements-tracing.lock $(RUNTIME)
	@echo 'Installing the pinned development tools'
	@$(PIP_INSTALL) -r requirements-tracing.lock -r requirements-dev.lock
	@touch $@
