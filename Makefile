# Two commands are the whole set-up: `make demo` and `make test`. Each installs what it needs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH_CONSTRAINTS ?= -c constraints.txt
OUT ?= demo
SEED ?= 0
TRAINING_SEED ?= 0
# Processes that tests run in; each may take 2.5 GB.
WORKERS ?= 2

.PHONY: demo test bench lint install firmware-tools gui-tools clean

install: $(VENV)/.installed

$(VENV)/.installed: Makefile pyproject.toml constraints.txt tools/system-packages.sh
	bash tools/system-packages.sh
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, this is " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_CONSTRAINTS) -e '.[dev,fast,onnx,logs,phone,scale]'
	touch $@

demo: install
	$(BIN)/mobilescope demo --out $(OUT) --seed $(SEED) --training-seed $(TRAINING_SEED)

firmware-tools:
	bash tools/system-packages.sh firmware

gui-tools: install
	bash tools/system-packages.sh gui
	[ -e /usr/bin/chromium ] || $(BIN)/python -m playwright install --with-deps chromium

test: install firmware-tools gui-tools lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/python firmware/generate.py --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install firmware-tools gui-tools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_CONSTRAINTS) -e '.[bench]'
	$(BIN)/python tests/benchmarks/run_all.py $(if $(QUICK),--quick)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
