# Two commands matter: `make demo` and `make test`. Each sets up a virtual environment in .venv first.
PYTHON ?= python3.11
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-all lint format docs notebook wheel audit clean

help: ## show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

demo: .venv/.installed ## train EBMM on glyphs, compare it with other memories, write a report (3 minutes on 2 cores)
	$(BIN)/lightning-ebm compare configs/demo.yaml

test: .venv/.installed-dev ## test every mechanism (5 minutes)
	$(PYTEST) -m "not slow"

test-slow: .venv/.installed-dev ## the exhaustive rest: every member, many kills, fuzzing, a browser, real data sets
	$(PYTEST) -m slow

test-all: test test-slow ## both

lint: .venv/.installed-dev ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed-dev ## format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: .venv/.installed-docs ## build the documentation in site/
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

notebook: .venv/.installed-docs ## run docs/tutorial.ipynb again
	OMP_NUM_THREADS=1 $(BIN)/jupyter nbconvert --to notebook --execute --inplace docs/tutorial.ipynb

wheel: .venv/.installed-dev ## build the wheel and the source archive in dist/
	$(BIN)/python -m build

audit: .venv/.installed-audit ## look the pinned versions up in the database of vulnerabilities
	$(BIN)/pip-audit --strict -r constraints.txt --no-deps --disable-pip

clean: ## remove the environment and all runs
	rm -rf .venv runs site dist build

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv/.installed-docs: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

.venv/.installed-audit:
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet 'pip-audit>=2.9'
	@touch $@
