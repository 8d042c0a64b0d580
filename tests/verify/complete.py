"""Rows that hold everything any objective may need, and ways to take it away again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import replace

import torch
from torch import Tensor

from forgetctl.losses.methods import Need, Rows

TOKENS = [3, 1, 4, 1, 5, 9]
VOCABULARY, WIDTH = 7, 5
FIELDS: dict[Need, tuple[str, ...]] = {
    "start": ("start_logp",),
    "alternative": ("alternative",),
    "kl": ("kl",),
    "mismatched": ("mismatched_ratio",),
    "logits": ("logits", "targets"),
    "start_logits": ("start_logits",),
    "hidden": ("hidden", "direction"),
    "start_hidden": ("start_hidden",),
    "level": ("level",),
}
PER_TOKEN = ("logits", "start_logits", "targets", "hidden", "start_hidden")
PER_ROW = ("start_logp", "kl", "level")


def tensor(values: list[float] | list[list[float]]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rows(logp: Tensor, tokens: list[float] | None = None, start: Tensor | None = None) -> Rows:
    """The rows of a whole batch."""
    counts = tensor(tokens) if tokens else torch.ones_like(logp)
    size = {"batch_rows": float(len(logp)), "batch_tokens": float(counts.sum())}
    return Rows(logp=logp, tokens=counts, start_logp=start, **size)


def tokens_only(logits: list[list[float]], targets: list[int], **more: Tensor) -> Rows:
    """Rows for a loss that sees tokens: one token a row."""
    count = len(logits)
    ones = torch.ones(count, dtype=torch.float64)
    there = tensor([0.0] * count)
    size = {"logp": there, "tokens": ones, "batch_rows": count, "batch_tokens": count}
    return Rows(**size, logits=tensor(logits), targets=torch.tensor(targets), **more)  # type: ignore[arg-type]


def complete(seed: int = 0) -> Rows:
    """Six rows of random float64 values that hold everything."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    n, t = len(TOKENS), sum(TOKENS)
    counts = tensor([float(count) for count in TOKENS])
    other = tensor([2.0, 2.0, 3.0, 5.0, 1.0, 4.0])
    return Rows(
        logp=-20 * normal(n).abs(),
        tokens=counts,
        batch_rows=float(n),
        batch_tokens=float(t),
        start_logp=-20 * normal(n).abs(),
        kl=normal(n).square(),
        alternative=Rows(
            logp=-9 * normal(n).abs(),
            tokens=other,
            batch_rows=float(n),
            batch_tokens=float(other.sum()),
            start_logp=-9 * normal(n).abs(),
        ),
        mismatched_ratio=normal(n) + 1,
        logits=2 * normal(t, VOCABULARY),
        start_logits=2 * normal(t, VOCABULARY),
        targets=torch.randint(VOCABULARY, (t,), generator=generator),
        hidden=normal(t, WIDTH),
        start_hidden=normal(t, WIDTH),
        direction=torch.nn.functional.normalize(normal(WIDTH).abs(), dim=0),
        level=-5 + normal(n),
    )


def only(whole: Rows, needs: Collection[Need]) -> Rows:
    """`whole` without anything but scores and `needs`."""
    gone = {field: None for need, fields in FIELDS.items() if need not in needs for field in fields}
    left = replace(whole, **gone)
    if left.alternative is not None and "alternative_start" not in needs:
        left = replace(left, alternative=replace(left.alternative, start_logp=None))
    return left


def cut(whole: Rows, sizes: list[int]) -> list[Rows]:
    """`whole` in parts that know the size of the whole."""
    assert sum(sizes) == len(whole.logp)
    ends = [0, *torch.tensor(sizes).cumsum(0).tolist()]
    return [_part(whole, slice(first, last)) for first, last in itertools.pairwise(ends)]


def _part(whole: Rows, chosen: slice) -> Rows:
    row_of_token = torch.arange(len(whole.tokens)).repeat_interleave(whole.tokens.long())
    there = torch.isin(row_of_token, torch.arange(len(whole.tokens))[chosen])
    changes: dict[str, object] = {"logp": whole.logp[chosen], "tokens": whole.tokens[chosen]}
    for names, index in ((PER_ROW, chosen), (PER_TOKEN, there)):
        changes |= {name: value[index] for name in names if (value := getattr(whole, name)) is not None}
    if whole.alternative is not None:
        changes["alternative"] = _part(whole.alternative, chosen)
    return replace(whole, **changes)


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    point = at.detach().clone().requires_grad_()
    loss(point).backward()  # type: ignore[no-untyped-call]
    assert point.grad is not None
    return point.grad


def slope(loss: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-5) -> Tensor:
    """The gradient by central finite differences, entry by entry."""
    flat = at.detach().flatten()
    entries = []
    for index in range(len(flat)):
        shift = torch.zeros_like(flat)
        shift[index] = step
        up, down = (loss((flat + sign * shift).view_as(at)) for sign in (1, -1))
        entries.append((up - down) / (2 * step))
    return torch.stack(entries).view_as(at)
