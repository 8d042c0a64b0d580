import inspect
import math
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forgetctl.losses.methods import METHODS, OBJECTIVES, Batch, Rows, WeightedSum
from forgetctl.losses.npo_paper import ga, npo, rt
from forgetctl.losses.summaries import summaries
from tests.verify.complete import complete, cut, gradient, only, rows, tensor

Loss = Callable[[Tensor], Tensor]

LOGP = [-2.0, -6.0]
START = [-1.0, -2.0]
TOKENS = [2.0, 4.0]


def random_logp(seed: int, n: int = 6) -> tuple[Tensor, Tensor]:
    """Log-probabilities of n answers, and the start model's."""
    generator = torch.Generator().manual_seed(seed)
    values = -20 * torch.rand((2, n), generator=generator, dtype=torch.float64)
    return values[0], values[1]


# By hand


def test_ga_by_hand() -> None:
    # (-2 - 6) / 2
    assert ga(rows(tensor(LOGP))).item() == -4.0


def test_ga_gradient_by_hand() -> None:
    assert gradient(lambda logp: ga(rows(logp)), tensor(LOGP)).tolist() == [0.5, 0.5]


def test_rt_by_hand() -> None:
    # Per answer token, not per row: (2 + 6) / (2 + 4), where the mean of the rows' means would be 1.25.
    assert rt(rows(tensor(LOGP), TOKENS)).item() == pytest.approx(4 / 3)


def test_rt_gradient_by_hand() -> None:
    found = gradient(lambda logp: rt(rows(logp, TOKENS)), tensor(LOGP))
    assert found.tolist() == pytest.approx([-1 / 6, -1 / 6])


def test_npo_by_hand() -> None:
    """-(2/beta) mean log sigmoid(-beta log ratio), with beta 0.5 and log ratios -2 + 1 = -1 and -6 + 2 = -4.

    sigmoid(0.5) = 0.622459, its log -0.474077; sigmoid(2) = 0.880797, its log -0.126928.
    -(2/0.5) * (-0.474077 - 0.126928) / 2 = 1.202010.
    """
    found = npo(rows(tensor(LOGP), start=tensor(START)), beta=0.5).item()
    assert found == pytest.approx(1.202010, abs=1e-6)


def batch_of(forget: Rows, retain: Rows | None = None) -> Batch:
    return Batch({"forget": forget} if retain is None else {"forget": forget, "retain": retain})


def test_npo_gradient_by_hand() -> None:
    """GA's 1/2 times 2 p^b / (p^b + p0^b): with ratio e^-1 and b = 0.5, 2 * 0.606531 / 1.606531 = 0.755081;
    with e^-4, 2 * 0.135335 / 1.135335 = 0.238406."""
    found = gradient(lambda logp: npo(rows(logp, start=tensor(START)), beta=0.5), tensor(LOGP))
    assert found.tolist() == pytest.approx([0.755081 / 2, 0.238406 / 2], abs=1e-6)


def test_weighted_sum_by_hand() -> None:
    """0.5 * (-4) + 3 * 4/3 = 2."""
    batch = batch_of(rows(tensor(LOGP)), rows(tensor(LOGP), TOKENS))
    assert WeightedSum({"ga": 0.5, "rt": 3.0}, {})(batch).item() == pytest.approx(2.0)


# NPO at the start model (paper, section 3)


def test_npo_at_the_start_is_two_over_beta_log_two() -> None:
    start = tensor(START)
    assert npo(rows(start, start=start)).item() == pytest.approx(13.863, abs=5e-4)
    assert npo(rows(start, start=start)).item() == pytest.approx(20 * math.log(2))
    assert npo(rows(start, start=start), beta=0.5).item() == pytest.approx(4 * math.log(2))


@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0, 5.0])
def test_npo_gradient_at_the_start_is_gas(beta: float) -> None:
    start, _ = random_logp(1)
    found = gradient(lambda logp: npo(rows(logp, start=start), beta=beta), start)
    torch.testing.assert_close(found, gradient(lambda logp: ga(rows(logp)), start), rtol=1e-14, atol=0)


