"""Whoever imports and calls forgetctl finds the process as it was: what a command sets for itself is set by the command
line alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SETTINGS = """
import gc, hashlib, importlib, json, locale, logging, os, pickle, random, resource, signal, sys, threading, warnings

# What these change when they are imported is their affair.
import accelerate, bitsandbytes, huggingface_hub, numpy, peft, torch, transformers, transformers.trainer
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch.backends import cuda, cudnn, mkldnn

def digest(value):
    return hashlib.sha256(pickle.dumps(value)).hexdigest()

def umask():
    before = os.umask(0o022)
    os.umask(before)
    return oct(before)

def freed_memory_goes_back():
    # 256 MiB of which glibc, left alone, gives every page back at once.
    held = torch.ones(2**26)
    with open("/proc/self/statm") as file:
        full = int(file.read().split()[1])
    del held
    with open("/proc/self/statm") as file:
        return full - int(file.read().split()[1]) > 2**26 * 4 / 2 / resource.getpagesize()

def settings():
    return {
        "deterministic algorithms": torch.get_deterministic_debug_mode(),
        "fill uninitialized memory": torch.utils.deterministic.fill_uninitialized_memory,
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "gradients": torch.is_grad_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "autocast": [torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")],
        "attention kernels": [cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled(),
                              cuda.cudnn_sdp_enabled()],
        "cuBLAS": [cuda.matmul.allow_tf32, cuda.matmul.allow_fp16_reduced_precision_reduction,
                   cuda.matmul.allow_bf16_reduced_precision_reduction],
        "cuDNN": [cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32],
        "oneDNN": mkldnn.is_available() and mkldnn.flags.__name__,
        "random numbers": [digest(random.getstate()), digest(numpy.random.get_state()),
                           digest(torch.get_rng_state().numpy().tobytes())],
        "environment": dict(os.environ),
        "working directory": os.getcwd(),
        "garbage collection": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()],
        "freed memory goes back": freed_memory_goes_back(),
        "warnings": [str(rule) for rule in warnings.filters],
        "showing warnings": warnings.showwarning.__module__,
        "signals": {n: str(signal.getsignal(n)) for n in signal.valid_signals()},
        "timers": [signal.getitimer(signal.ITIMER_REAL), signal.getitimer(signal.ITIMER_VIRTUAL)],
        "threads alive": sorted(t.name for t in threading.enumerate()),
        "logging": {name: logging.getLogger(name).getEffectiveLevel() for name in
                    ("", "transformers", "bitsandbytes", "accelerate", "peft", "torch", "huggingface_hub")},
        "handlers": [len(logging.getLogger().handlers), logging.raiseExceptions, logging.root.manager.disable],
        "transformers": [transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()],
        "hub": [huggingface_hub.constants.HF_HUB_OFFLINE, huggingface_hub.utils.are_progress_bars_disabled(),
                "kernels" in sys.modules],
        "accelerate": [sorted(kind._shared_state) for kind in (PartialState, AcceleratorState, GradientState)],
        "process group": torch.distributed.is_initialized(),
        "umask": umask(),
        "limits": {n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith("RLIMIT_")},
        "locale": locale.setlocale(locale.LC_ALL),
        "hooks": [sys.excepthook.__module__, threading.excepthook.__module__, sys.displayhook.__module__],
        "limits of Python": [sys.getrecursionlimit(), sys.getswitchinterval(), sys.gettrace() is None],
    }
"""
WORK = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
folder, out = map(Path, sys.argv[1:])
settings()  # what looking changes, it changes once
before = settings()
import forgetctl
after_import = settings()

from forgetctl.model.encoding import encode_rows
from forgetctl.model.load import choose_device, inspect_model, load_encoder, load_model
from forgetctl.model.scoring import score
from forgetctl.rows.reading import read_rows
rows, facts = read_rows(folder / "requests.jsonl"), inspect_model(folder / "model")
model = load_model(facts.path, choose_device("auto"), torch.float32)
encoded, _ = encode_rows(load_encoder(facts, "{prompt}"), rows, folder / "requests.jsonl", facts.context, None)
assert all(value < 0 for value in score(model, encoded))
after_scoring = settings()

quick = ["epochs=1", "verify.samples=1", "verify.answer_tokens=4", "verify.sampled_rows=2"]
options = forgetctl.UnlearnOptions(
    model=str(folder / "model"), forget=folder / "requests.jsonl", retain=folder / "employees.jsonl", out=out / "run"
)
with ThreadPoolExecutor(1) as beside:  # as a service would
    run = beside.submit(forgetctl.run_unlearn, options, forgetctl.load_recipe(overrides=quick)).result()
after_training = settings()
forgetctl.resume_unlearn(run.path)
verdict = forgetctl.run_verify(
    forgetctl.VerifyOptions(run=run.path, references=(str(folder / "reference"),), deep=True, precisions=("bf16",))
)
assert verdict["verdict"]
after_verifying = settings()
forgetctl.run_report(run.path, "html")
after_report = settings()

def changed(after):
    return {name: [before[name], after[name]] for name in before if before[name] != after[name]}

print(json.dumps({
    "import": changed(after_import), "load and score": changed(after_scoring), "unlearn": changed(after_training),
    "resume and verify --deep": changed(after_verifying), "report": changed(after_report),
}))
"""


def environment() -> dict[str, str]:
    """Without what a command that ran in this process set there."""
    set_before = ("HF_HUB", "TRANSFORMERS", "TOKENIZERS", "CUBLAS", "ACCELERATE")
    return {"OMP_NUM_THREADS": "2"} | {k: v for k, v in os.environ.items() if not k.startswith((*set_before, "OMP_"))}


@pytest.fixture(scope="module")
def changed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What differs after each step of a program that uses forgetctl as a library, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", SETTINGS + WORK, str(world), str(tmp_path_factory.mktemp("library"))],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, object]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("step", ["import", "load and score", "unlearn", "resume and verify --deep", "report"])
def test_the_process_is_left_as_it_was(changed: dict[str, dict[str, object]], step: str) -> None:
    assert changed[step] == {}


COMMAND = """
import forgetctl.cli.process as process
before = settings()
process.no_core_files()
with process.isolated(allow_download=False), process.computing("cpu"):
    process.quiet_libraries()
after = settings()
print(json.dumps(sorted(name for name in before if before[name] != after[name])))
"""


def test_and_the_comparison_sees_what_a_command_sets() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS + COMMAND], capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 0, done.stderr
    seen = set(json.loads(done.stdout))
    assert {"attention kernels", "environment", "freed memory goes back", "warnings", "limits"} <= seen
