# make demo        a report to look at, from nothing but Python and make
# make test        everything that is checked before a change is accepted
# make bench       side-by-side measurements against other tools (long)
# make constraints writes down the versions that the environment holds now

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs

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

bench: $(VENV)/.test
	@test -d benchmarks || { echo "There is no folder benchmarks/ here."; exit 2; }
	$(BIN)/python -m benchmarks

constraints: $(VENV)/.test
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -e '^#' -e ' @ ' \
		| sed -E 's/\+cpu$$//' > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean:
	rm -rf $(VENV) build dist site

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps are rewritten when what is to be installed changes; otherwise nothing is.
$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable ".[test,docs]"
	touch $@ $(VENV)/.base