# Eq. 5


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_npo_weighs_gas_gradient_by_eq_5(beta: float, seed: int) -> None:
    logp, start = random_logp(seed)
    p, p_start = logp.exp() ** beta, start.exp() ** beta
    expected = 2 * p / (p + p_start) * gradient(lambda x: ga(rows(x)), logp)
    found = gradient(lambda x: npo(rows(x, start=start), beta=beta), logp)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_npo_stops_pulling_at_rows_that_are_forgotten() -> None:
    start = tensor([-1.0, -1.0])
    logp = tensor([-1.0, -1000.0])
    still, gone = gradient(lambda x: npo(rows(x, start=start)), logp).tolist()
    assert still == pytest.approx(0.5)
    assert gone < 1e-40


def test_npo_is_bounded_below_and_finite_where_ga_is_not() -> None:
    start = tensor([-1.0])
    losses = [npo(rows(tensor([logp]), start=start)).item() for logp in (-1e1, -1e3, -1e6)]
    assert all(loss >= 0 for loss in losses)
    assert losses == sorted(losses, reverse=True)
    assert ga(rows(tensor([-1e6]))).item() == -1e6
    assert npo(rows(tensor([0.0]), start=tensor([-1e6]))).item() == pytest.approx(2e6)


# Proposition 1


@pytest.mark.parametrize("seed", range(3))
def test_npo_tends_to_ga_as_beta_vanishes(seed: int) -> None:
    """L_npo - (2/beta) ln 2 -> L_ga - mean logp_start, with an error of order beta; the gradients agree."""
    logp, start = random_logp(seed)
    limit = (ga(rows(logp)) - start.mean()).item()
    errors = []
    for beta in (1e-2, 1e-3, 1e-4):
        loss = npo(rows(logp, start=start), beta=beta).item() - 2 / beta * math.log(2)
        errors.append(abs(loss - limit))
    assert errors[2] < 1e-2
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    found = gradient(lambda x: npo(rows(x, start=start), beta=1e-6), logp)
    torch.testing.assert_close(found, gradient(lambda x: ga(rows(x)), logp), rtol=1e-5, atol=0)


# Gradients against finite differences


def losses(start: Tensor, n: int) -> dict[str, Loss]:
    tokens = [float(count) for count in range(1, n + 1)]
    return {
        "ga": lambda logp: ga(rows(logp, tokens)),
        "npo": lambda logp: npo(rows(logp, tokens, start)),
        "npo, beta 1": lambda logp: npo(rows(logp, tokens, start), beta=1.0),
        "rt": lambda logp: rt(rows(logp, tokens)),
        "npo-rt": lambda logp: WeightedSum({"npo": 0.7, "rt": 1.3}, {"beta": 0.3})(
            batch_of(rows(logp, tokens, start), rows(2 * logp, tokens))
        ),
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["ga", "npo", "npo, beta 1", "rt", "npo-rt"])
def test_gradient_agrees_with_finite_differences(name: str, seed: int) -> None:
    logp, start = random_logp(seed)
    loss = losses(start, len(logp))[name]
    step = 1e-5
    shifts = step * torch.eye(len(logp), dtype=torch.float64)
    expected = torch.stack([(loss(logp + shift) - loss(logp - shift)) / (2 * step) for shift in shifts])
    torch.testing.assert_close(gradient(loss, logp), expected, rtol=1e-6, atol=1e-8)


# Micro-batches


@pytest.mark.parametrize("sizes", [[1] * 6, [2, 2, 2], [1, 5], [4, 0, 2]])
@pytest.mark.parametrize("name", ["ga", "npo", "rt"])
def test_micro_batches_sum_to_the_whole(name: str, sizes: list[int]) -> None:
    logp, start = random_logp(5)
    tokens = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    function = OBJECTIVES[name].function

    def whole(x: Tensor) -> Tensor:
        return function(rows(x, tokens, start))

    def parts(x: Tensor) -> Tensor:
        return torch.stack([function(part) for part in cut(rows(x, tokens, start), sizes)]).sum()

    torch.testing.assert_close(parts(logp), whole(logp), rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient(parts, logp), gradient(whole, logp), rtol=1e-12, atol=0)


