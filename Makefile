# Everything a person or a pipeline does with a checkout. `make` alone, or `make help`, lists it.
#
# Nothing is installed twice: a stamp file stands for each environment and is older than the pins only if those changed.
# Nothing calls sudo: real guests, their bridges and missing Debian packages need root, so say `sudo make start`.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
CLIENTS := .venv-clients
JUDGES := .venv-conformance
FUZZER := .venv-fuzz
PEER := .venv-nova
BIN := $(VENV)/bin
KILONOVA := $(BIN)/kilonova
INSTALL := --disable-pip-version-check --quiet --only-binary :all:

# What real guests run on, and what the tests' private servers are.
HYPERVISOR_PACKAGES := qemu-system-x86 qemu-utils genisoimage
SERVER_PACKAGES := rabbitmq-server mariadb-server
TEST_PACKAGES := $(HYPERVISOR_PACKAGES) $(SERVER_PACKAGES) postgresql
TEST_SECONDS ?= 2400
START ?=
TESTS ?=
CHAOS ?=
SEEDS ?= 1000
CONFORMANCE ?=
BENCH_NOVA ?=

.PHONY: help start start-distributed stop status test test-quick check chaos sim bench bench-nova install clients guest format clean
.PHONY: conformance judges fuzz fuzzer hypervisor servers test-packages

help: ## list every command with a sentence
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

start: install clients hypervisor ## start the cloud in the background, with a first server and how it came to be
	@$(KILONOVA) start --links . $(START)

start-distributed: install clients hypervisor servers ## the same with a process for each service, on a private RabbitMQ and MariaDB
	@$(KILONOVA) start --links . --distributed $(START)

stop: install ## end the cloud and its guests; the next start brings the servers back
	@$(KILONOVA) stop

status: install ## show services, hosts and servers
	@$(KILONOVA) status || true

test: install clients test-packages guest ## run all tests: real guests, real brokers and databases, real clients
	@timeout --signal=INT $(TEST_SECONDS) $(BIN)/pytest -q $(TESTS)

test-quick: install ## run the tests that need no root and no servers
	@timeout --signal=INT $(TEST_SECONDS) $(BIN)/pytest -q -m "not real and not distributed and not slow" $(TESTS)

check: install ## look for mistakes without running anything: lint, format, types, architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/architecture

chaos: install servers hypervisor guest ## kill or freeze every service, broker and database in turn, in the middle of a burst (about twenty minutes; CHAOS="--help")
	@$(BIN)/python -m tests.chaos $(CHAOS)
	@$(BIN)/python -m tests.chaos --rolling
	@if [ "$$(id -u)" = 0 ]; then $(BIN)/python -m tests.chaos --guests; else echo "no chaos with real guests: that needs root"; fi

sim: install ## simulate many clouds in which all goes wrong, on all cores: make sim SEEDS=100000
	@$(KILONOVA) simulate --seeds $(SEEDS)

conformance: install judges ## judge the Compute API by Nova's schemas, Tempest and the clients' own tests; writes docs/conformance.md
	@$(BIN)/python -m tests.conformance all $(CONFORMANCE)

fuzz: install fuzzer ## send thousands of requests made out of our OpenAPI document, as three people (about ten minutes)
	@$(BIN)/python -m tests.conformance fuzz --seconds 600

bench: install servers ## measure what README and docs state as numbers (about eight minutes)
	@for bench in start servers "servers --distributed" bus api scheduler; do $(BIN)/python -m bench.$$bench || exit 1; done

bench-nova: install servers ## measure real Nova and Placement beside ours, in the same run (about ten minutes; BENCH_NOVA="--help")
	@$(BIN)/python -m bench.beside_nova $(BENCH_NOVA)

install: $(VENV)/installed ## install Kilonova and its tools into .venv, with pinned versions

clients: $(CLIENTS)/installed ## install the OpenStack clients into .venv-clients, apart from ours

judges: $(JUDGES)/installed ## install the released Nova, Tempest and the clients' own tests into .venv-conformance

fuzzer: $(FUZZER)/installed ## install schemathesis into .venv-fuzz

guest: install ## build the small test guest's disk image out of Debian packages (root)
	@if [ "$$(id -u)" = 0 ]; then $(KILONOVA) guest build; else echo "the test guest is not built: that needs root"; fi

format: install ## bring all code into the one format
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

clean: ## remove what can be made again: environments, caches, the guest's build (not .state)
	@rm -rf $(VENV) $(CLIENTS) $(JUDGES) $(FUZZER) $(PEER) guest/build .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what is behind them --------------------------------------------------------------------------------------

$(VENV)/installed: pyproject.toml constraints.txt
	@./tools/python-environment $(VENV)
	@echo "Installing Kilonova into $(VENV) …"
	@$(BIN)/pip install $(INSTALL) -c constraints.txt setuptools wheel
	@$(BIN)/pip install $(INSTALL) -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

$(CLIENTS)/installed: constraints-clients.txt
	@./tools/python-environment $(CLIENTS)
	@echo "Installing the OpenStack clients into $(CLIENTS) …"
	@$(CLIENTS)/bin/pip install $(INSTALL) -c constraints-clients.txt python-openstackclient python-novaclient osc-placement
	@touch $@

# What judges us: Nova's own schemas, Tempest, and the functional tests that the clients' packages bring along.
$(JUDGES)/installed: constraints-conformance.txt
	@./tools/python-environment $(JUDGES)
	@echo "Installing Nova, Tempest and the clients into $(JUDGES) …"
	@$(JUDGES)/bin/pip install $(INSTALL) -c constraints-conformance.txt \
		nova tempest openstacksdk python-openstackclient python-novaclient oslotest requests-mock ddt
	@touch $@

$(FUZZER)/installed: constraints-fuzz.txt
	@./tools/python-environment $(FUZZER)
	@echo "Installing schemathesis into $(FUZZER) …"
	@$(FUZZER)/bin/pip install $(INSTALL) -c constraints-fuzz.txt schemathesis
	@touch $@

# Without root the cloud still serves, with imitated hosts; `kilonova start` says what is missing.
hypervisor: install
	@./tools/debian-packages $(BIN)/python $(HYPERVISOR_PACKAGES) || true

servers: install
	@./tools/debian-packages $(BIN)/python $(SERVER_PACKAGES)

test-packages: install
	@./tools/debian-packages $(BIN)/python $(TEST_PACKAGES) || true
