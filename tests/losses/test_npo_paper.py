"""DPO, KTO, FG and the KL terms: by hand, at the start, and their gradients."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from forgetctl.losses.methods import OBJECTIVES, Rows
from forgetctl.losses.npo_paper import dpo, fg, k_fg, k_rt, kto, npo
from tests.verify.complete import complete, cut, gradient, rows, slope, tensor

SIZES = [[1] * 6, [2, 2, 2], [1, 5], [4, 0, 2]]
Build = Callable[[Tensor], Rows]


def example(mismatched: list[float] | None = None) -> Rows:
    """Two rows with log ratios -1 and -4, whose uninformed answers have +1 and +0.5."""
    whole = rows(tensor([-2.0, -6.0]), [2.0, 4.0], tensor([-1.0, -2.0]))
    other = rows(tensor([-3.0, -5.0]), [2.0, 3.0], tensor([-4.0, -5.5]))
    ratio = tensor(mismatched) if mismatched else None
    return replace(whole, alternative=other, mismatched_ratio=ratio, kl=tensor([0.5, 1.5]))


def other_logp(whole: Rows) -> Tensor:
    assert whole.alternative is not None
    return whole.alternative.logp


def with_other_logp(whole: Rows, logp: Tensor) -> Rows:
    assert whole.alternative is not None
    return replace(whole, alternative=replace(whole.alternative, logp=logp))


def at_the_start(seed: int = 1) -> Rows:
    whole = complete(seed)
    assert whole.alternative is not None
    other = replace(whole.alternative, start_logp=whole.alternative.logp)
    return replace(whole, start_logp=whole.logp, alternative=other, mismatched_ratio=torch.zeros(6, dtype=torch.double))


# By hand


def test_dpo_by_hand() -> None:
    """beta 0.5 and differences of log ratios 1 + 1 = 2 and 0.5 + 4 = 4.5.

    -log sigmoid(1) = 0.313262, -log sigmoid(2.25) = 0.100206; (1/0.5) * (0.313262 + 0.100206) / 2 = 0.413468.
    """
    assert dpo(example(), beta=0.5).item() == pytest.approx(0.413468, abs=1e-6)


def test_dpo_gradient_by_hand() -> None:
    """1 - sigmoid(beta difference), over the two rows: 0.268941 / 2 and 0.095349 / 2; the better answer's is minus."""
    expected = [0.134471, 0.047675]
    whole = example()
    found = gradient(lambda logp: dpo(replace(whole, logp=logp), beta=0.5), whole.logp)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    found = gradient(lambda logp: dpo(with_other_logp(whole, logp), beta=0.5), other_logp(whole))
    assert found.tolist() == pytest.approx([-value for value in expected], abs=1e-6)


def test_kto_by_hand() -> None:
    """beta 0.5 and z0 = (1 + 3) / 2: 1 - sigmoid(0.5 * 3) = 0.182426, 1 - sigmoid(0.5 * 6) = 0.047426."""
    assert kto(example([1.0, 3.0]), beta=0.5).item() == pytest.approx((0.182426 + 0.047426) / 2, abs=1e-6)


def test_kto_by_hand_with_z0_clamped() -> None:
    """z0 = (-3 + 1) / 2 counts as 0: 1 - sigmoid(0.5) = 0.377541, 1 - sigmoid(2) = 0.119203."""
    assert kto(example([-3.0, 1.0]), beta=0.5).item() == pytest.approx((0.377541 + 0.119203) / 2, abs=1e-6)


def test_fg_by_hand() -> None:
    """Per token of the uninformed answers, (3 + 5) / (2 + 3), not of the forget rows' own 6."""
    assert fg(example()).item() == pytest.approx(8 / 5)


@pytest.mark.parametrize("loss", [k_rt, k_fg])
def test_kl_terms_by_hand(loss: Callable[[Rows], Tensor]) -> None:
    """(0.5 + 1.5) / (2 + 4), where a mean over rows would be 1."""
    assert loss(example()).item() == pytest.approx(1 / 3)


# At the start model


