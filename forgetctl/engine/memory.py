"""What happens at the end of the memory: less at once where that helps, one line of words where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def memory_within(device: torch.device, limit: int | None) -> Iterator[None]:
    """While this lasts a GPU gives this process no more than `limit` bytes; None for all. Elsewhere nothing is held to
    a limit: a processor's memory is planned for only.
    """
    if limit is None or device.type != "cuda":
        yield
        return
    before = torch.cuda.get_per_process_memory_fraction(device)
    there = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(before, limit / there), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(before, device)
