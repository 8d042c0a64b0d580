"""What this machine is, and how much memory the process took."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("forgetctl", "torch", "transformers", "peft", "accelerate", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def describe() -> str:
    """Operating system, processor architecture, cores and accelerator, in a few words."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{gpu}"


def peak_memory(device: torch.device) -> int:
    """Highest memory so far in bytes: of the accelerator where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if (peak := _peak_since_start()) is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _peak_since_start() -> int | None:
    """As Linux tells it; what it gives as `ru_maxrss` may be of the process that started this one."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(line[1]) * 1024 if line else None
