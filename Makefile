# Needs python3 (3.11 or later) and make, nothing else. `PYTHON=python3.12 make test` chooses another.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Named after the interpreter: another PYTHON makes another venv.
STAMP := $(VENV)/made-with-$(notdir $(PYTHON))

# Most tests wait for processes, so more run at once than there are cores.
# In the order of the files: those with few and long tests would come last, and run alone.
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help venv test check check-fast coverage release-check demo format fuzz faults soak \
	docs screenshots bench bench-all bench-quick bench-calls bench-growth

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

venv: $(STAMP)  ## make or refresh .venv

$(STAMP): pyproject.toml
	@test -e $@ || rm -rf $(VENV)
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install -q --disable-pip-version-check --editable '.[dashboard,embedded,reload]' --group dev
	@touch $@

test: $(STAMP)  ## everything CI runs: lint, format, types by two checkers, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	# The type checkers work while tests wait; what they say comes last.
	@$(BIN)/mypy >$(VENV)/mypy.log 2>&1 & mypy=$$!; \
	$(BIN)/pyright --warnings >$(VENV)/pyright.log 2>&1 & pyright=$$!; \
	$(BIN)/pytest $(PARALLEL); ended=$$?; \
	wait $$mypy || ended=1; wait $$pyright || ended=1; \
	cat $(VENV)/mypy.log $(VENV)/pyright.log; exit $$ended

check: test  ## the same as `make test`

check-fast: $(STAMP)  ## lint, types and the quick tests: under 90 s on 2 cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright --warnings
	$(BIN)/pytest -q $(PARALLEL) -m "not slow and not process"

coverage: $(STAMP)  ## all tests with branch coverage, children included
	$(BIN)/coverage erase
	@# A test that fails does not hide what the others cover.
	@$(BIN)/coverage run -m pytest $(PARALLEL); ended=$$?; \
	$(BIN)/coverage combine -q && $(BIN)/coverage report || ended=1; exit $$ended

release-check: $(STAMP)  ## build wheel and sdist, check both, use the wheel in an empty environment, list what it needs
	$(BIN)/python -m pip install -q --disable-pip-version-check --group release
	$(BIN)/python -m tests.release_check $(ARGS)

demo: $(STAMP)  ## run the example application
	$(BIN)/python -m examples.codestats

docs: $(STAMP)  ## build the documentation site into .site/html; a warning fails
	$(BIN)/python -m tests.site

screenshots: $(STAMP)  ## picture every page of the dashboard, light and dark, wide and narrow
	$(BIN)/python -m tests.dashboard.screenshots $(ARGS)

format: $(STAMP)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(STAMP)  ## compare random types and schemas; ARGS="--pairs 500000 --seed 1" is the nightly run
	$(BIN)/python -m tests.compat.fuzz $(ARGS)

faults: $(STAMP)  ## play every fault of the plan; ARGS="--seed 3" repeats a run
	$(BIN)/python -m tests.faults all $(ARGS)

soak: $(STAMP)  ## faults mixed at random for 30 minutes; ARGS="--seconds 60" is shorter
	$(BIN)/python -m tests.faults soak $(ARGS)

bench: $(STAMP)  ## compare typedq with floors, Celery, RQ and the fastest rivals; see docs/benchmarks.md
	$(BIN)/python -m benchmarks $(ARGS)

bench-all: $(STAMP)  ## the same with every rival that installs
	$(BIN)/python -m benchmarks --all $(ARGS)

bench-quick: $(STAMP)  ## compare typedq with the version before and the floor, in about a minute
	$(BIN)/python -m benchmarks --quick $(ARGS)

bench-calls: $(STAMP)  ## count the calls and files that one message passes through, time its steps
	$(BIN)/python -m benchmarks.call_path
	$(BIN)/python -m benchmarks.steps

bench-growth: $(STAMP)  ## measure how cost grows with backlogs, queues...; ARGS="--quick" is shorter
	$(BIN)/python -m benchmarks.growth $(ARGS)
