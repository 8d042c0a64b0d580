"""DPO and KTO against TRL's own trainers on the same numbers, where TRL is installed.

TRL computes its losses inside `_compute_loss`. It is called here without its constructor, on a stand-in that has the
attributes it reads, with a model that gives each row the log-probability it is to have.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from complete import complete
from torch import Tensor

from forgetctl.maths.objectives import Rows, dpo, kto

trl = pytest.importorskip("trl", minversion="1.16")

BETAS = [0.1, 0.5, 2.0]
LENGTH = 4


def trainer(beta: float, **more: Any) -> Any:
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda value: value, gather_for_metrics=lambda value: value
    )
    return SimpleNamespace(
        model=torch.nn.Identity(),
        accelerator=accelerator,
        beta=beta,
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **more,
    )


def network(logp: Tensor) -> Any:
    """A model whose rows have these log-probabilities, split over their tokens."""

    def forward(**_: Any) -> Any:
        share = torch.tensor([0.5, 0.25, 0.25], dtype=logp.dtype)
        per_token = logp[:, None] * share
        nothing = torch.zeros_like(per_token)
        return SimpleNamespace(
            log_probs=per_token, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(), log_sum_sq_probs=nothing
        )

    return forward


def ids(count: int) -> dict[str, Tensor]:
    ones = torch.ones(count, LENGTH, dtype=torch.long)
    return {"input_ids": ones, "attention_mask": ones, "completion_mask": ones}


def trl_dpo(whole: Rows, logp: Tensor, other: Tensor, beta: float) -> Tensor:
    """-mean log sigmoid(beta (chosen - rejected)), where ours is divided by beta."""
    assert whole.alternative is not None
    stand_in = trainer(
        beta, ld_alpha=None, f_divergence_type="reverse_kl", loss_types=["sigmoid"], loss_weights=[1.0],
        use_weighting=False, label_smoothing=0.0,
    )  # fmt: skip
    inputs = {
        **ids(2 * len(logp)),
        "ref_chosen_logps": whole.alternative.start_logp,
        "ref_rejected_logps": whole.start_logp,
    }
    loss: Tensor = trl.DPOTrainer._compute_loss(stand_in, network(torch.cat([other, logp])), inputs, False)
    return loss


def trl_kto(whole: Rows, logp: Tensor, beta: float) -> Tensor:
    assert whole.mismatched_ratio is not None
    ratio = whole.mismatched_ratio
    stand_in = trainer(
        beta, loss_type="kto", calculate_KL=True, desirable_weight=1.0, undesirable_weight=1.0,
        _compute_kl_logps=lambda _model, _batch: ratio,
    )  # fmt: skip
    inputs = {
        **ids(len(logp)),
        "label": torch.zeros(len(logp), dtype=torch.bool),
        "ref_logps": whole.start_logp,
        "ref_KL_logps": torch.zeros_like(ratio),
    }
    loss: Tensor = trl.KTOTrainer._compute_loss(stand_in, network(logp), inputs, False)
    return loss


def with_gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("beta", BETAS)
def test_dpo_is_trls_over_beta(beta: float, seed: int) -> None:
    whole = complete(seed)
    assert whole.alternative is not None
    logp, other = whole.logp.clone().requires_grad_(), whole.alternative.logp.clone().requires_grad_()
    moved = replace(whole, logp=logp, alternative=replace(whole.alternative, logp=other))
    ours = with_gradients(dpo(moved, beta=beta), logp, other)
    theirs = with_gradients(trl_dpo(whole, logp, other, beta) / beta, logp, other)
    for one, another in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("drift", [0.0, -5.0])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("beta", BETAS)
def test_kto_is_trls_for_undesirable_rows(beta: float, seed: int, drift: float) -> None:
    """With a z0 above 0, and with one below that both clamp."""
    whole = complete(seed)
    assert whole.mismatched_ratio is not None
    whole = replace(whole, mismatched_ratio=whole.mismatched_ratio + drift)
    logp = whole.logp.clone().requires_grad_()
    ours = with_gradients(kto(replace(whole, logp=logp), beta=beta), logp)
    theirs = with_gradients(trl_kto(whole, logp, beta), logp)
    for one, another in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-9, atol=1e-12)
