# Two commands on a fresh Debian 12, as root: `make demo` and `make test`. Both do all set-up.

SHELL := /bin/bash
PY := .venv/bin/python

# Decision code without I/O: every branch of it is covered by its own tests.
PURE := documents dockerapi http1 policy config abi.py model.py errors.py
PURE_PATHS := $(wildcard $(addprefix agent/sockwarden/,$(PURE)))
comma := ,
empty :=
space := $(empty) $(empty)
PURE_INCLUDE := $(subst $(space),$(comma),$(foreach path,$(PURE_PATHS),$(if $(filter %.py,$(path)),$(path),$(path)/*)))
BPF_SOURCES = $(shell find bpf tests/vm -name '*.c' -o -name '*.h')
SHELL_SOURCES = packaging/dev/setup.sh packaging/dev/setup-vm.sh tests/vm/boot/init tests/vm/guest/init \
	tests/vm/guest/systemd-init .ci/run

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format unit integration vm bench-vm bpf docs bench clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## system packages, .venv, BPF objects; quick when nothing changed (root, Debian 12)
	@packaging/dev/setup.sh

demo: setup ## the main job: a throw-away engine, sockwarden in front, the documented transcripts
	@.venv/bin/sockwarden demo

test: setup lint unit integration ## set-up, linters and every test that this machine can run
	@echo 'test: everything passed'

lint: setup ## ruff, mypy (strict), clang-format, shellcheck
	@echo 'lint: ruff, mypy, clang-format, shellcheck'
	@.venv/bin/ruff check --quiet agent tests bench packaging
	@.venv/bin/ruff format --quiet --check agent tests bench packaging
	@.venv/bin/mypy --no-error-summary
	@$(if $(BPF_SOURCES),clang-format --dry-run -Werror $(BPF_SOURCES),true)
	@shellcheck $(SHELL_SOURCES)

format: setup ## let ruff and clang-format rewrite the sources
	@.venv/bin/ruff check --quiet --fix agent tests bench packaging
	@.venv/bin/ruff format --quiet agent tests bench packaging
	@$(if $(BPF_SOURCES),clang-format -i $(BPF_SOURCES),true)

unit: setup ## unit and property tests, with full branch coverage of the pure packages
	@$(PY) -m coverage erase
	@$(PY) -m coverage run --branch -m pytest -q tests/unit tests/property
	@$(PY) -m coverage report --include='$(PURE_INCLUDE)' --skip-covered --show-missing --fail-under=100

integration: setup ## tests with a real engine, a real registry and the real docker CLI (root)
	@$(PY) -m pytest -q --ignore=tests/unit --ignore=tests/property tests

vm: setup ## the kernel guard on stock Debian kernels in emulated machines (ROW=NAME for one, JOBS=N at once)
	@packaging/dev/setup-vm.sh
	@$(PY) -m tests.vm.run $(if $(ROW),--row $(ROW)) $(if $(JOBS),--jobs $(JOBS))

bench-vm: setup ## what the kernel guard costs on stock kernels: a connect(), a start, memory
	@packaging/dev/setup-vm.sh
	@$(PY) -m tests.vm.bench

bpf: setup ## build the BPF objects
	@$(MAKE) -s -C bpf

docs: setup ## write the man pages, the completion and the reference pages that come from the code
	@$(PY) packaging/man/generate.py

bench: setup ## latency and throughput as ratios against a direct connection and HAProxy
	@$(MAKE) -s -C bench $(if $(shell command -v cc),,CC=clang)

clean: ## remove what was built; the set-up stays
	@rm -rf build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find agent tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ -f bpf/Makefile ]; then $(MAKE) -s -C bpf clean; fi