@pytest.mark.parametrize("sizes", [[4, 2], [1] * 6])
@pytest.mark.parametrize("method", METHODS)
def test_micro_batches_of_a_method_sum_to_the_whole(method: str, sizes: list[int]) -> None:
    """Forget and retain rows are cut alike, as the trainer does."""
    loss = WeightedSum(METHODS[method].terms, {"beta": 0.2})
    forget, retain = complete(6), complete(7)
    pairs = zip(cut(forget, sizes), cut(retain, sizes), strict=True)
    parts = torch.stack([loss(batch_of(*pair)) for pair in pairs]).sum()
    # Token losses are computed in float32.
    torch.testing.assert_close(parts, loss(batch_of(forget, retain)), rtol=1e-6, atol=0, check_dtype=False)


@settings(deadline=None)
@given(st.permutations(range(6)))
def test_order_of_rows_does_not_matter(order: list[int]) -> None:
    logp, start = random_logp(7)
    found = npo(rows(logp[order], start=start[order]))
    torch.testing.assert_close(found, npo(rows(logp, start=start)), rtol=1e-12, atol=0)


# Weighted sums


def test_beta_reaches_only_the_terms_that_know_it() -> None:
    logp, start = random_logp(8)
    batch = batch_of(rows(logp, start=start), rows(logp))
    found = WeightedSum({"npo": 2.0, "ga": 1.0, "rt": 3.0}, {"beta": 0.7})(batch)
    expected = 2 * npo(batch.role("forget"), beta=0.7) + ga(batch.role("forget")) + 3 * rt(rows(logp))
    torch.testing.assert_close(found, expected)


def test_without_hyperparameters_the_defaults_hold() -> None:
    logp, start = random_logp(8)
    batch = batch_of(rows(logp, start=start))
    torch.testing.assert_close(WeightedSum({"npo": 1.0}, {})(batch), npo(batch.role("forget"), beta=0.1))


def test_unknown_hyperparameter_is_passed_to_nobody() -> None:
    logp, _ = random_logp(8)
    batch = batch_of(rows(logp))
    torch.testing.assert_close(WeightedSum({"ga": 1.0}, {"gamma": 3.0})(batch), ga(batch.role("forget")))


def test_missing_retain_rows() -> None:
    with pytest.raises(ValueError, match="needs retain rows"):
        WeightedSum({"ga": 1.0, "rt": 1.0}, {})(batch_of(rows(tensor(LOGP))))


def test_missing_start_scores() -> None:
    with pytest.raises(ValueError, match="needs the start model's log-probabilities"):
        WeightedSum({"npo": 1.0}, {})(batch_of(rows(tensor(LOGP))))


NEEDS: dict[str, tuple[set[str], set[str] | None]] = {
    "ga": (set(), None),
    "ga-rt": (set(), set()),
    "ga-kl": (set(), {"kl"}),
    "idk-rt": ({"alternative"}, set()),
    "dpo": ({"start", "alternative", "alternative_start"}, None),
    "dpo-kl": ({"start", "alternative", "alternative_start"}, {"kl"}),
    "kto-rt": ({"start", "mismatched"}, set()),
    "npo": ({"start"}, None),
    "npo-rt": ({"start"}, set()),
    "simnpo-rt": (set(), set()),
    "rmu": ({"hidden"}, {"hidden", "start_hidden"}),
    "undial-rt": ({"logits", "start_logits"}, set()),
    "ceu-rt": ({"logits"}, set()),
}


@pytest.mark.parametrize("method", NEEDS)
def test_needs_of_the_methods(method: str) -> None:
    forget, retain = NEEDS[method]
    loss = WeightedSum(METHODS[method].terms, {})
    assert loss.needs("forget") == forget
    assert loss.needs("retain") == (retain or set())
    assert loss.reads("retain") == (retain is not None)


