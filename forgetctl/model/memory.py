"""What happens at the end of the memory: less at once where that helps, one line of words where it does not."""

from __future__ import annotations

import ctypes
import errno
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from ..errors import MemoryExceeded

Item = TypeVar("Item")
REFUSALS = (RuntimeError, MemoryError, OSError)
"""What the refusal of an allocator may be; `out_of_memory` tells whether it is one."""


def out_of_memory(error: Exception) -> bool:
    """Whether an allocator refused: torch's, of whatever device, Python's, or the kernel's when a file is mapped."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # It looks for words in the arguments, which are none in errors of torch's that carry an operator.
    return all(isinstance(part, str) for part in error.args) and bool(should_reduce_batch_size(error))


def give_back_freed() -> None:
    """Give the system the memory that was freed and that glibc, the only C library with a call for it, still keeps."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def in_halves(items: Sequence[Item], compute: Callable[[Sequence[Item]], None]) -> None:
    """`compute` all items at once or, where the memory does not suffice, their halves one after the other, each as the
    whole. What a refused attempt did is done again. Raises MemoryExceeded if a single item is too much.
    """
    try:
        compute(items)
        return
    except REFUSALS as error:
        if not out_of_memory(error):
            raise
    # Outside of the handler, whose traceback would keep alive what was computed so far.
    clear_device_cache(garbage_collection=True)
    if len(items) == 1:
        raise MemoryExceeded("a single row does not fit into the memory even alone")
    half = len(items) // 2
    in_halves(items[:half], compute)
    in_halves(items[half:], compute)


@contextmanager
def memory_within(device: torch.device, limit: int | None = None) -> Iterator[None]:
    """Raise MemoryExceeded for whatever an allocator refuses inside, and hold a GPU to `limit` bytes for this process.

    limit: None for all that is free. A processor's memory is held to nothing: a limit is planned for, elsewhere.
    """
    try:
        with _held(device, limit):
            yield
    except REFUSALS as error:
        if not out_of_memory(error):
            raise
        raise MemoryExceeded(f"there is too little free memory for this (device {device.type})") from None


@contextmanager
def _held(device: torch.device, limit: int | None) -> Iterator[None]:
    if limit is None or device.type != "cuda":
        yield
        return
    index = torch.cuda.current_device() if device.index is None else device.index
    before = torch.cuda.get_per_process_memory_fraction(index)
    there = torch.cuda.get_device_properties(index).total_memory
    torch.cuda.set_per_process_memory_fraction(min(before, limit / there), index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(before, index)
