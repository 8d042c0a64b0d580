"""The losses of later papers: by hand, against their plain formulas, and what carries no gradient."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from forgetctl.losses.methods import OBJECTIVES, Rows
from forgetctl.losses.newer import ceu, rmu, rmu_rt, satimp, simnpo, undial, wga
from tests.verify.complete import VOCABULARY, complete, cut, gradient, rows, slope, tensor, tokens_only

LN2, LN3 = math.log(2), math.log(3)
# Two tokens with p = 3/4 and p = 1/4 of the true one.
QUARTERS = tokens_only([[LN3, 0.0], [LN3, 0.0]], [0, 1])


# By hand


def test_simnpo_by_hand() -> None:
    """beta 2.5, logp a token -1 and -1.5: -log sigmoid(2.5) = 0.078889, -log sigmoid(3.75) = 0.023246."""
    found = simnpo(rows(tensor([-2.0, -6.0]), [2.0, 4.0])).item()
    assert found == pytest.approx((2 / 2.5) * (0.078889 + 0.023246) / 2, abs=1e-6)


def test_simnpo_by_hand_with_a_margin() -> None:
    """gamma 0.5 leaves 2.5 - 0.5 and 3.75 - 0.5: -log sigmoid(2) = 0.126928, -log sigmoid(3.25) = 0.038041."""
    found = simnpo(rows(tensor([-2.0, -6.0]), [2.0, 4.0]), gamma=0.5).item()
    assert found == pytest.approx((2 / 2.5) * (0.126928 + 0.038041) / 2, abs=1e-6)


def test_rmu_by_hand() -> None:
    """Goal 5 * (0.6, 0.8) = (3, 4): squares of (-2, -2) and (0, -4), over the width, are 4 and 8."""
    hidden, direction = tensor([[1.0, 2.0], [3.0, 0.0]]), tensor([0.6, 0.8])
    whole = replace(rows(tensor([0.0]), [2.0]), hidden=hidden, direction=direction)
    assert rmu(whole, steering=5.0).item() == pytest.approx((4 + 8) / 2)


def test_rmu_rt_by_hand() -> None:
    """Squares of (0, 2) and (1, -3), over the width, are 2 and 5."""
    hidden, start = tensor([[1.0, 2.0], [4.0, 0.0]]), tensor([[1.0, 0.0], [3.0, 3.0]])
    whole = replace(rows(tensor([0.0]), [2.0]), hidden=hidden, start_hidden=start)
    assert rmu_rt(whole).item() == pytest.approx((2 + 5) / 2)


def test_undial_by_hand() -> None:
    """An even start with the true token lowered by ln 3 is (1/4, 3/4); H against (3/4, 1/4).

    0.25 * 0.287682 + 0.75 * 1.386294 = 1.111641.
    """
    whole = tokens_only([[LN3, 0.0]], [0], start_logits=tensor([[7.0, 7.0]]))
    assert undial(whole, strength=LN3).item() == pytest.approx(1.111641, abs=1e-6)


def test_wga_by_hand() -> None:
    """0.75 * ln 0.75 = -0.215762, 0.25 * ln 0.25 = -0.346574."""
    assert wga(QUARTERS).item() == pytest.approx(-(0.215762 + 0.346574) / 2, abs=1e-6)


def test_wga_by_hand_with_alpha() -> None:
    """0.75^2 * ln 0.75 = -0.161821, 0.25^2 * ln 0.25 = -0.086643."""
    assert wga(QUARTERS, alpha=2.0).item() == pytest.approx(-(0.161821 + 0.086643) / 2, abs=1e-6)


def test_satimp_by_hand() -> None:
    """Weights 0.75 * 0.25^2 = 0.046875 and 0.25 * 0.75^2 = 0.140625."""
    expected = (0.046875 * math.log(0.75) + 0.140625 * math.log(0.25)) / 2
    assert satimp(QUARTERS, beta1=1.0, beta2=2.0).item() == pytest.approx(expected, abs=1e-6)


def test_ceu_by_hand() -> None:
    """p = (1/2, 1/4, 1/4): without the first (0, 1/2, 1/2), H = ln 4; without the second (2/3, 0, 1/3), 4/3 ln 2."""
    whole = tokens_only([[LN2, 0.0, 0.0], [LN2, 0.0, 0.0]], [0, 1])
    assert ceu(whole).item() == pytest.approx((2 * LN2 + 4 / 3 * LN2) / 2, abs=1e-6)


def test_token_losses_average_over_the_optimizer_batch() -> None:
    half = replace(QUARTERS, batch_tokens=8.0)
    for loss in (wga, satimp, ceu):
        assert loss(half).item() == pytest.approx(loss(QUARTERS).item() / 4)


# Gradients


def token_logp(r: Rows, logits: Tensor) -> Tensor:
    return torch.log_softmax(logits, -1)[torch.arange(len(logits)), r.targets]


def plain_simnpo(r: Rows, logp: Tensor, _: Tensor) -> Tensor:
    return (2 / 0.3 * torch.log1p(torch.exp(0.3 * logp / r.tokens + 0.4))).mean()


def plain_rmu(r: Rows, hidden: Tensor, _: Tensor) -> Tensor:
    return ((hidden - 3 * r.direction) ** 2).sum() / hidden.numel()


def plain_rmu_rt(r: Rows, hidden: Tensor, _: Tensor) -> Tensor:
    return ((hidden - r.start_hidden) ** 2).sum() / hidden.numel()


def plain_undial(r: Rows, logits: Tensor, _: Tensor) -> Tensor:
    assert r.start_logits is not None
    taught = torch.softmax(r.start_logits - 4 * one_hot(r.targets, VOCABULARY), -1)
    return -(taught * torch.log_softmax(logits, -1)).sum() / len(logits)


def plain_wga(r: Rows, logits: Tensor, frozen: Tensor) -> Tensor:
    return (token_logp(r, frozen).exp() ** 1.5 * token_logp(r, logits)).mean()


def plain_satimp(r: Rows, logits: Tensor, frozen: Tensor) -> Tensor:
    p = token_logp(r, frozen).exp()
    return (p**2 * (1 - p) ** 0.5 * token_logp(r, logits)).mean()


def plain_ceu(r: Rows, logits: Tensor, frozen: Tensor) -> Tensor:
    others = torch.softmax(frozen, -1) * (1 - one_hot(r.targets, VOCABULARY))
    taught = others / others.sum(-1, keepdim=True)
    return -(taught * torch.log_softmax(logits, -1)).sum() / len(logits)


Plain = Callable[[Rows, Tensor, Tensor], Tensor]
CASES: dict[str, tuple[str, Callable[[Rows], Tensor], Plain]] = {
    "simnpo": ("logp", lambda r: simnpo(r, beta=0.3, gamma=0.4), plain_simnpo),
    "rmu": ("hidden", lambda r: rmu(r, steering=3.0), plain_rmu),
    "rmu_rt": ("hidden", rmu_rt, plain_rmu_rt),
    "undial": ("logits", lambda r: undial(r, strength=4.0), plain_undial),
    "wga": ("logits", lambda r: wga(r, alpha=1.5), plain_wga),
    "satimp": ("logits", lambda r: satimp(r, beta1=2.0, beta2=0.5), plain_satimp),
    "ceu": ("logits", ceu, plain_ceu),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_those_of_the_plain_formula(name: str, seed: int) -> None:
    """Weights and targets are frozen by hand: the plain formula takes them from a copy that does not vary."""
    field, loss, plain = CASES[name]
    whole = complete(seed)
    at = getattr(whole, field)
    torch.testing.assert_close(loss(whole), plain(whole, at, at), rtol=1e-5, atol=1e-6, check_dtype=False)
    found = gradient(lambda x: loss(replace(whole, **{field: x})), at)
    assert found.abs().max() > 1e-3
    torch.testing.assert_close(found, gradient(lambda x: plain(whole, x, at), at), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found, slope(lambda x: plain(whole, x, at), at), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["wga", "satimp", "ceu"])
def test_the_weight_would_have_changed_the_gradient(name: str) -> None:
    """Else the test above could not tell a frozen weight from one that is not."""
    field, loss, plain = CASES[name]
    whole = complete(1)
    at = getattr(whole, field)
    found = gradient(lambda x: loss(replace(whole, **{field: x})), at)
    assert (found - gradient(lambda x: plain(whole, x, x), at)).abs().max() > 1e-3


def test_what_undial_teaches_carries_no_gradient() -> None:
    whole = complete(1)
    assert whole.start_logits is not None
    assert whole.logits is not None
    start, logits = (values.clone().requires_grad_() for values in (whole.start_logits, whole.logits))
    undial(replace(whole, start_logits=start, logits=logits)).backward()  # type: ignore[no-untyped-call]
    assert start.grad is None
    assert logits.grad is not None
    assert logits.grad.abs().max() > 0


# Properties


@given(st.integers(1, 50), st.integers(1, 50), st.floats(-30, -0.01))
def test_simnpo_does_not_depend_on_length(one: int, other: int, per_token: float) -> None:
    short, long = (simnpo(rows(tensor([per_token * n]), [float(n)])) for n in (one, other))
    torch.testing.assert_close(short, long, rtol=1e-9, atol=1e-12)


def test_simnpo_falls_with_the_answers_probability_and_not_below_zero() -> None:
    values = [simnpo(rows(tensor([logp]), [4.0])).item() for logp in (-0.1, -4.0, -40.0, -4000.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] >= 0


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_undial_without_strength_has_its_minimum_at_the_start(shift: float) -> None:
    """Also where the start logits are only known up to a constant a position."""
    whole = complete(2)
    assert whole.start_logits is not None
    start = whole.start_logits
    at_start = replace(whole, logits=start + shift)
    found = gradient(lambda x: undial(replace(whole, logits=x), strength=0.0), start + shift)
    assert found.abs().max() < 1e-7
    entropy = -(start.softmax(-1) * start.log_softmax(-1)).sum(-1).mean()
    assert undial(at_start, strength=0.0).item() == pytest.approx(entropy.item(), abs=1e-5)
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        away = start + 0.3 * torch.randn(start.shape, generator=generator, dtype=torch.double)
        assert undial(replace(whole, logits=away), strength=0.0) > undial(at_start, strength=0.0)


def test_undial_with_strength_pushes_the_true_token_down_and_the_others_up() -> None:
    whole = complete(2)
    assert whole.start_logits is not None
    found = gradient(lambda x: undial(replace(whole, logits=x)), whole.start_logits)
    true = one_hot(whole.targets, VOCABULARY).bool()
    assert (found[true] > 0).all()
    assert (found[~true] < 0).all()


def test_undial_ignores_a_constant_in_the_start_logits() -> None:
    whole = complete(2)
    assert whole.start_logits is not None
    moved = replace(whole, start_logits=whole.start_logits.log_softmax(-1))
    torch.testing.assert_close(undial(moved), undial(whole), rtol=1e-6, atol=0)


def test_ceu_teaches_nothing_of_the_true_token() -> None:
    """With softmax p and target q the gradient is p - q: of the true token it is p itself, so q is zero there."""
    whole = complete(4)
    assert whole.logits is not None
    found = gradient(lambda x: ceu(replace(whole, logits=x)), whole.logits) * whole.batch_tokens
    true = one_hot(whole.targets, VOCABULARY).bool()
    p = whole.logits.softmax(-1)
    torch.testing.assert_close(found[true], p[true], rtol=1e-5, atol=1e-7)
    # The others keep their proportions.
    taught = (p - found)[~true].view(-1, VOCABULARY - 1)
    left = p[~true].view(-1, VOCABULARY - 1)
    torch.testing.assert_close(taught, left / left.sum(-1, keepdim=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["wga", "satimp"])
def test_a_forgotten_token_stops_pulling(name: str) -> None:
    """Where plain gradient ascent would pull with 1/2 of each token for ever."""
    whole = tokens_only([[0.0, 0.0], [-20.0, 0.0]], [0, 0])
    assert whole.logits is not None
    known, gone = gradient(lambda x: OBJECTIVES[name].function(replace(whole, logits=x)), whole.logits).abs()
    assert known.max() > 1e-3
    assert gone.max() < 1e-8


def test_satimp_leaves_a_certain_token_alone() -> None:
    """Its importance 1 - p is nil; nothing becomes infinite."""
    whole = tokens_only([[200.0, 0.0]], [0])
    assert whole.logits is not None
    found = gradient(lambda x: satimp(replace(whole, logits=x)), whole.logits)
    assert found.tolist() == [[0.0, 0.0]]


def test_rmu_is_zero_at_its_goal() -> None:
    whole = complete(5)
    assert whole.direction is not None
    assert whole.hidden is not None
    there = replace(whole, hidden=(2 * whole.direction).expand_as(whole.hidden))
    assert rmu(there).item() == 0
    assert rmu(whole).item() > 0


def test_rmu_rt_is_zero_at_the_start() -> None:
    whole = complete(5)
    assert rmu_rt(replace(whole, hidden=whole.start_hidden)).item() == 0
    assert rmu_rt(whole).item() > 0


# Micro-batches


@pytest.mark.parametrize("sizes", [[1] * 6, [2, 2, 2], [1, 5], [4, 0, 2]])
@pytest.mark.parametrize("name", CASES)
def test_shares_sum_to_the_whole(name: str, sizes: list[int]) -> None:
    field, loss, _ = CASES[name]
    rows_ = complete(6)

    def whole(x: Tensor) -> Tensor:
        return loss(replace(rows_, **{field: x}))

    def parts(x: Tensor) -> Tensor:
        return torch.stack([loss(part) for part in cut(replace(rows_, **{field: x}), sizes)]).sum()

    at = getattr(rows_, field)
    torch.testing.assert_close(parts(at), whole(at), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient(parts, at), gradient(whole, at), rtol=1e-5, atol=1e-7)


# What is missing

MISSING = [
    ("rmu", "hidden", "activations"),
    ("rmu", "direction", "a direction"),
    ("rmu_rt", "hidden", "activations"),
    ("rmu_rt", "start_hidden", "the start model's activations"),
    ("undial", "logits", "logits"),
    ("undial", "start_logits", "the start model's logits"),
    ("undial", "targets", "target tokens"),
    ("wga", "logits", "logits"),
    ("wga", "targets", "target tokens"),
    ("satimp", "logits", "logits"),
    ("ceu", "logits", "logits"),
    ("ceu", "targets", "target tokens"),
]


@pytest.mark.parametrize(("name", "field", "words"), MISSING)
def test_missing_needs(name: str, field: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^this objective needs {words}$"):
        OBJECTIVES[name].function(replace(complete(), **{field: None}))
