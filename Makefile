# Two commands for everyone: `make demo` shows what smoothcam does, `make test` checks that it does it.
# The rest: `make test-long` (proofs that take minutes), `make format`,
# `make schema` (after a change of the manifest), `make bench` (what speed costs; TORCH_PYTHON=... names a Python with torch-cam to compare with), `make applications` (the table in docs/applications.md), `make clean`.

VENV := .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)

RESULTS := tests/benchmarks/RESULTS.md

.PHONY: demo test test-long lint format schema bench applications clean

demo: $(VENV)/demo
	$(VENV)/bin/smoothcam explain sample_images --config configs/demo.yaml
	@echo
	@echo "Look at demo_out/sheet.jpg first: every sample photo beside its map."
	@echo "Then at demo_out/<photo>/: .overlay.png, .heatmap.png, .npy and manifest.json."

test: lint
	$(VENV)/bin/python -m pytest

test-long: $(VENV)/test
	$(VENV)/bin/python -m pytest -m "long or not long"

lint: $(VENV)/test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

schema: $(VENV)/test
	$(VENV)/bin/python -m cam_cli.runs.manifest > cam_cli/runs/manifest.schema.json

bench: SHELL := /bin/bash
bench: .SHELLFLAGS := -o pipefail -c
bench: $(VENV)/test
	$(VENV)/bin/python tests/benchmarks/bench.py $(if $(TORCH_PYTHON),--torch-python $(TORCH_PYTHON)) | tee $(RESULTS)
	$(VENV)/bin/python tests/benchmarks/scaling.py --png tests/benchmarks/scaling.png | tee -a $(RESULTS)

applications: $(VENV)/test
	$(VENV)/bin/python tests/benchmarks/applications.py

clean:
	rm -rf $(VENV) demo_out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "smoothcam needs Python 3.11, 3.12 or 3.13; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/test: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable ".[test]"
	$(VENV)/bin/python -m pip install --quiet --no-deps "xplique>=2.0"
	@touch $@ $(VENV)/demo
