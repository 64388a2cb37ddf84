# Needs make and Python 3.11 or newer, nothing else: everything here runs in a .venv of its own, as uv.lock says.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

bin  := $(VENV)/bin
sync  = UV_PROJECT_ENVIRONMENT=$(abspath $(VENV)) $(bin)/uv sync --quiet --frozen --python $(bin)/python

# An environment of the user's own would be emptied: ours is known by what we put there.
stamps := .dev .demo bin/uv
refuse_others = @test ! -e $(VENV) $(foreach stamp,$(stamps),-o -e $(VENV)/$(stamp)) || { echo 'the folder $(VENV) is not ours; name another: make $(or $(MAKECMDGOALS),demo) VENV=.venv-gello (or, if it is a broken one of ours: rm -r $(VENV))' >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help demo check format test bench growth lock clean

help:  ## show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1	\2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.demo$(if $(BROKER),-servers)  ## see Gello at work: a small mailer; BROKER=postgresql, mariadb or redis takes a server
	$(bin)/python -m examples.mailer $(if $(BROKER),--broker $(BROKER))

check: $(VENV)/.dev  ## format, lint, types and floors; changes nothing
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy
	$(bin)/pyright --pythonpath $(bin)/python
	$(bin)/lint-imports --no-logo

format: $(VENV)/.dev  ## put the code into shape
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

test: $(VENV)/.dev  ## all tests, with coverage; ARGS="tests/test_worker.py -k stop" runs some, without
	$(bin)/pytest -n 2 $(if $(ARGS),$(ARGS),--cov)

bench: $(VENV)/.dev  ## measure throughput and latency
	$(bin)/python -m benchmarks $(ARGS)

growth: $(VENV)/.dev  ## measure large backlogs, many queues and many processes
	$(bin)/python -m benchmarks.growth $(ARGS)

lock: $(bin)/uv  ## write uv.lock again after a change in pyproject.toml; ARGS=--upgrade takes the newest of all
	$(bin)/uv lock --python $(bin)/python $(ARGS)

clean:  ## remove everything that make and the tools made
	$(refuse_others)
	rm -rf $(VENV) .coverage .coverage.* htmlcov dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# The stamps: an environment is brought up to date only when pyproject.toml or uv.lock has changed.
# The demo's holds what a user installs and a mail server, so that it starts soon and proves that this is enough.

$(VENV)/.demo: $(bin)/uv pyproject.toml uv.lock
	$(sync) --no-default-groups --group demo --inexact
	@touch $@

$(VENV)/.demo-servers: $(VENV)/.demo
	$(sync) --no-default-groups --group demo --all-extras --inexact
	@touch $@

$(VENV)/.dev: $(bin)/uv pyproject.toml uv.lock
	$(sync) --all-extras
	@touch $@ $(VENV)/.demo $(VENV)/.demo-servers

$(bin)/uv:
	@$(PYTHON) -c 'import sys; sys.exit("Gello needs Python 3.11 or newer, but $(PYTHON) is %d.%d. Name another: make PYTHON=python3.13" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(refuse_others)
	$(PYTHON) -m venv --clear $(VENV)
	$(bin)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<1'
