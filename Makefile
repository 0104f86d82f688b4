# Two commands do all set-up on a bare machine with Python 3.11 and make: `make quick` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/quick
STUDY ?= all
# What makes releases has an environment of its own: torchattacks wants an old `requests`.
RELEASE := .venv-release
SITE := .venv-docs

.PHONY: help quick test slow lint types layers tests format clean dist sbom matrix docs

help:
	@echo "make quick   environment, then a small complete study; ends with the path of a report page"
	@echo "make test    environment, then lint, types, import layers and tests"
	@echo "make slow    environment, then the tests that take long: run them, too, before you deliver"
	@echo "make docs    an environment of its own, then the documentation site in site/, refused if a link or a docstring is missing"
	@echo "make format  mend what ruff can mend"
	@echo "make matrix  a part of the tests on each Python that is here, on the oldest and on the newest dependencies"
	@echo "make dist    sdist and wheel, checked; the wheel in an empty environment, and its quick study"
	@echo "make sbom    after dist: bill of materials, licences, known vulnerabilities"
	@echo "make clean   remove the environments"

quick: $(VENV)/.installed
	$(BIN)/groundglass run all --recipe quick --out $(OUT)

# Types and layers keep one core each busy for a while, and the tests begin with what waits (tests/conftest.py).
test: lint
	@$(MAKE) --no-print-directory -j 3 types layers tests

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

# The many Pythons that tests start find compiled what those before them have loaded, whatever the environment says.
tests: $(VENV)/.installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -m "not slow"

slow: $(VENV)/.installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -m slow

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "groundglass needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[studies]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed constraints-dev.txt
	$(BIN)/python -m pip install --quiet --constraint constraints-dev.txt --editable '.[dev]'
	@touch $@

$(RELEASE)/.installed: release/requirements.txt
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --requirement release/requirements.txt
	@touch $@

# torchattacks, in the developers' environment, takes no `requests` that the site's theme takes.
$(SITE)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: $(SITE)/.installed
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --quiet --strict
	@echo site/index.html

matrix: $(RELEASE)/.installed
	$(RELEASE)/bin/nox

dist: $(RELEASE)/.installed
	$(RELEASE)/bin/python release/dist.py build
	$(RELEASE)/bin/python release/dist.py try --study $(STUDY)

sbom: $(RELEASE)/.installed
	$(RELEASE)/bin/python release/dist.py list

clean:
	rm -rf $(VENV) $(RELEASE) $(SITE) site .nox build dist
