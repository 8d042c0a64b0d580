# make demo: the main job on invented data.  make test: all quick tests.  make studies: the paper's studies in full.
# make calibrate: how often the verdict is right.  make browser: the report in Chromium (needs it, node and npm).
# make bench: time and memory beside a textbook implementation.  make bench-gpu: the same questions for 1B and 7B models.
# make faults: commands really killed and disks really full.  make distributed: two processes against one.
# make fuzz: ten minutes of hostile input for every reader (FUZZ_SECONDS=600).  make hostile: 2 GB files, every command.
# Each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test studies calibrate browser bench bench-gpu faults distributed fuzz hostile lint clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed
	rm -rf forgetctl-demo
	$(BIN)/forgetctl demo --out forgetctl-demo

test: .venv/installed
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile

studies: .venv/installed
	$(BIN)/python -m pytest -m slow tests/studies

calibrate: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/forgetctl study calibration --out studies
	$(BIN)/python -m pytest -m slow -s tests/calibration

.browser/installed:
	npm install --silent --no-fund --no-audit --prefix .browser axe-core@4.14.1 playwright-core@1.65.1
	touch $@

browser: .venv/installed .browser/installed
	$(BIN)/python -m pytest tests/browser

bench: .venv/installed
	$(BIN)/python -m tests.bench --out bench.json

bench-gpu: .venv/installed
	$(BIN)/python -m tests.bench.gpu

faults: .venv/installed
	$(BIN)/python -m tests.faults
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults

distributed: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/distributed

FUZZ_SECONDS ?= 600

.venv/fuzzer: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	touch $@

fuzz: .venv/fuzzer
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

hostile: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/hostile

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .browser .fuzz forgetctl-demo studies bench.json dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