def test_loss_keeps_the_precision_of_the_scores() -> None:
    logp, start = random_logp(9)
    assert WeightedSum({"npo": 1.0}, {})(batch_of(rows(logp, start=start))).dtype == torch.float64
    single = batch_of(rows(logp.float(), start=start.float()))
    assert WeightedSum({"npo": 1.0}, {})(single).dtype == torch.float32


# Registry


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_objective_is_documented(name: str) -> None:
    term = OBJECTIVES[name]
    assert term.name == name == term.function.__name__
    assert re.search(r"mean|sum", term.formula)
    # The paper's own section is source enough where it is the origin.
    own = term.source.startswith("forgetctl, ")
    assert own or re.search(r"20\d\d \(arXiv \d{4}\.\d{5}\), .|20\d\d \(arXiv \d{4}\.\d{5}\)$", term.source)
    assert inspect.getdoc(term.function)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_objective_declares_what_it_needs_and_no_more(name: str) -> None:
    """It runs with exactly its needs, and not without any one of them."""
    term = OBJECTIVES[name]
    found = term.function(only(complete(10), term.needs))
    assert found.shape == ()
    assert torch.isfinite(found)
    for missing in term.needs:
        with pytest.raises(ValueError, match="this objective needs"):
            term.function(only(complete(10), term.needs - {missing}))


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_hyperparameters_named_in_the_formula_are_the_functions(name: str) -> None:
    term = OBJECTIVES[name]
    for parameter in term.hyperparameters:
        assert re.search(rf"\b{parameter}\b", term.formula), parameter


@pytest.mark.parametrize("name", list(METHODS))
def test_method_is_made_of_known_terms(name: str) -> None:
    method = METHODS[name]
    assert method.name == name
    assert method.source
    assert set(method.terms) <= set(OBJECTIVES)
    assert any(OBJECTIVES[term].role == "forget" for term in method.terms)


def test_the_papers_twelve_methods_are_there() -> None:
    """Section 5 of the paper."""
    paper = "ga ga-rt ga-kl idk-rt dpo dpo-rt dpo-kl kto kto-rt npo npo-rt npo-kl".split()
    assert set(paper) <= set(METHODS)


def test_any_weighted_sum_can_be_written() -> None:
    """Chen & Yang: GA + RT - K_FG + K_RT, with unequal weights."""
    forget, retain = complete(11), complete(12)
    found = WeightedSum({"ga": 2.0, "rt": 0.5, "k_fg": -1.0, "k_rt": 3.0}, {})(batch_of(forget, retain))
    assert forget.kl is not None
    assert retain.kl is not None
    expected = (
        2 * forget.logp.mean()
        - 0.5 * retain.logp.sum() / retain.tokens.sum()
        - forget.kl.sum() / forget.tokens.sum()
        + 3 * retain.kl.sum() / retain.tokens.sum()
    )
    torch.testing.assert_close(found, expected)


def test_hyperparameters_of_the_terms() -> None:
    """The papers' own."""
    assert {name: term.hyperparameters for name, term in OBJECTIVES.items() if term.hyperparameters} == {
        "npo": {"beta": 0.1},
        "dpo": {"beta": 0.1},
        "kto": {"beta": 0.1},
        "simnpo": {"beta": 2.5, "gamma": 0.0},
        "rmu": {"steering": 2.0},
        "undial": {"strength": 10.0},
        "wga": {"alpha": 1.0},
        "satimp": {"beta1": 5.0, "beta2": 1.0},
    }


def test_roles_of_the_terms() -> None:
    assert {name for name, term in OBJECTIVES.items() if term.role == "retain"} == {"rt", "k_rt", "rmu_rt"}


def test_what_objectives_do_is_told_without_torch() -> None:
    assert summaries() == {name: term.summary for name, term in OBJECTIVES.items()}
    assert all(summaries().values())
