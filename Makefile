# `make demo` and `make test` are all most people need; both work in a fresh clone.
#
#   make demo PYTHON=python3.12     another interpreter (after `make clean`, if there is a .venv already)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Plots are written to files, on machines with and without a screen.
export MPLBACKEND = Agg
# The tests have a process per core. Numba would have PyTorch use all of them again once it has drawn a UMAP.
test: export OMP_NUM_THREADS = 1
test: export NUMBA_NUM_THREADS = 1
# Links to other projects' documentation need the network; set to 0 to have them.
export SCMICHIGAN_DOCS_OFFLINE ?= 1

# An install is redone when one of these changes.
PINS := pyproject.toml $(wildcard constraints/*.txt)

# $(call install,EXTRAS) installs this checkout with the versions we tested, where this Python has a list of them.
# With extras or without, the package itself is installed after it.
define install
	@echo "Installing scmichigan$(1) into $(VENV) (the first time takes minutes) ..."
	@set -e; \
	pins=constraints/py$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt; \
	if [ -f "$$pins" ]; then set -- -c "$$pins"; else set --; fi; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$@" -e '.$(1)'
	@touch $@ $(VENV)/.installed
endef

# What depends on the packages that come in newer versions with Python 3.12; predictions are arithmetic on top of it, and
# long trainings say no more than short ones.
ELSEWHERE := $(patsubst %,tests/model/test_%.py,bad_combinations benchmark doses gan_family generated_counts \
	latent_recovery missing prediction)
NEXT_TESTS := tests/test_versions.py tests/module tests/train tests/pl tests/metrics/test_cells.py \
	$(filter-out $(ELSEWHERE),$(wildcard tests/model/test_*.py))

.PHONY: demo test test-next docs clean

demo: $(VENV)/.installed
	$(BIN)/python -m scmichigan demo

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test-next:
	.ci/next $(NEXT_TESTS)

docs: $(VENV)/.installed-doc
	$(BIN)/python -m sphinx -W --keep-going docs docs/_build/html
	@ls docs/_build/html/_images/*.png >/dev/null || { echo "the tutorials have no plots" >&2; exit 1; }

clean:
	rm -rf $(VENV) .venv-3.12 build dist docs/_build docs/generated .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "scmichigan needs Python >= 3.11, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments; install its venv module (Debian, Ubuntu: python3-venv)." >&2; \
		exit 1; }

# The interpreter is order-only: pip touches the folder it lies in, which is no reason to install again.
$(VENV)/.installed: $(PINS) | $(BIN)/python
	$(call install,)

$(VENV)/.installed-test: $(PINS) | $(BIN)/python
	$(call install,[test])

$(VENV)/.installed-doc: $(PINS) | $(BIN)/python
	$(call install,[doc])
