"""What stands in for a processor that is fast in bfloat16 gives what such a one would."""

from __future__ import annotations

import torch
from torch import Tensor

from forgetctl.demo.training import tiny_llama

from .precision import WideProducts


def gradients(ids: Tensor) -> list[Tensor]:
    model = tiny_llama(50, 0, width=32).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return [weight.grad for weight in model.parameters() if weight.grad is not None]


def test_products_are_those_of_bfloat16_but_for_the_order_of_sums() -> None:
    ids = torch.randint(50, (4, 12), generator=torch.Generator().manual_seed(1))
    native = gradients(ids)
    with WideProducts() as wide:
        ours = gradients(ids)
    assert wide.calls > 20
    for one, other in zip(native, ours, strict=True):
        assert (one - other).norm() < 2e-2 * one.norm()


def test_they_are_not_those_of_float32() -> None:
    first, second = (torch.randn(64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    with WideProducts():
        found = first.bfloat16() @ second.bfloat16()
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, (first.bfloat16().float() @ second.bfloat16().float()).bfloat16())
