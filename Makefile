# Torchkeep's tasks. `make` alone lists them; each needs only Python 3.11, pip and make.

PYTHON         ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV           ?= .venv
# Arguments for installing torch, such as a wheel index for another CUDA version:
#   make up TORCH_PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
TORCH_PIP_ARGS ?=
TEST_ARGS      ?=
BENCH_ARGS     ?=
# Tests of one file share a process; a file that starts a server starts it once.
TEST_PROCESSES ?= -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input
# Gigabytes are not fetched in silence: on a terminal (make sets MAKE_TERMOUT) pip shows its bars.
QUIET  := $(if $(MAKE_TERMOUT),,-qq)
EXTRAS := serve,train,robustness,monitoring,gateway
CPU_HINT = No NVIDIA GPU is seen here: the CPU build of torch is a tenth of the size. Get it with TORCH_PIP_ARGS, as the head of the Makefile shows.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up down dev browser test test-training test-clients test-long bench-serve bench-monitoring lint types format constraints clean

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

up: $(VENV)/.installed ## Install, train and serve the screened model
	@$(BIN)/torchkeep up

down: ## Stop what `make up` started
	@if [ -x $(BIN)/torchkeep ]; then $(BIN)/torchkeep down; else echo 'Nothing is installed here, so nothing runs.'; fi

dev: $(VENV)/.installed-dev ## Install what the tests need, too

browser: ## Install the browser and h2load that some tests and benchmarks need (Debian, as root)
	@scripts/install-debian-packages

test: $(VENV)/.installed-dev ## Run all tests that take less than minutes
	@$(BIN)/python run-tests.py -m 'not long and not clients' $(TEST_PROCESSES) $(TEST_ARGS)

test-long: $(VENV)/.installed-dev ## Run the tests that take minutes or download much
	@$(BIN)/python run-tests.py -m long $(TEST_ARGS)

test-clients: $(VENV)/.installed-dev ## Run tritonclient, kserve and schemathesis against a real server
	@$(BIN)/python run-tests.py -m clients tests/clients $(TEST_ARGS)

test-training: $(VENV)/.installed-dev ## Run the tests of training alone: recipes, processes, checkpoints
	@$(BIN)/python run-tests.py -m 'not long' tests/training $(TEST_ARGS)

bench-serve: $(VENV)/.installed ## Measure serving beside TorchServe, LitServe and MLServer (needs h2load)
	@$(BIN)/python -m loadtests.benchmarks.serve --pip-arguments="$(TORCH_PIP_ARGS)" $(BENCH_ARGS)

bench-monitoring: $(VENV)/.installed-dev ## Measure the log store and drift beside Evidently and NannyML
	@$(BIN)/python -m loadtests.benchmarks.monitoring $(BENCH_ARGS)

lint: $(VENV)/.installed-dev ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## Check types
	@$(BIN)/mypy --strict
	@$(BIN)/mypy --strict run-tests.py $(wildcard scripts/*.py)

format: $(VENV)/.installed-dev ## Format the code and mend what can be mended safely
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

constraints: ## Pin anew what pip resolves today (after a change of pyproject.toml)
	@PYTHON='$(PYTHON)' TORCH_PIP_ARGS='$(TORCH_PIP_ARGS)' .ci/pin-constraints $(EXTRAS),loadtest,dev

clean: down ## Remove the environment and all caches; data, artifacts and logs stay in .torchkeep
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# A stamp is newer than pyproject.toml and constraints.txt when all they ask for is installed.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	@$(if $(TORCH_PIP_ARGS),,command -v nvidia-smi >/dev/null || echo '$(CPU_HINT)')
	@echo 'Installing torch (the first time takes minutes) ...'
	@$(PIP) $(QUIET) install -c constraints.txt $(TORCH_PIP_ARGS) torch
	@echo 'Installing torchkeep and its libraries ...'
	@$(PIP) $(QUIET) install -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo 'Installing the test tools ...'
	@$(PIP) -qq install -c constraints.txt -e '.[$(EXTRAS),loadtest,dev]'
	@touch $@

# Some systems leave ensurepip out of venv: then the pip that is there fills the environment.
# pip is the last thing to be put there, so a half-made environment is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	    { echo "Torchkeep needs Python 3.11, and '$(PYTHON)' is not one. Install it, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo 'Making $(VENV) with $(PYTHON) ...'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || \
	    { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	      $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --no-input -qq install pip; } || \
	    { rm -rf $(VENV); echo "'$(PYTHON)' can make no environment: it needs its venv module, and pip or ensurepip." >&2; exit 2; }
