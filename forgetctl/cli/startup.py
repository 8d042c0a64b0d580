"""What a command sets in its process before anything else: to start sooner, to stay offline, and to leave nothing
behind if it crashes."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NO_COMPILER = "TORCHDYNAMO_DISABLE"
"""torch's own switch: `torch.compile` gives back what it is given."""

OFFLINE = "HF_HUB_OFFLINE"
"""huggingface_hub's own switch, which it reads when it is imported: every request to a hub is an error."""
HUB_KERNELS = "kernels"
"""The package by which bitsandbytes and transformers fetch binary code from a hub and load it, where it is installed:
bitsandbytes whenever it is imported on a processor with AVX-512 BF16, transformers where a config asks for it."""


@contextmanager
def isolated(*, allow_download: bool) -> Iterator[None]:
    """While this lasts no library can reach a hub, unless a download is allowed, nor load code from one, ever."""
    missing = object()
    before, known = os.environ.get(OFFLINE), sys.modules.get(HUB_KERNELS, missing)
    sys.modules[HUB_KERNELS] = None  # type: ignore[assignment]  # Python's own way to make an import fail
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


PR_SET_DUMPABLE = 4
"""Of Linux's prctl(2)."""


def no_core_files() -> None:
    """Let no crash write this process's memory to a disk: it holds rows, answers and keys.

    The limit on core files goes on to every process that is started from here. Where the kernel hands cores to a
    program instead, that limit does not count: what keeps them from it is that the process is not dumpable. Nor can
    other processes of the same user then read its memory.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
