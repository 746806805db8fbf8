# make demo        a report to look at, from nothing but Python and make
# make test        everything that is checked before a change is accepted
# make bench       side-by-side measurements against other tools (long)
# make constraints writes down the versions that the environment holds now

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs
BENCH := .venv-bench

INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test bench constraints clean

demo: $(VENV)/.base
	$(BIN)/auditkit demo --out $(OUT)

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

bench: $(BENCH)/.bench
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 $(BENCH)/bin/python -W ignore -m benchmarks

constraints: $(VENV)/.test
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -e '^#' -e ' @ ' \
		| sed -E 's/\+cpu$$//' > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean:
	rm -rf $(VENV) $(BENCH) build dist site

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps are rewritten when what is to be installed changes; otherwise nothing is.
$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable ".[test,docs]"
	touch $@ $(VENV)/.base

# Peers want an older numpy than the tests' environment has, and one of them names a package that
# it does not use and that must not come in: see benchmarks/requirements.txt.
$(BENCH)/.bench: pyproject.toml benchmarks/requirements.txt benchmarks/requirements-apart.txt
	@test -d benchmarks || { echo "There is no folder benchmarks/ here."; exit 2; }
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt --editable .
	$(BENCH)/bin/python -m pip install --quiet --no-deps --requirement benchmarks/requirements-apart.txt
	touch $@
