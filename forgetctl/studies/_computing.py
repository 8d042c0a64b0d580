"""What the studies share about running small tensors: one thread, numbers for JSON, and fits of growth laws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: these matrices are too small to share, and on a busy machine waiting costs tenfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rounded(values: Tensor) -> Any:
    """A tensor as numbers of six significant digits, for JSON: a float, or lists as deep as it has dimensions."""
    if values.ndim == 0:
        return float(f"{values.item():.6g}")
    return [rounded(value) for value in values]


def least_squares(x: Tensor, y: Tensor) -> dict[str, float]:
    """Least squares of y = intercept + slope x, both (T,), and R^2, the share of y's variance that it explains."""
    x, y = x.double(), y.double()
    dx, dy = x - x.mean(), y - y.mean()
    slope = (dx @ dy) / (dx @ dx)
    residual = dy - slope * dx
    r2 = 1 - (residual @ residual) / (dy @ dy)
    return {"intercept": float(y.mean() - slope * x.mean()), "slope": float(slope), "r2": float(r2)}
