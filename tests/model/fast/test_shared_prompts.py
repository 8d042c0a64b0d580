"""Scores with prompts computed once against one row at a time, on what differs between architectures."""

from __future__ import annotations

import pytest
import torch

from forgetctl.errors import ModelError
from forgetctl.model.encoding import Encoded
from forgetctl.model.fast import shared_prompts
from forgetctl.model.fast.shared_prompts import score_answers
from tests.model.cached_models import CHANGES, cached_model
from tests.model.oracles import plain_logp, random_model, random_rows, scored_in_part


def answers_to_few_prompts() -> list[Encoded]:
    """40 rows: prompts of 1 to 15 tokens, one with a single answer, answers of all lengths in mixed order."""
    prompts = [row.ids[: min(len(row.ids), 15)] for row in random_rows(8, seed=1)] + [(5,)]
    rests = [row.ids for row in random_rows(39, seed=2)]
    rows = [Encoded(prompts[1 + k % 8] + rest, len(prompts[1 + k % 8])) for k, rest in enumerate(rests)]
    return [Encoded(prompts[0] + rests[0], len(prompts[0])), *rows]


def test_answers_that_are_scored_in_part() -> None:
    model = random_model("Llama")
    rows = [scored_in_part(row, place) if place % 3 else row for place, row in enumerate(answers_to_few_prompts())]
    with torch.no_grad():
        assert score_answers(model, rows) == pytest.approx(plain_logp(model, rows).tolist(), abs=1e-4)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were computed without sharing."""
    found: list[int] = []
    plain = shared_prompts.score
    monkeypatch.setattr(shared_prompts, "score", lambda model, rows: (found.append(len(rows)), plain(model, rows))[1])
    return found


@pytest.mark.parametrize("architecture", CHANGES)
@torch.no_grad()
def test_scores_are_those_of_rows_alone(architecture: str, counted: list[int]) -> None:
    model, rows = cached_model(architecture), answers_to_few_prompts()
    assert score_answers(model, rows) == pytest.approx(plain_logp(model, rows).tolist(), abs=1e-4)
    # The prompt of one token, which gives nothing to share, and the one with a single answer.
    assert counted == [sum(row.start == 1 for row in rows) + 1]


@torch.no_grad()
def test_batches_hold_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches of prompts, and several of answers in each."""
    model, rows = random_model("Llama"), answers_to_few_prompts()
    expected = score_answers(model, rows)
    monkeypatch.setattr(shared_prompts, "MAX_TOKENS", 40)
    monkeypatch.setattr(shared_prompts, "MAX_ROWS", 3)
    assert score_answers(model, rows) == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_padding_turns_no_long_factors_on(counted: list[int]) -> None:
    """LongRoPE: rows within the short factors, the longest prompt in one and the longest answer in another."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [9.0] * 4,
        "original_max_position_embeddings": 12,
    }
    model = random_model("Phi3", rope_parameters=rope, original_max_position_embeddings=12)
    prompts = [(5, 9, 4), (8, 3, 11, 20, 7, 15, 2, 6)]
    rows = [Encoded((*prompts[0], *range(30, 37 + k)), 3) for k in range(2)]
    rows += [Encoded((*prompts[1], *range(40, 42 + k)), 8) for k in range(2)]
    assert score_answers(model, rows) == pytest.approx(plain_logp(model, rows).tolist(), abs=1e-4)
    assert counted == [0]


@torch.no_grad()
def test_a_model_with_another_cache_is_scored_row_by_row(monkeypatch: pytest.MonkeyPatch, counted: list[int]) -> None:
    model, rows = random_model("Llama"), answers_to_few_prompts()
    expected = score_answers(model, rows)
    monkeypatch.setattr(shared_prompts, "can_decode", lambda _: False)
    assert score_answers(model, rows) == pytest.approx(expected, abs=1e-4)
    assert counted[-1] == len(rows)


def test_nothing_to_score() -> None:
    assert score_answers(random_model("Llama"), []) == []


@torch.no_grad()
def test_a_score_that_is_not_finite_is_an_error() -> None:
    model = random_model("Llama")
    model.lm_head.weight[:] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        score_answers(model, answers_to_few_prompts())
