# Two commands for a fresh machine with Python 3.11+, make and git: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help demo test lint bench docs dist sbom audit clean
help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(VENV)/.serving ## place simulated calls against a gateway and watch the alerts (CLIPS=folder of human voices)
	$(BIN)/python -m sim demo $(if $(CLIPS),--clips "$(CLIPS)")

test: $(VENV)/.all lint ## run all the tests, in two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

lint: $(VENV)/.all ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.all ## measure speed and capacity, each against a floor taken in the same run
	$(BIN)/python -m tests.benchmarks

docs: $(VENV)/.all ## build the documentation in site/, warnings are errors
	$(BIN)/python -m mkdocs build --strict --quiet

dist: $(VENV)/.release ## build the wheel and the source distribution in dist/, install the wheel into an empty environment and run it
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m tests.installed dist/*.whl

sbom: $(VENV)/.release ## list what an installation for serving holds, in dist/callscreen.cdx.json (CycloneDX)
	rm -rf build/serving && $(PYTHON) -m venv build/serving
	build/serving/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt .
	build/serving/bin/python -m pip uninstall --quiet --yes pip setuptools
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file dist/callscreen.cdx.json build/serving/bin/python

audit: $(VENV)/.release ## look every pinned version up in the advisory database; fails where one is unknown there
	$(BIN)/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

clean: ## remove the virtual environment
	rm -rf $(VENV)

# What serving and simulating need; no torch.
$(VENV)/.serving: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "callscreen needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

# Training and the tests on top.
$(VENV)/.all: $(VENV)/.serving
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev,docs,otel]'
	touch $@

# Building and checking a release.
$(VENV)/.release: $(VENV)/.serving
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[release]'
	touch $@
