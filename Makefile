# Everything happens in a virtual environment that the first command makes; Python >= 3.11 and make are all it needs.
#
#   VENV      where that environment is
#   PYTHON    the interpreter it is made with
#   VERSIONS  what `make test-all` looks for; EXCEPT, which of them it leaves out
#   ARGS      passed on to pytest, to the demo or to the benchmarks: `make test ARGS="-k mux"`

VENV     ?= .venv
VERSIONS ?= 3.11 3.12 3.13
EXCEPT   ?=
ARGS     ?=

# The first of the given interpreters that starts, is new enough and can make an environment.
PYENV := $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions
PROBE := import ensurepip, sys, venv; assert sys.version_info >= (3, 11); print(sys.executable)
find   = $(shell for p in $(1); do "$$p" -c '$(PROBE)' 2>/dev/null && break; done)
PYTHON ?= $(call find,python3 python python3.13 python3.12 python3.11 $(PYENV)/3.1[1-9]*/bin/python)

BIN := $(VENV)/bin

.PHONY: help demo test test-all check docs bench clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.demo ## learn rare digits from a balanced stream; the picture goes to build/
	$(BIN)/python docs/examples/balance_digits.py $(ARGS)

test: $(VENV)/.test ## the tests, on one Python
	$(BIN)/python -m pytest $(ARGS)

test-all: $(patsubst %,test-%,$(filter-out $(EXCEPT),$(VERSIONS))) ## the tests, on every supported Python found here

test-3.%: # an environment for each version, kept for the next time
	@python='$(call find,python3.$* $(PYENV)/3.$*.*/bin/python)'; \
	if [ -z "$$python" ]; then echo "Python 3.$*: not on this machine, skipped"; \
	else echo "Python 3.$*: $$python"; $(MAKE) --no-print-directory test VENV=.venv-3.$* PYTHON="$$python"; fi

check: $(VENV)/.check ## format, lint, types and docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH=$(abspath $(BIN)):$$PATH pyright
	PATH=$(abspath $(BIN)):$$PATH pyright --ignoreexternal --verifytypes pescador_fn
	$(MAKE) --no-print-directory docs

docs: $(VENV)/.docs ## the documentation, every example run, to docs/_build/html
	$(BIN)/python -m sphinx -E -q -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.bench ## the ratios against a bare loop and the peers, to docs/benchmarks.md
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove all that these commands made
	rm -rf .venv .venv-3.* build dist docs/_build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each extra: installed again only when pyproject.toml changes.
$(VENV)/.%: pyproject.toml | $(BIN)/python
	@echo "installing what \`$*\` needs into $(VENV)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[$*]'
	@touch $@

$(BIN)/python:
	@if [ -z '$(PYTHON)' ]; then echo 'no Python from 3.11 up was found; name one: make PYTHON=/path/to/python' >&2; exit 1; fi
	@'$(PYTHON)' -m venv $(VENV)
