"""What is said of every answer token, against full forwards of one row at a time in double precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import LlamaConfig

import forgetctl.model.token_scores
from forgetctl.errors import ModelError
from forgetctl.model.encoding import Encoded
from forgetctl.model.load import load_model
from forgetctl.model.scoring import MAX_ROWS, score
from forgetctl.model.token_scores import TokenScores, score_tokens
from tests.model.oracles import ARCHITECTURES, VOCABULARY, random_model, random_rows
from tests.world import encoded_rows

CPU = torch.device("cpu")
Plain = tuple[list[float], list[bool], list[float]]


@pytest.fixture(scope="module")
def rows(world: Path) -> list[Encoded]:
    return encoded_rows(world, "employees.jsonl")


@torch.no_grad()
def plain(model: Any, row: Encoded) -> Plain:
    """Each token's log-probability, whether it comes first, and Min-K%++'s score, by the formulas, token by token."""
    logits = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].double().numpy()
    logp, hits, standardised = [], [], []
    for place in (row.start + place for place in row.places):
        before = logits[place - 1] - logits[place - 1].max()
        p = np.exp(before) / np.exp(before).sum()
        own = math.log(p[row.ids[place]])
        mean = sum(share * math.log(share) for share in p if share > 0)
        spread = math.sqrt(sum(share * (math.log(share) - mean) ** 2 for share in p if share > 0))
        logp.append(own)
        hits.append(max(range(len(p)), key=p.__getitem__) == row.ids[place])
        standardised.append((own - mean) / spread)
    return logp, hits, standardised


def agree(scored: TokenScores, expected: Plain) -> None:
    logp, hits, standardised = expected
    assert scored.logp == pytest.approx(logp, abs=1e-4)
    assert scored.hits.tolist() == hits
    assert scored.standardised == pytest.approx(standardised, abs=1e-3, rel=1e-3)
    assert scored.total == pytest.approx(sum(logp), abs=1e-3)


class Fixed(nn.Module):
    """A stand-in for a model that answers every position with the logits it is given, (vocabulary,)."""

    device = CPU
    config = LlamaConfig()

    def __init__(self, logits: Sequence[float] | torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.as_tensor(logits, dtype=torch.float32)

    def forward(self, logits_to_keep: torch.Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits.expand(int(logits_to_keep.sum()), -1))


def one(logits: Sequence[float] | torch.Tensor, target: int) -> TokenScores:
    """The scores of an answer of one token from a distribution."""
    (found,) = score_tokens(Fixed(logits), [Encoded((0, target), 1)])
    return found


# Against the plain forward


def test_token_scores_are_the_plain_ones(model: Any, rows: list[Encoded]) -> None:
    some = rows[:12]
    found = score_tokens(model, some)
    for each, row in zip(found, some, strict=True):
        assert each.logp.shape == each.hits.shape == each.standardised.shape == (row.tokens,)
        agree(each, plain(model, row))
    hits = np.concatenate([each.hits for each in found])
    assert 0 < hits.mean() < 1  # both kinds occur
    assert np.concatenate([each.standardised for each in found]).std() > 0.1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name: str) -> None:
    network, some = random_model(name), random_rows(6, marked=True)
    for each, row in zip(score_tokens(network, some), some, strict=True):
        agree(each, plain(network, row))


def test_total_is_the_shared_score(model: Any, rows: list[Encoded]) -> None:
    """The same number but for rounding, so that token scores cannot move a verdict."""
    many = rows[: MAX_ROWS + 9]
    found = score_tokens(model, many)
    assert [each.total for each in found] == pytest.approx(score(model, many), abs=1e-4)
    assert [each.total for each in found] == pytest.approx([float(each.logp.sum()) for each in found], abs=1e-4)


def test_a_model_in_half_precision_is_scored_in_full(world: Path, rows: list[Encoded]) -> None:
    half = load_model(world / "model", CPU, torch.bfloat16)
    (found,) = score_tokens(half, rows[:1])
    assert found.logp.dtype == found.standardised.dtype == np.float32
    logp, _, standardised = plain(half, rows[0])
    assert found.logp == pytest.approx(logp, abs=1e-4)
    assert found.standardised == pytest.approx(standardised, abs=1e-3, rel=1e-3)


# By hand


def test_hand_worked_token() -> None:
    """p = 1/2, 1/4, 1/4. mu = -(1/2 + 2/4 * 2) ln 2 = -3/2 ln 2.

    sigma^2 = 1/2 (1/2 ln 2)^2 + 1/2 (1/2 ln 2)^2 = (1/2 ln 2)^2, so the scores are (-1 + 3/2) / (1/2) = 1 and
    (-2 + 3/2) / (1/2) = -1.
    """
    logits = [math.log(2), 0.0, 0.0]
    first, other = one(logits, 0), one(logits, 1)
    assert first.logp.tolist() == pytest.approx([-math.log(2)])
    assert other.logp.tolist() == pytest.approx([-2 * math.log(2)])
    assert (first.standardised.item(), other.standardised.item()) == pytest.approx((1.0, -1.0))
    assert (first.hits.tolist(), other.hits.tolist()) == ([True], [False])


def test_tokens_that_are_ruled_out_have_no_weight() -> None:
    """The hand-worked distribution again, with impossible tokens beside it."""
    found = one([math.log(2), -math.inf, 0.0, 0.0, -1e30], 0)
    assert found.standardised.item() == pytest.approx(1.0)
    assert np.isfinite(found.logp).all()


def test_a_certain_token_scores_nothing() -> None:
    """No spread to divide by: neither infinite nor not a number."""
    found = one([0.0, -1e4, -1e4], 0)
    assert (found.logp.item(), found.standardised.item(), found.total) == (0.0, 0.0, 0.0)
    assert found.hits.tolist() == [True]


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=12), st.data())
@settings(max_examples=50, deadline=None)
def test_standardised_scores_have_mean_nil_and_variance_one(logits: list[float], data: st.DataObject) -> None:
    """Over the distribution they are standardised by; a shift of all logits changes nothing."""
    p = np.exp(logits) / np.exp(logits).sum()
    if max(logits) - min(logits) < 0.1:
        return
    found = [one(logits, target).standardised.item() for target in range(len(p))]
    assert float(p @ found) == pytest.approx(0, abs=1e-3)
    assert float(p @ np.square(found)) == pytest.approx(1, abs=1e-2)
    shift = data.draw(st.floats(-20, 20))
    shifted = [one([value + shift for value in logits], target).standardised.item() for target in range(len(p))]
    assert shifted == pytest.approx(found, abs=1e-2, rel=1e-2)


@pytest.mark.parametrize("spread", [1e-3, 1e-2, 0.1, 1.0, 30.0])
def test_flat_distributions_over_a_large_vocabulary(spread: float) -> None:
    """As a model that was taught to say nothing gives: the variance must not drown in rounding."""
    logits = torch.randn(50_000, generator=torch.Generator().manual_seed(0)) * spread
    exact = torch.log_softmax(logits.double(), dim=-1)
    mean = (exact.exp() * exact).sum()
    sigma = (exact.exp() * (exact - mean) ** 2).sum().sqrt()
    for target in (0, 7, int(logits.argmax()), int(logits.argmin())):
        expected = float((exact[target] - mean) / sigma)
        assert one(logits, target).standardised.item() == pytest.approx(expected, rel=2e-2, abs=2e-2)


# Independence


def test_companions_and_order_do_not_matter(model: Any, rows: list[Encoded]) -> None:
    some = rows[:9]
    together, backwards = score_tokens(model, some), score_tokens(model, some[::-1])[::-1]
    for index, row in enumerate(some):
        (alone,) = score_tokens(model, [row])
        for found in (together[index], backwards[index]):
            assert found.total == pytest.approx(alone.total, abs=1e-4)
            assert found.logp == pytest.approx(alone.logp, abs=1e-4)
            assert found.standardised == pytest.approx(alone.standardised, abs=1e-3)
            assert found.hits.tolist() == alone.hits.tolist()


@pytest.mark.parametrize("chunk", [1, 3, 10_000])
def test_chunks_do_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, some = random_model("Llama"), random_rows(7)
    assert sum(row.tokens for row in some) % 3  # the last chunk of three is not full
    monkeypatch.setattr(forgetctl.model.token_scores, "CHUNK", chunk)
    for each, row in zip(score_tokens(network, some), some, strict=True):
        agree(each, plain(network, row))


def test_answers_of_one_token() -> None:
    network, some = random_model("Llama"), random_rows(5)
    short = [Encoded(row.ids, len(row.ids) - 1) for row in some]
    for each, row in zip(score_tokens(network, short), short, strict=True):
        assert each.logp.shape == (1,)
        agree(each, plain(network, row))


def test_short_and_long_answers_side_by_side() -> None:
    """Of every length from one token on, so that a shift by one token would show."""
    network = random_model("GPT2")
    some = [Encoded(tuple((7 * place + size) % VOCABULARY for place in range(size)), 1) for size in range(2, 12)]
    for each, row in zip(score_tokens(network, some), some, strict=True):
        assert len(each.logp) == row.tokens
        agree(each, plain(network, row))


def test_no_rows(model: Any) -> None:
    assert score_tokens(model, []) == []


def test_advance_counts_every_row(model: Any, rows: list[Encoded]) -> None:
    counted: list[int] = []
    score_tokens(model, rows, counted.append)
    assert sum(counted) == len(rows)
    assert len(counted) > 1


# Refusals


@pytest.mark.parametrize("logits", [[0.0, math.nan], [0.0, -math.inf], [math.inf, 0.0]])
def test_scores_that_are_not_finite_are_refused(logits: list[float]) -> None:
    with pytest.raises(ModelError, match="not finite"):
        one(logits, 1)


def test_representation_holds_no_numbers_of_a_row(model: Any, rows: list[Encoded]) -> None:
    (found,) = score_tokens(model, rows[:1])
    assert "logp" not in repr(found)
