# Every command of the project. The first target lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON  ?= python3
VENV    := .venv
IN_VENV := $(VENV)/bin/python
STAMP   := $(VENV)/.installed

# What people give reaches a command through the environment, as it stands: neither make nor a shell
# reads it. flows/support/make.py makes arguments of it. An exported variable counts too.
GIVEN := CONFIG SET INPUT OUTPUT MODEL KEEP ON_MISSING POOL EXPERIMENT RUN RUNS OUT TO SIZE GROUPS YES
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)
CALL  := exec $(IN_VENV) -m flows.support.make

ADDABLE := cluster servers servers-test
ADDED   = $(patsubst $(VENV)/.installed-%,%,$(wildcard $(VENV)/.installed-*))

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(STAMP) $(patsubst %,$(VENV)/.installed-%,$(filter $(ADDABLE),$(GROUPS))) ## prepare .venv (other commands do so, too); GROUPS="cluster servers" adds more
	$(if $(filter-out $(ADDABLE),$(GROUPS)),$(error GROUPS must be some of: $(ADDABLE). Got: $(GROUPS)))

# What pyproject.toml asks for, at the versions of the lock. The lock serves as constraints and is
# not installed whole, so that torch's own metadata decides about CUDA packages.
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
	@echo "Adding what the group $* needs ..."
	@$(call pip_install,$*)
	@touch $@

run-pipeline: $(STAMP) ## run one experiment: CONFIG=configs/tutorial.yaml SET="training.epochs=500"
	@$(CALL) flows.pipeline CONFIG:-configs/tutorial.yaml SET...

describe: $(STAMP) ## a line a column of a table, before any training: CONFIG=configs/penguins.yaml SET="..."
	@$(CALL) flows.describe CONFIG:-configs/penguins.yaml SET...

sweep: $(STAMP) ## run many configurations: CONFIG=configs/sweep.yaml SET="sweep.trials=50"
	@$(CALL) flows.sweep CONFIG:-configs/sweep.yaml SET...

schedule: $(STAMP) ## retrain on a schedule until stopped: CONFIG=configs/retraining.yaml SET="..."
	@$(CALL) flows.schedule CONFIG:-configs/retraining.yaml SET...

predict: $(STAMP) ## predict rows of a file: INPUT=rows.csv OUTPUT=out.csv [MODEL=models:/NAME@champion] [KEEP=id] [ON_MISSING=null]
	@$(CALL) flows.predict INPUT OUTPUT --model=MODEL --keep=KEEP --on-missing=ON_MISSING

deploy: $(STAMP) ## hand a schedule to a Prefect work pool: POOL=name CONFIG=configs/retraining.yaml
	@$(CALL) flows.deploy POOL CONFIG:-configs/retraining.yaml SET...

compare: $(STAMP) ## what differs between runs, and what it did: [EXPERIMENT=name] [RUNS="id id"] [OUT=report.html]
	@$(CALL) flows.compare --experiment=EXPERIMENT --runs=RUNS... --out=OUT

serve-model: $(STAMP) ## answer REST requests on 127.0.0.1, until Ctrl-C: [MODEL=models:/NAME@champion]
	@$(CALL) flows.serve --model=MODEL

history: $(STAMP) ## which version of a registered model was live when, and why: [MODEL=name]
	@$(CALL) flows.history MODEL

rollback: $(STAMP) ## let an earlier version be champion: MODEL=name [TO=version]
	@$(CALL) flows.rollback MODEL --to=TO

ui: $(STAMP) ## open the MLflow and the Prefect UI on 127.0.0.1, until Ctrl-C
	@$(IN_VENV) -m flows.ui

resume: $(STAMP) ## go on with an interrupted run, in the same MLflow run: [RUN=id or name]
	@$(CALL) flows.resume RUN

test: $(STAMP) ## run the test suite
	@$(IN_VENV) -m pytest -q -n auto --maxprocesses 4 --dist loadfile -m "not slow and not long"

coverage: $(STAMP) ## the same tests, and the share of the lines that they run in their own processes
	@$(IN_VENV) -m pytest -q -n auto --maxprocesses 4 --dist loadfile -m "not slow and not long" \
	  --cov=plumbline --cov=tasks --cov=flows --cov-report=term:skip-covered

test-slow: $(STAMP) ## run the checks of the whole system: fresh clone, kills, schedules, memory
	@$(IN_VENV) -m pytest -q -n auto --maxprocesses 2 --dist loadfile -m slow

test-long: $(STAMP) ## run the checks that take minutes each: schedules under faults, Ray's nodes, shared servers, load
	@$(IN_VENV) -m pytest -q -m long

lint: $(STAMP) ## check style and types, and that the generated reference is up to date
	@$(IN_VENV) -m ruff check .
	@$(IN_VENV) -m mypy
	@$(IN_VENV) -m plumbline.config.reference | diff -u docs/configuration.md - || \
	  { echo "docs/configuration.md is out of date: make docs"; exit 1; }
	@$(IN_VENV) -m plumbline.config.json_schema | diff -u docs/configuration.schema.json - || \
	  { echo "docs/configuration.schema.json is out of date: make docs"; exit 1; }

docs: $(STAMP) ## write docs/configuration.md and the JSON Schema beside it, for editors
	@$(IN_VENV) -m plumbline.config.reference > docs/configuration.md
	@$(IN_VENV) -m plumbline.config.json_schema > docs/configuration.schema.json

bench: $(STAMP) ## print the figures of the README: SIZE=quick | small | full
	@$(CALL) benchmarks SIZE:-small...

GROUPED = $(addprefix --group ,dev cluster servers servers-test)
lock: $(STAMP) ## renew requirements.lock for all systems and Python versions
	@$(IN_VENV) -m uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-header \
	  --no-annotate --no-emit-index-url $(GROUPED) pyproject.toml -o requirements.lock

clean: ## remove .venv and caches; runs, models and Prefect's history stay
	@rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache benchmarks/data
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-cache: $(STAMP) ## delete what is kept of files that were read; the next run reads them once more
	@$(IN_VENV) -m flows.clean cache

clean-history: ## delete everything recorded here (mlflow.db, mlruns, .plumbline, .prefect), once you said yes: [YES=1]
	@$(PYTHON) -m flows.clean history

.PHONY: help install run-pipeline describe sweep schedule deploy compare predict resume serve-model history rollback ui test coverage test-slow test-long lint docs bench lock clean clean-cache clean-history
