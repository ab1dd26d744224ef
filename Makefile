# Everything runs in .venv, which is made on first use and refreshed when the requirements change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo examples test slow mutants check format docs docs-pages bench

help:
	@echo "make demo    norms of a small trained network"
	@echo "make examples   the files that the commands of the README read"
	@echo "make test    the fast tests"
	@echo "make slow    the slow tests"
	@echo "make mutants small wrong changes to the code, each of which a test must catch; ONLY=pattern chooses"
	@echo "make check   ruff and mypy"
	@echo "make format  ruff, fixing what it can"
	@echo "make docs    the site of the docs, in site/"
	@echo "make docs-pages   the reference pages that come from the code"
	@echo "make bench   the benchmarks, an hour on an idle machine"
	@echo "PYTHON=python3.12 make ...   chooses the interpreter (3.11 or newer)"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pathlift needs Python 3.11 or newer: set PYTHON")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit,cluster,cpu,export,plot,test,docs]'
	@touch $@

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/pathlift norm examples/digits.onnx --q 1,2 --per-layer

examples: $(STAMP)
	$(BIN)/python examples/make_files.py

# Workers are as many as cores: threads of their own would only wait for each other.
test slow: export OMP_NUM_THREADS = 1

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow"

# Exit code 5 is pytest's "no tests were found".
slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m slow || test $$? -eq 5

mutants: $(STAMP)
	$(BIN)/python tests/mutants/run.py "$(ONLY)"

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The variable keeps an announcement of the theme's out of the log.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

docs-pages: $(STAMP)
	$(BIN)/python docs/generate.py

bench: $(STAMP)
	$(BIN)/python -m benchmarks.path_norm
	$(BIN)/python -m benchmarks.path_norm_loss
	$(BIN)/python -m benchmarks.rewrite_cost
	$(BIN)/python -m benchmarks.pruning_after_rescaling
	$(BIN)/python -m benchmarks.pruning
	$(BIN)/python -m benchmarks.quantization_after_canonicalize
	$(BIN)/python -m benchmarks.compare
	$(BIN)/python -m benchmarks.structured_pruning
	$(BIN)/python -m benchmarks.pruning_cost
	$(BIN)/python -m benchmarks.max_kernel
	$(BIN)/python -m benchmarks.ks_cpu
	$(BIN)/python -m benchmarks.ks_cost_model
	$(BIN)/python -m benchmarks.muon_on_quadratics
	$(BIN)/python -m benchmarks.ica_from_cumulants
	$(BIN)/python -m benchmarks.support_before_frequency
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.calibration
