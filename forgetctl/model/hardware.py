"""What this machine is, how it is made to compute the same again, and how much memory the process took."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import resource
import sys
from importlib.metadata import version
from pathlib import Path

import torch

MMAP_MAX, TRIM_THRESHOLD = -4, -1
"""Names by which glibc's malloc.h calls its settings: how many blocks it gets from the system one by one, and how many
free bytes at the end of its heap it gives back; -1 for none."""
PACKAGES = ("forgetctl", "torch", "transformers", "peft", "accelerate", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def describe() -> str:
    """Operating system, processor architecture, cores and accelerator, in a few words."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{gpu}"


def settle_gpu() -> None:
    """Leave out cuDNN's attention, which takes milliseconds to plan for every new shape: hardly two parts of a step
    have the same."""
    torch.backends.cuda.enable_cudnn_sdp(False)


def keep_freed_memory() -> bool:
    """Let this process's C library keep what is freed, and say whether it does; only glibc can be told so.

    It would get every block of more than 32 MiB from the system and give it back, and the system empties each of its
    pages. Logits and gradients of embeddings are such blocks, in every part of a step.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(MMAP_MAX, 0) and library.mallopt(TRIM_THRESHOLD, -1))


def repeat_sums() -> None:
    """Let this process's GPUs add up in one order every time, so that a run can be repeated and resumed bit by bit.

    To be called before anything is computed. It does not reach attention in half precision.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads what was not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def peak_memory(device: torch.device) -> int:
    """Highest memory so far in bytes: of the accelerator where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if (found := _peak_since_start()) is not None:
        return found
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _peak_since_start() -> int | None:
    """As Linux tells it; what it gives as `ru_maxrss` may be of the process that started this one."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