@pytest.mark.parametrize("beta", [0.1, 0.5, 5.0])
def test_dpo_at_the_start_is_one_over_beta_log_two(beta: float) -> None:
    assert dpo(at_the_start(), beta=beta).item() == pytest.approx(math.log(2) / beta)


@pytest.mark.parametrize("beta", [0.1, 0.5, 5.0])
def test_kto_at_the_start_is_one_half(beta: float) -> None:
    assert kto(at_the_start(), beta=beta).item() == pytest.approx(0.5)


@pytest.mark.parametrize("beta", [0.1, 5.0])
def test_dpo_gradient_at_the_start_is_half_of_gas_and_half_against_it(beta: float) -> None:
    """sigmoid(0) = 1/2 whatever beta is."""
    start = at_the_start()
    down = gradient(lambda logp: dpo(replace(start, logp=logp), beta=beta), start.logp)
    up = gradient(lambda logp: dpo(with_other_logp(start, logp), beta=beta), other_logp(start))
    assert down.tolist() == pytest.approx([1 / 12] * 6)
    assert up.tolist() == pytest.approx([-1 / 12] * 6)


def test_default_beta_is_the_papers() -> None:
    whole = complete(2)
    assert dpo(whole).item() == dpo(whole, beta=0.1).item()
    assert kto(whole).item() == kto(whole, beta=0.1).item()


# Gradients

PLAIN: dict[str, tuple[Callable[[Rows], Tensor], Callable[[Rows], Tensor]]] = {
    "dpo": (
        lambda r: dpo(r, beta=0.3),
        lambda r: (
            torch.log1p(torch.exp(-0.3 * (r.alternative.logp - r.alternative.start_logp - r.logp + r.start_logp))) / 0.3
        ).mean(),
    ),
    "kto": (
        lambda r: kto(r, beta=0.3),
        lambda r: (1 / (1 + torch.exp(0.3 * (r.mismatched_ratio.mean() - r.logp + r.start_logp)))).mean(),
    ),
    "fg": (fg, lambda r: -r.alternative.logp.sum() / r.alternative.tokens.sum()),
    "k_rt": (k_rt, lambda r: r.kl.sum() / r.tokens.sum()),
    "k_fg": (k_fg, lambda r: r.kl.sum() / r.tokens.sum()),
}
VARIED: dict[str, tuple[Callable[[Rows], Tensor], Callable[[Rows, Tensor], Rows]]] = {
    "logp": (lambda r: r.logp, lambda r, x: replace(r, logp=x)),
    "alternative": (other_logp, with_other_logp),
    "kl": (lambda r: r.kl, lambda r, x: replace(r, kl=x)),
}
INPUTS = [
    ("dpo", "logp"),
    ("dpo", "alternative"),
    ("kto", "logp"),
    ("fg", "alternative"),
    ("k_rt", "kl"),
    ("k_fg", "kl"),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "varied"), INPUTS)
def test_gradient_is_that_of_the_plain_formula(name: str, varied: str, seed: int) -> None:
    loss, plain = PLAIN[name]
    read, put = VARIED[varied]
    whole = complete(seed)
    assert whole.mismatched_ratio is not None
    assert whole.mismatched_ratio.mean() > 0  # else the plain formula would need the clamp
    torch.testing.assert_close(loss(whole), plain(whole), rtol=1e-12, atol=0)
    found = gradient(lambda x: loss(put(whole, x)), read(whole))
    assert found.abs().min() > 1e-8
    torch.testing.assert_close(found, gradient(lambda x: plain(put(whole, x)), read(whole)), rtol=1e-10, atol=0)
    torch.testing.assert_close(found, slope(lambda x: loss(put(whole, x)), read(whole)), rtol=1e-5, atol=1e-9)


def test_kto_z0_carries_no_gradient() -> None:
    whole = complete(3)
    ratio = torch.ones(6, dtype=torch.double, requires_grad=True)
    logp = whole.logp.clone().requires_grad_()
    loss = kto(replace(whole, mismatched_ratio=ratio, logp=logp))
    loss.backward()  # type: ignore[no-untyped-call]
    assert ratio.grad is None
    assert logp.grad is not None
    assert logp.grad.abs().min() > 0


