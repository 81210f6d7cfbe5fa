# Windtunnel's commands. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

CLUSTER ?= dev
REGISTRY ?=
# What `make images` stands on; `debian` makes a base image here.
BASE ?= python:3.13-slim-trixie
SEED ?= 1
FAULTS ?= 100
PYTHON := .venv/bin/python
BIN := .venv/bin
SOURCES := platform/src tests dev dags
export PYTHONPATH := $(CURDIR)
# Set on some machines; then each of the many processes of the tests would compile all that it imports: thrice the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo down test venv lint format unit component conformance chart laptop cluster-test load chaos bench images cluster lock generate

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: venv ## The whole thread on a real cluster (CLUSTER=dev makes one here; CLUSTER=current REGISTRY=… VALUES=… uses yours)
	$(PYTHON) -m dev.demo --cluster $(CLUSTER) --registry "$(REGISTRY)"

down: ## End the cluster that `make demo` made; nothing is left running or mounted
	python3 dev/cluster/cluster.py down

test: lint unit component conformance chart laptop cluster-test ## Everything, from lint to the cluster

venv: ## Make .venv, the host's environment
	@dev/venv.sh

lint: venv ## Formatting, types, layers, shell scripts, Containerfiles
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	MYPYPATH=platform/src:. $(BIN)/mypy dev/demo dev/imaging dev/dashboards dev/images.py
	cd dev/cluster && ../../$(BIN)/mypy --strict *.py
	$(BIN)/lint-imports
	git ls-files -z '*.sh' .ci/run 'images/**/docker-entrypoint*' | xargs -0 $(BIN)/shellcheck
	git ls-files -z 'images/*/Containerfile' | xargs -0 $(BIN)/hadolint

format: venv ## Format the sources
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

unit: venv ## Unit and property tests
	$(PYTHON) -m pytest tests/unit -n auto

component: venv ## The parts on real Feast, MLflow, Redis and serving processes, and real clients
	dev/redis.sh
	dev/clients.sh
	dev/chromium.sh
	dev/promtool.sh
	$(PYTHON) -m pytest tests/component -n auto --dist loadfile

conformance: venv ## Both engines, asof and Spark, against the stated point-in-time semantics
	dev/redis.sh
	dev/java.sh
	$(PYTHON) -m pytest tests/conformance -n auto --dist loadfile

chart: venv ## The chart: rendering, schema, policies
	dev/promtool.sh
	$(PYTHON) dev/cluster/cluster.py build helm
	$(PYTHON) -m pytest tests/chart

laptop: venv ## The same stages without a cluster, and the documented commands
	$(PYTHON) -m pytest tests/laptop -n auto --dist loadfile

cluster-test: venv ## The thread and its faults on the real one-node cluster
	$(PYTHON) -m pytest tests/cluster

load: venv ## Swaps, drains, scaling, upgrades and bad challengers under load, at length (10 min, on the one-node cluster)
	$(PYTHON) -m pytest tests/cluster/test_load.py tests/cluster/test_bad_challengers.py --longer -s

chaos: venv ## FAULTS=100 seeded faults across rollouts, from SEED=1 on (an hour, on the one-node cluster)
	$(PYTHON) -m pytest tests/cluster/test_chaos.py --seed $(SEED) --faults $(FAULTS) -s

fuzz: venv ## 24,000 hostile requests to a serving process, and schemathesis (a slice is in `component`)
	dev/redis.sh
	dev/clients.sh
	$(PYTHON) -m tests.fuzz

bench: venv ## Measure against peers in the same run
	$(PYTHON) -m tests.bench

images: venv ## Build the images, and push them with REGISTRY=registry.example.com/team
	$(PYTHON) dev/images.py build --base $(BASE) $(if $(REGISTRY),--push --registry $(REGISTRY)) platform

cluster: venv ## Bring up the one-node cluster alone
	$(PYTHON) dev/cluster/cluster.py prepare
	$(PYTHON) dev/cluster/cluster.py up

lock: venv ## Resolve every lock file anew
	$(PYTHON) dev/images.py lock

generate: venv ## Write the files that are derived from the code (CRD, JSON schemas, dashboards)
	$(PYTHON) -m windtunnel.spec.schema > docs/lifecycle.schema.json
	$(PYTHON) -m windtunnel.spec.servedmodel_crd > charts/windtunnel/files/servedmodel-crd.yaml
	$(PYTHON) charts/values_schema.py > charts/windtunnel/values.schema.json
	$(PYTHON) -m dev.dashboards
