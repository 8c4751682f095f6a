# `make demo` and `make test` set up everything that they need by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SIDE_BY_SIDE := --numprocesses auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-wheel gpu-check check format studies clean

help:  ## list what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[compile,datasets,search,tensorboard,dev]'
	@touch $(READY)

demo: $(READY)  ## compile, measure, judge and report a real model: scikit-learn's digits
	$(BIN)/edgecc run examples/digits

test: $(READY)  ## every test, a file on each core
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-wheel: $(READY)  ## the tests that need no TensorFlow, against the built wheel, installed without extras
	rm -rf dist build
	$(BIN)/python -m build --quiet --wheel --outdir dist .
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl pytest hypothesis jsonschema onnx 'litert-quantizer<0.12' moocore optuna tomli-w docker paramiko pytest-xdist
	cd tests && ../build/wheel-venv/bin/python -m pytest $(SIDE_BY_SIDE) -c ../pyproject.toml --rootdir=.. -m "not tf and not dev and not docker and not qemu and not ssh and not gpu" .

gpu-check: $(READY)  ## the tests that need an NVIDIA GPU, with the times they measured; fails without one
	EDGECC_REQUIRE=gpu $(BIN)/python -m pytest -s -m gpu tests/end_to_end/test_gpu.py

check: $(READY)  ## lint, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PATH="$(BIN):$$PATH" $(BIN)/lint-imports

format: $(READY)  ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

studies: $(READY)  ## edgecc's own figures on this machine: many hours, most of them training
	for study in benchmarks/studies/*.py; do $(BIN)/python $$study || exit 1; done

clean:  ## remove what was installed and built
	rm -rf $(VENV) build dist src/*.egg-info examples/*/build examples/*/results examples/*/report examples/*/release examples/*/.edgecc
