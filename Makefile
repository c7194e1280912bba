# install does nothing when done; every other target calls it first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
QUICK ?= runs/quick

PINNED := tests/runner/test_golden.py tests/runner/test_golden_defects.py tests/runner/test_variation.py \
	tests/generator tests/metrics tests/encoders tests/fusion tests/segmenters tests/classifiers tests/detectors

.PHONY: install demo experiments-quick test slow chaos docs-check kernels check bench

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "goodshot needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing goodshot and its pinned dependencies into $(VENV) (about three minutes, 6 GB) …"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# Peers of the tests, without their dependencies, of which the tests need nothing that is not there.
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --no-deps taming-transformers-rom1504 pycocotools ultralytics
	@touch $@

demo: install
	@$(BIN)/goodshot demo --out $(OUT)

# The quick flavour of every experiment: embedded weights and photographs, one store, a report each.
experiments-quick: install
	@for name in $$($(BIN)/goodshot studies --quick); do \
		echo "== $$name"; \
		$(BIN)/goodshot sweep $$name --quick --local --out $(QUICK)/$$name --store $(QUICK)/store || exit 1; \
	done

# Two processes, each with a Ray of its own for the modules that share one; `pytest` alone runs in one process.
test: install
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What takes minutes each: killed processes, several drivers, distributed training, peers.
slow: install
	@$(BIN)/python -m pytest -m 'slow or peer' --timeout=1800

# Seeded faults against a study on a cluster of processes; SEEDS=0-9 takes a quarter of an hour.
SEEDS ?= 0-9
chaos: install
	@$(BIN)/python -m tests.chaos --seeds $(SEEDS)

# Every command of docs/cluster.md, on loopback.
docs-check: install
	@$(BIN)/python -m pytest -m 'slow or not slow' --timeout=1800 tests/test_cluster_docs.py

# The tests that pin numbers, on the kernels of other CPUs than this one, and with other numbers of threads.
kernels: install
	@TEST_THREADS=2 $(BIN)/python -m pytest $(PINNED)
	@TEST_THREADS=3 $(BIN)/python -m pytest $(PINNED)
	@ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 $(BIN)/python -m pytest $(PINNED)
	@ONEDNN_MAX_CPU_ISA=AVX MKL_CBWR=COMPATIBLE $(BIN)/python -m pytest $(PINNED)

check: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

bench: install
	@$(BIN)/python -m benchmarks
