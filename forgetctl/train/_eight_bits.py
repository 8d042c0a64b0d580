"""bitsandbytes' AdamW with moments in 8 bits, without its waiting for the GPU after every single weight."""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.optim.adamw import AdamW8bit


class EightBitAdamW(AdamW8bit):
    """AdamW after Loshchilov and Hutter 2019 with moments after Dettmers et al. 2022; kernels and state are
    bitsandbytes' own."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient, one kernel after another. Raises ValueError for a closure."""
        if closure is not None:
            raise ValueError("weights are updated from gradients that are there already")
        own: Any = self  # which has no types
        if not self.initialized:
            own.check_overrides()
            own.to_gpu()
            self.initialized = True
        for number, group in enumerate(self.param_groups):
            for place, weight in enumerate(group["params"]):
                if weight.grad is not None:
                    if not self.state[weight]:
                        own.init_state(group, weight, number, place)
                    own.update_step(group, weight, number, place)
