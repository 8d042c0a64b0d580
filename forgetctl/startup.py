"""What a command can do to start sooner."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NO_COMPILER = "TORCHDYNAMO_DISABLE"
"""torch's own switch: `torch.compile` gives back what it is given."""


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
