# make check   a virtual environment, nodectl in it, and a check of the demo fleet (or of yours: make check HOSTS=inventory.yaml)
# make test    the tests          make lint    ruff, mypy and the layers          make bench    the benchmarks
PYTHON ?= python3
VENV ?= .venv
NODECTL := $(VENV)/bin/nodectl
HOSTS ?=
ARGS ?=

.PHONY: check test lint bench wheel screenshots clean
.DEFAULT_GOAL := check

check: $(VENV)/.nodectl
ifeq ($(HOSTS),)
	@$(NODECTL) check --demo $(ARGS); rc=$$?; [ $$rc -le 1 ] || exit $$rc   # 1: the demo fleet is broken on purpose
else
	@$(NODECTL) check --hosts '$(HOSTS)' $(ARGS)
endif

test: $(VENV)/.dev
	@$(VENV)/bin/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.dev
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/lint-imports

bench: $(VENV)/.dev
	@$(VENV)/bin/python tests/bench/run.py $(ARGS)

wheel: $(VENV)/.dev
	@$(VENV)/bin/python -m pip -q wheel --no-deps -w dist .

screenshots: $(VENV)/.dev
	@$(VENV)/bin/python tests/screenshots/make.py

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "nodectl needs Python 3.10 or newer: $(PYTHON) is not on the PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "nodectl needs Python 3.10 or newer: $$($(PYTHON) -V) is too old (make PYTHON=python3.12 ...)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "nodectl needs the venv module: apt install python3-venv (Debian, Ubuntu), or your distribution's package of it" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.nodectl: $(VENV)/bin/python pyproject.toml
	@echo "installing nodectl into $(VENV) (once) ..." >&2
	@$(VENV)/bin/python -m pip -q --disable-pip-version-check install -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	@echo "installing nodectl and its test tools into $(VENV) (once) ..." >&2
	@$(VENV)/bin/python -m pip -q --disable-pip-version-check install -e '.[dev]'
	@touch $@ $(VENV)/.nodectl
