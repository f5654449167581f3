# The commands of the project. `make help` (or just `make`) lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON  ?= python3
VENV    := .venv
IN_VENV := $(VENV)/bin/python
STAMP   := $(VENV)/.installed

# Variables reach a command through the environment, unchanged: neither make nor a shell expands
# their values. flows/support/make.py turns them into arguments. Variables that are already exported
# count as well.
GIVEN := CONFIG SET INPUT OUTPUT MODEL KEEP ON_MISSING POOL EXPERIMENT RUN RUNS OUT TO SIZE GROUPS YES
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)
CALL  := exec $(IN_VENV) -m flows.support.make

ADDABLE := cluster servers servers-test
ADDED   = $(patsubst $(VENV)/.installed-%,%,$(wildcard $(VENV)/.installed-*))

help: ## list these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(STAMP) $(patsubst %,$(VENV)/.installed-%,$(filter $(ADDABLE),$(GROUPS))) ## create .venv and install the dependencies (other commands do so if needed); optional ones: GROUPS="cluster servers"
	$(if $(filter-out $(ADDABLE),$(GROUPS)),$(error GROUPS must be some of: $(ADDABLE). Got: $(GROUPS)))

# Installs the dependencies in pyproject.toml at the locked versions. The lock file only constrains
# versions and is not installed as a whole, so that torch's metadata decides about CUDA packages.
define pip_install
$(IN_VENV) -c 'import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb")); print(*p["project"]["dependencies"], *(each for group in sys.argv[1:] for each in p["dependency-groups"][group]), sep="\n")' dev $(1) > $(VENV)/wanted.txt
@$(IN_VENV) -m pip install --quiet --disable-pip-version-check -c requirements.lock -r $(VENV)/wanted.txt
endef

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "Preparing $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(call pip_install,$(ADDED))
	@touch $@

$(VENV)/.installed-%: $(STAMP)
	@echo "Installing the dependencies of the group $* ..."
	@$(call pip_install,$*)
	@touch $@

run-pipeline: $(STAMP) ## train and record one experiment: [CONFIG=configs/tutorial.yaml] [SET="training.epochs=500"]
	@$(CALL) flows.pipeline CONFIG:-configs/tutorial.yaml SET...

describe: $(STAMP) ## show what each column of a table holds and how it would be used: [CONFIG=configs/penguins.yaml] [SET="..."]
	@$(CALL) flows.describe CONFIG:-configs/penguins.yaml SET...

sweep: $(STAMP) ## try many configurations (hyperparameter search): [CONFIG=configs/sweep.yaml] [SET="sweep.trials=50"]
	@$(CALL) flows.sweep CONFIG:-configs/sweep.yaml SET...

schedule: $(STAMP) ## retrain on a schedule on this machine, until Ctrl-C: [CONFIG=configs/retraining.yaml] [SET="..."]
	@$(CALL) flows.schedule CONFIG:-configs/retraining.yaml SET...

predict: $(STAMP) ## predict every row of a file: INPUT=rows.csv OUTPUT=out.csv [MODEL=models:/NAME@champion] [KEEP=id] [ON_MISSING=null]
	@$(CALL) flows.predict INPUT OUTPUT --model=MODEL --keep=KEEP --on-missing=ON_MISSING

deploy: $(STAMP) ## deploy a retraining schedule to a Prefect work pool: POOL=name [CONFIG=configs/retraining.yaml] [SET="..."]
	@$(CALL) flows.deploy POOL CONFIG:-configs/retraining.yaml SET...

compare: $(STAMP) ## compare the parameters and metrics of runs: [EXPERIMENT=name] [RUNS="id id"] [OUT=report.html]
	@$(CALL) flows.compare --experiment=EXPERIMENT --runs=RUNS... --out=OUT

serve-model: $(STAMP) ## serve a trained model over REST on 127.0.0.1, until Ctrl-C: [MODEL=models:/NAME@champion]
	@$(CALL) flows.serve --model=MODEL

history: $(STAMP) ## show which version of a registered model was live when, and why: [MODEL=name]
	@$(CALL) flows.history MODEL

rollback: $(STAMP) ## make an earlier version of a registered model the champion again: MODEL=name [TO=version]
	@$(CALL) flows.rollback MODEL --to=TO

ui: $(STAMP) ## start the MLflow UI and the Prefect UI on 127.0.0.1, until Ctrl-C
	@$(IN_VENV) -m flows.ui

resume: $(STAMP) ## resume an interrupted run, in the same MLflow run: [RUN=id or name; default: the newest]
	@$(CALL) flows.resume RUN

test: $(STAMP) ## run the fast tests
	@$(IN_VENV) -m pytest -q -n auto --maxprocesses 4 --dist loadfile -m "not slow and not long"

coverage: $(STAMP) ## run the fast tests and report line coverage (of the test processes only)
	@$(IN_VENV) -m pytest -q -n auto --maxprocesses 4 --dist loadfile -m "not slow and not long" \
	  --cov=plumbline --cov=tasks --cov=flows --cov-report=term:skip-covered

test-slow: $(STAMP) ## run the tests of the whole system: fresh clone, killed processes, schedules, memory
	@$(IN_VENV) -m pytest -q -n auto --maxprocesses 2 --dist loadfile -m slow

test-long: $(STAMP) ## run the tests that take minutes each: schedules under faults, Ray clusters, shared servers, load
	@$(IN_VENV) -m pytest -q -m long

lint: $(STAMP) ## check style, types, and that the generated docs are up to date
	@$(IN_VENV) -m ruff check .
	@$(IN_VENV) -m mypy
	@$(IN_VENV) -m plumbline.config.reference | diff -u docs/configuration.md - || \
	  { echo "docs/configuration.md is out of date: make docs"; exit 1; }
	@$(IN_VENV) -m plumbline.config.json_schema | diff -u docs/configuration.schema.json - || \
	  { echo "docs/configuration.schema.json is out of date: make docs"; exit 1; }

docs: $(STAMP) ## regenerate docs/configuration.md and its JSON Schema, which editors can use
	@$(IN_VENV) -m plumbline.config.reference > docs/configuration.md
	@$(IN_VENV) -m plumbline.config.json_schema > docs/configuration.schema.json

bench: $(STAMP) ## run the benchmarks whose results the README shows: [SIZE=quick | small | full]
	@$(CALL) benchmarks SIZE:-small...

GROUPED = $(addprefix --group ,dev cluster servers servers-test)
lock: $(STAMP) ## upgrade the locked versions of all dependencies (requirements.lock)
	@$(IN_VENV) -m uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-header \
	  --no-annotate --no-emit-index-url $(GROUPED) pyproject.toml -o requirements.lock

clean: ## delete .venv and tool caches; runs, models and Prefect's history stay
	@rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache benchmarks/data
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-cache: $(STAMP) ## delete the cached summaries of data files; the next run reads its files again
	@$(IN_VENV) -m flows.clean cache

clean-history: ## delete everything recorded here (mlflow.db, mlruns, .plumbline, .prefect), after asking: [YES=1 does not ask]
	@$(PYTHON) -m flows.clean history

.PHONY: help install run-pipeline describe sweep schedule deploy compare predict resume serve-model history rollback ui test coverage test-slow test-long lint docs bench lock clean clean-cache clean-history
