# make demo: the main job on invented data.  make test: all tests but the long ones.  make studies: the paper's studies in full.
# make study-tofu: the paper's section 5 on a small model, hours on two cores; can be stopped and continued (docs/tofu.md).
# make calibrate: how often the verdict is right.  make browser: the report in Chromium (needs it, node and npm).
# make bench: time and memory beside a textbook implementation.  make bench-gpu: the same questions for 1B and 7B models.
# make test-gpu: what a GPU computes against a processor; skipped without one.
# make architectures: every causal architecture of transformers, built tiny, against plain transformers.
# make faults: commands really killed and disks really full.  make distributed: two processes against one.
# make privacy: request text searched for in all that is written, and many commands at once.
# make docs: docs/ as a site in build/docs, links checked.
# make real: a real 135M model learns TOFU and LUME, kept in FORGETCTL_REAL (~/.cache/forgetctl-real); an hour, resumable.
# make fuzz: ten minutes of hostile input for every reader (FUZZ_SECONDS=600).  make hostile: 2 GB files, every command.
# make quick: the tests that start no process and train nothing, three minutes: for whoever changes code.
# Each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo quick test studies study-tofu calibrate browser bench bench-gpu test-gpu architectures faults distributed privacy fuzz hostile real docs lint clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed
	rm -rf forgetctl-demo
	$(BIN)/forgetctl demo --out forgetctl-demo

test: .venv/installed
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile --durations=20

quick: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' --quick -n 2 -r fE --durations=10

studies: .venv/installed
	$(BIN)/python -m pytest -m slow tests/studies

MINI := ../shared/tofu-mini
TOFU := ../shared/tofu
STUDY := studies/tofu
REFERENCE = OMP_NUM_THREADS=1 $(BIN)/forgetctl reference --base $(MINI)/base --retain $(MINI)/train.jsonl \
	--learning-rate 1e-3 --epochs 12 --warmup-epochs 0
UNLEARN = OMP_NUM_THREADS=1 $(BIN)/forgetctl study tofu --model $(MINI)/full --data $(TOFU) --retain $(MINI)/train.jsonl \
	--references $(STUDY)/references --reference 05=$(MINI)/retrain05 --recipe paper/tofu-mini --seeds 3 \
	--holdout $(MINI)/holdout.jsonl --questions 200 --kept-questions 50 --every 2 --workers 2
PLAIN := ga,ga-rt,ga-kl,idk-rt,dpo,dpo-rt,dpo-kl,kto,kto-rt,npo,npo-rt,npo-kl,simnpo-rt
LEVELS := ga-rt+level,npo-rt+level,simnpo-rt+level

# forget10 has twice the steps an epoch, so the plain methods get half of the epochs there.
study-tofu: .venv/installed
	@if [ ! -d $(MINI) ]; then echo "study-tofu is skipped: it needs the models and data of $(MINI) and $(TOFU)"; else set -ex; \
	$(REFERENCE) --without $(TOFU)/forget01.json --out $(STUDY)/references/forget01; \
	$(REFERENCE) --without $(TOFU)/forget10.json --out $(STUDY)/references/forget10; \
	$(UNLEARN) --methods $(PLAIN) --splits 10 --set epochs=5 --out $(STUDY) --quiet; \
	$(UNLEARN) --methods $(LEVELS) --splits 10,05,01 --out $(STUDY)/levels --quiet; \
	$(UNLEARN) --methods $(PLAIN) --splits 05,01 --retain-weights 0,1,2,3,4,5 --out $(STUDY); fi

calibrate: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/forgetctl study person --out studies
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

test-gpu: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/gpu

architectures: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/architectures

distributed: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/distributed

privacy: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/privacy

FUZZ_SECONDS ?= 600

.venv/fuzzer: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	touch $@

fuzz: .venv/fuzzer
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

real: .venv/installed
	$(BIN)/python -m tests.real

hostile: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/hostile

.venv/docs: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

docs: .venv/docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky -b html -d build/docs-cache docs build/docs
	@echo "build/docs/index.html"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.audit_dependencies

clean:
	rm -rf .venv .browser .fuzz forgetctl-demo studies bench.json dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
