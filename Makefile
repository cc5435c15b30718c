# LexLoop's commands; `make help` lists them. Every target sets up what it needs.
PYTHON ?= python3.11
ENV_DIR := $(or $(LEXLOOP_ENV_DIR),$(CURDIR)/var/env)
ORCHESTRATOR := $(ENV_DIR)/orchestrator/bin/python
ML := $(ENV_DIR)/ml/bin/python
ifndef PROFILE
PROFILE := $(or $(LEXLOOP_PROFILE),small)
endif
SOURCES ?=
ARGS ?=
export PYTHONPATH := $(CURDIR)
# The seat: its profile says where each step runs (plugins/places.py) and what no run may loosen (docs/settings.md).
export LEXLOOP_PROFILE ?= $(PROFILE)
# Airflow's database: empty for SQLite or what was chosen before, postgres for a server of our own (legal_tasks/postgres.py).
DB ?=
export LEXLOOP_DB ?= $(DB)

.DEFAULT_GOAL := help
GPU_PYTHON ?= $(ML)
.PHONY: help setup retrain test test-all check up stop status key rollback gc prepare cases bench faults gpu-check pins audit sbom licences

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: ## check the machine, build the three environments, see that nginx is there
	@$(PYTHON) -m legal_tasks.setup --nginx $(SETUP)

retrain up: SETUP := --ports
test-all: SETUP := --chromium

retrain: setup ## the whole monthly loop, ending with a model behind the gateway [PROFILE=small] [SOURCES=file.yaml] [ARGS=...]
	@$(ORCHESTRATOR) -m legal_tasks.retrain --profile $(PROFILE) $(if $(SOURCES),--sources $(SOURCES)) $(ARGS)

up: setup ## start Airflow, MLflow, the releaser and the gateway [DB=postgres for a team]
	@$(ORCHESTRATOR) -m legal_tasks.services up

stop: ## stop them all; no process and no port stays
	@if [ -x $(ORCHESTRATOR) ]; then $(ORCHESTRATOR) -m legal_tasks.services stop; else echo "nothing is set up"; fi

status: ## show the services
	@if [ -x $(ORCHESTRATOR) ]; then $(ORCHESTRATOR) -m legal_tasks.services status; else echo "nothing is set up"; fi

key: ## a new API key, printed alone and this once [NAME=who] [ARGS="--per-minute 600 --at-once 32"]
	@$(ORCHESTRATOR) -m legal_tasks.serving.keys add --name "$(or $(NAME),default)" $(ARGS)

rollback: setup ## put the previous model back in production
	@$(ORCHESTRATOR) -m legal_tasks.serving.rollback

gc: setup ## make room: artifacts, logs, databases; make gc ARGS=--dry-run only says what would go, with the bytes
	@$(ORCHESTRATOR) -m legal_tasks.gc $(ARGS)

prepare: setup ## the data phase alone: make prepare SOURCES=file.yaml OUT=folder [PREVIOUS=folder]
	@$(ML) -m legal_tasks.data.prepare --profile $(PROFILE) --sources $(SOURCES) --output $(OUT) $(if $(PREVIOUS),--previous $(PREVIOUS)) $(ARGS)

cases: setup ## small inputs with the right outcome: make cases DIR=folder; a line each, exit 1 where one fails
	@$(ML) -m legal_tasks.data.cases --profile $(PROFILE) "$(DIR)"

check: setup ## formatting, lint, types, DAGs; fixes nothing
	@$(ML) -m ruff format --check .
	@$(ML) -m ruff check .
	@$(ML) -m mypy

# Two files at a time: the loop's is half of it. One process: make test ARGS="-n 0".
test: setup ## the tests, one whole embedded loop among them
	@$(ML) -m pytest -m "not slow and not gpu" -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-all: setup ## the slow ones too
	@$(ML) -m pytest -m "not gpu" -q $(ARGS)

bench: setup ## benchmarks: make bench NAME=retrain; results in benchmarks/results/
	@$(ML) -m benchmarks.$(NAME)

faults: setup ## fault injections: make faults [NAME=data,...] [ID=D1,D4]; a line each
	@$(ML) -m tests.faults --name "$(NAME)" --ids "$(ID)"

pins: ## resolve every environment again and pin each package with its hashes
	@$(PYTHON) -m legal_tasks.pins write

audit: ## known faults of the pinned packages (needs a network)
	@$(PYTHON) -m legal_tasks.pins audit

sbom: ## a bill of materials (CycloneDX) of each environment, in var/sbom/
	@$(PYTHON) -m legal_tasks.pins sbom

licences: ## docs/dependencies.md: the licence of every package
	@$(PYTHON) -m legal_tasks.pins licences

gpu-check: ## on a card: LoRA, QLoRA and GPTQ of a random 7B, against TRL's defaults [GPU_PYTHON=an environment with CUDA]
	@$(GPU_PYTHON) -m benchmarks.gpu_training
	@$(GPU_PYTHON) -m benchmarks.gpu_compression
