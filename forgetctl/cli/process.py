"""Everything that a command sets for its whole process, and nothing else of forgetctl sets: as a library it leaves its
host's process alone.

- at once: no core files
- around every command: SIGTERM ends it as Ctrl-C does, libraries are quiet, no hub is reached
- around the import of torch: no garbage collection and no compiler; then the allocator, cuDNN and cuBLAS are set up
- in processes that a command starts: the same

What a run needs in order to be repeated and resumed exactly is no setting of the process: see `model.host`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

NO_COMPILER = "TORCHDYNAMO_DISABLE"
"""torch's own switch: `torch.compile` gives back what it is given."""

OFFLINE = "HF_HUB_OFFLINE"
"""huggingface_hub's own switch, which it reads when it is imported: every request to a hub is an error."""
HUB_KERNELS = "kernels"
"""The package by which bitsandbytes and transformers fetch binary code from a hub and load it, where it is installed:
bitsandbytes whenever it is imported on a processor with AVX-512 BF16, transformers where a config asks for it."""

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS's own switch, which is read once: with a fixed workspace it adds up in one order every time."""

PR_SET_DUMPABLE = 4
"""Of Linux's prctl(2)."""
MMAP_MAX, TRIM_THRESHOLD = -4, -1
"""Names by which glibc's malloc.h calls its settings: how many blocks it gets from the system one by one, and how many
free bytes at the end of its heap it gives back; -1 for none."""


def no_core_files() -> None:
    """Let no crash write this process's memory to a disk: it holds rows, answers and keys.

    The limit on core files goes on to every process that is started from here. Where the kernel hands cores to a
    program instead, that limit does not count: what keeps them from it is that the process is not dumpable. Nor can
    other processes of the same user then read its memory.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


@contextmanager
def terminable() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C: what a command holds is let go, and it says that it was stopped."""

    def stop(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def quiet_libraries(*, verbose: bool = False) -> None:
    """Keep library chatter and telemetry out; must come before they are imported. verbose: let them warn."""
    import logging  # which costs `--help` a tenth of its time, and nothing has to be quiet there

    level = "warning" if verbose else "error"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", level)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(level.upper())
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel("ERROR")  # misses the package that it cannot have
    if not verbose:
        warnings.simplefilter("ignore", FutureWarning)  # addressed to whoever maintains the libraries
        # peft writes embeddings beside an adapter on them, in checkpoints that go when the run is done.
        warnings.filterwarnings("ignore", "Setting `save_embedding_layers`", UserWarning)


@contextmanager
def isolated(*, allow_download: bool) -> Iterator[None]:
    """While this lasts no library can reach a hub, unless a download is allowed, nor load code from one, ever."""
    missing = object()
    before, known = os.environ.get(OFFLINE), sys.modules.get(HUB_KERNELS, missing)
    _refuse_hub_kernels()
    if not allow_download:
        _set_offline("1")
    try:
        yield
    finally:
        if known is missing:
            del sys.modules[HUB_KERNELS]
        else:
            sys.modules[HUB_KERNELS] = known  # type: ignore[assignment]
        if not allow_download:
            _set_offline(before)


def _refuse_hub_kernels() -> None:
    sys.modules[HUB_KERNELS] = None  # type: ignore[assignment]  # Python's own way to make an import fail


def _set_offline(value: str | None) -> None:
    """Also where huggingface_hub was imported before."""
    if value is None:
        os.environ.pop(OFFLINE, None)
    else:
        os.environ[OFFLINE] = value
    if constants := sys.modules.get("huggingface_hub.constants"):
        setattr(constants, OFFLINE, (value or "").upper() in {"1", "ON", "YES", "TRUE"})


def launched() -> bool:
    """Whether a launcher started several processes, which agree on what is wrong before one of them says it."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import torch and transformers in two thirds of the time: no looking for garbage meanwhile, and no compiler.

    Nearly everything that is imported stays until the end, so the collector finds nothing, over and over. And peft
    imports bitsandbytes, which gives to `torch.compile` what stands in for kernels that it has for every processor and
    GPU of ours; that alone loads all of the compiler. Where torch is there already nothing is changed: the process is
    somebody else's, too.
    """
    if "torch" in sys.modules:
        yield
        return
    undecided = NO_COMPILER not in os.environ
    os.environ.setdefault(NO_COMPILER, "1")
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()  # nor need it be looked through later, or at the end of the process
        if undecided:
            del os.environ[NO_COMPILER]


@contextmanager
def computing(device: str = "auto") -> Iterator[None]:
    """`quick_imports` of what computes with models, and then torch and the allocator set up for it.

    device: as the command was given it.
    """
    os.environ.setdefault(WORKSPACE, ":4096:8")
    with quick_imports():
        yield
    if "torch" in sys.modules:
        _set_up_torch(device)


def _set_up_torch(device: str) -> None:
    import torch

    # cuDNN's attention takes milliseconds to plan for every new shape: hardly two parts of a step have the same.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if device == "cpu" or (device == "auto" and torch.accelerator.current_accelerator() is None):
        keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let this process's C library keep what is freed, and say whether it does; only glibc knows how.

    It would get every block of more than 32 MiB from the system and give it back, and the system empties each of its
    pages. Logits and gradients of embeddings are such blocks, in every part of a step.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(MMAP_MAX, 0) and library.mallopt(TRIM_THRESHOLD, -1))


def set_up_worker(device: str, *, verbose: bool) -> None:
    """Set up a process that a command started, for as long as it lives. What is in its environment it has already."""
    no_core_files()
    quiet_libraries(verbose=verbose)
    _refuse_hub_kernels()
    with computing(device):
        import torch  # noqa: F401