@given(st.floats(-50, 0), st.floats(-50, 0))
def test_kto_below_zero_z0_is_zero(one: float, other: float) -> None:
    assert kto(example([one, other])).item() == kto(example([0.0, 0.0])).item()


def test_kto_falls_where_other_answers_became_likelier() -> None:
    """z0 rises with the model's general drift, so that drift alone is not held against a row."""
    losses = [kto(example([z0, z0])).item() for z0 in (0.0, 1.0, 5.0)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[2] > 0.05


@pytest.mark.parametrize("name", ["dpo", "fg"])
def test_more_of_the_uninformed_answer_is_better(name: str) -> None:
    whole = complete(4)
    found = gradient(lambda x: OBJECTIVES[name].function(with_other_logp(whole, x)), other_logp(whole))
    assert (found < 0).all()


# DPO and NPO

ratios = st.floats(-60, 60)


@given(ratios, ratios, ratios, st.floats(0.01, 5))
def test_dpo_rises_with_the_ratio_where_the_alternative_is_fixed(
    one: float, other: float, alternative: float, beta: float
) -> None:
    low, high = sorted((one, other))
    start = tensor([0.0])
    fixed = rows(tensor([alternative]), start=start)
    values = [dpo(replace(rows(tensor([at]), start=start), alternative=fixed), beta=beta).item() for at in (low, high)]
    assert 0 <= values[0] <= values[1]


@given(ratios, st.floats(0.01, 5))
def test_dpo_is_half_of_npo_where_the_alternative_has_not_moved(ratio: float, beta: float) -> None:
    whole = rows(tensor([ratio]), start=tensor([0.0]))
    still = replace(whole, alternative=rows(tensor([-3.0]), start=tensor([-3.0])))
    torch.testing.assert_close(dpo(still, beta=beta), npo(whole, beta=beta) / 2, rtol=1e-12, atol=0)


def test_losses_are_finite_far_away() -> None:
    for ratio in (-1e5, 1e5):
        far = replace(example([1e5, 1e5]), logp=tensor([ratio, ratio]))
        assert math.isfinite(dpo(far).item())
        assert 0 <= kto(far).item() <= 1


# Micro-batches


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("name", "varied"), INPUTS)
def test_shares_sum_to_the_whole(name: str, varied: str, sizes: list[int]) -> None:
    function = OBJECTIVES[name].function
    read, put = VARIED[varied]
    rows_ = complete(5)

    def whole(x: Tensor) -> Tensor:
        return function(put(rows_, x))

    def parts(x: Tensor) -> Tensor:
        return torch.stack([function(part) for part in cut(put(rows_, x), sizes)]).sum()

    at = read(rows_)
    torch.testing.assert_close(parts(at), whole(at), rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient(parts, at), gradient(whole, at), rtol=1e-12, atol=0)


# What is missing

MISSING: list[tuple[str, Callable[[Rows], Rows], str]] = [
    ("dpo", lambda r: replace(r, alternative=None), "alternative answers"),
    ("dpo", lambda r: replace(r, start_logp=None), "the start model's log-probabilities"),
    (
        "dpo",
        lambda r: replace(r, alternative=replace(r.alternative, start_logp=None)),
        "the start model's log-probabilities",
    ),
    ("kto", lambda r: replace(r, mismatched_ratio=None), "mismatched pairs"),
    ("kto", lambda r: replace(r, start_logp=None), "the start model's log-probabilities"),
    ("fg", lambda r: replace(r, alternative=None), "alternative answers"),
    ("k_rt", lambda r: replace(r, kl=None), "start distributions"),
    ("k_fg", lambda r: replace(r, kl=None), "start distributions"),
]


@pytest.mark.parametrize(("name", "take_away", "words"), MISSING)
def test_missing_needs(name: str, take_away: Callable[[Rows], Rows], words: str) -> None:
    with pytest.raises(ValueError, match=f"this objective needs {words}"):
        OBJECTIVES[name].function(take_away(complete()))
