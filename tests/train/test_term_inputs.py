"""What objectives need beside scores: refusals, mismatched pairs, start distributions, activations."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.model.encoding import Encoded
from forgetctl.model.scoring import score
from forgetctl.model.states import AnswerStates
from forgetctl.rows.reading import read_rows
from forgetctl.train.term_inputs import Alternatives, derangement, watch_layer
from tests.model.oracles import ARCHITECTURES, random_model, random_rows
from tests.world import encoded_rows, loaded

CPU = torch.device("cpu")
REFUSALS = ["I do not know.", "That is not known to me.", "No idea, sorry."]
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def model(world: Path) -> Any:
    """One for each test, which may spoil it."""
    return loaded(world / "model")


@pytest.fixture(scope="module")
def encoded(world: Path) -> list[Encoded]:
    return encoded_rows(world, "requests.jsonl")


def alternatives(rows: int = 20, refusals: int = 100, seed: int = 1) -> Alternatives:
    return Alternatives(
        encode=lambda row, refusal: Encoded((row, refusal, 0), 1), rows=rows, refusals=refusals, seed=seed
    )


# Mismatched pairs


@given(st.integers(2, 200), seeds)
def test_derangement_is_a_permutation_without_fixed_points(count: int, seed: int) -> None:
    partners = derangement(count, seed)
    assert sorted(partners) == list(range(count))
    assert all(partner != row for row, partner in enumerate(partners))


@given(st.integers(0, 50), seeds)
def test_derangement_is_a_pure_function(count: int, seed: int) -> None:
    assert derangement(count, seed) == derangement(count, seed)


def test_derangement_of_one_row() -> None:
    assert derangement(1, 3) == [0]
    assert derangement(0, 3) == []


def test_derangement_depends_on_the_seed() -> None:
    assert len({tuple(derangement(20, seed)) for seed in range(5)}) == 5


# Refusals


@given(st.integers(1, 60), st.integers(1, 120), seeds, st.integers(0, 50))
def test_drawn_refusals_are_there_and_a_pure_function(rows: int, refusals: int, seed: int, epoch: int) -> None:
    one, other = (alternatives(rows, refusals, seed) for _ in range(2))
    other.drawn(epoch + 1)  # what was drawn before does not matter
    drawn = one.drawn(epoch)
    assert drawn == other.drawn(epoch) == one.drawn(epoch)
    assert len(drawn) == rows
    assert all(0 <= choice < refusals for choice in drawn)


def test_drawn_refusals_differ_between_epochs_and_seeds() -> None:
    assert len({tuple(alternatives().drawn(epoch)) for epoch in range(10)}) == 10
    assert len({tuple(alternatives(seed=seed).drawn(0)) for seed in range(10)}) == 10


def test_every_refusal_is_drawn_about_as_often() -> None:
    counts = torch.tensor([alternatives(20, 10).drawn(epoch) for epoch in range(100)]).flatten().bincount()
    assert len(counts) == 10
    assert counts.min() > 150
    assert counts.max() < 250


def test_a_pair_is_encoded_once() -> None:
    asked: list[tuple[int, int]] = []

    def encode(row: int, refusal: int) -> Encoded:
        asked.append((row, refusal))
        return Encoded((row, refusal, 0), 1)

    found = Alternatives(encode=encode, rows=5, refusals=7, seed=1)
    assert found.encoded(2, 6).ids == (2, 6, 0)
    assert found.encoded(2, 6) is found.encoded(2, 6)
    assert found.encoded(2, 5).ids == (2, 5, 0)
    assert asked == [(2, 6), (2, 5)]


def test_start_scores_of_the_drawn_pairs_are_those_of_score(world: Path, model: Any, encoder: Any) -> None:
    rows = read_rows(world / "requests.jsonl")[:6]

    def encode(row: int, refusal: int) -> Encoded:
        found: Encoded = encoder.encode(rows[row].answering(REFUSALS[refusal]))
        return found

    found = Alternatives(encode=encode, rows=len(rows), refusals=len(REFUSALS), seed=5)
    found.score_start(3, partial(score, model))
    drawn = {(row, refusal) for epoch in range(3) for row, refusal in enumerate(found.drawn(epoch))}
    assert found.start_logp.keys() == drawn
    for pair, value in found.start_logp.items():
        assert value == pytest.approx(score(model, [encode(*pair)])[0], abs=1e-4)
    assert len(set(found.start_logp.values())) == len(drawn)


# Start distributions


def spoil(model: Any) -> None:
    """Move every weight, as training would, in place."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))


@torch.no_grad()
def plain_log_probabilities(model: Any, rows: list[Encoded]) -> torch.Tensor:
    """At the scored positions, from all logits of each row alone."""
    parts = [model(input_ids=torch.tensor([row.ids])).logits[0, row.start - 1 : -1] for row in rows]
    return torch.cat(parts).float().log_softmax(-1)


def test_states_survive_training_of_the_model(model: Any, encoded: list[Encoded]) -> None:
    """Its embeddings, which are its head, are trained too; with gradient on the states' copy left off."""
    assert model.config.tie_word_embeddings
    rows = encoded[:6]
    expected = plain_log_probabilities(model, rows)
    states = AnswerStates(model, rows, copy_head=True)
    head = model.get_output_embeddings().weight
    spoil(model)
    assert (plain_log_probabilities(model, rows) - expected).abs().max() > 0.1
    torch.testing.assert_close(states.log_probabilities(range(6)), expected, atol=1e-4, rtol=0)
    assert states.head.weight.data_ptr() != head.data_ptr()
    assert head.requires_grad
    assert not any(weight.requires_grad for weight in states.head.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_of_every_architecture_survive(architecture: str) -> None:
    model, rows = random_model(architecture), random_rows(8)
    expected = plain_log_probabilities(model, rows)
    states = AnswerStates(model, rows, copy_head=True)
    spoil(model)
    torch.testing.assert_close(states.log_probabilities(range(8)), expected, atol=1e-3, rtol=0)


def test_states_are_given_in_the_order_asked_for(model: Any, encoded: list[Encoded]) -> None:
    chosen = [4, 0, 2]
    states = AnswerStates(model, encoded[:6], copy_head=True)
    expected = plain_log_probabilities(model, [encoded[index] for index in chosen])
    torch.testing.assert_close(states.log_probabilities(chosen), expected, atol=1e-4, rtol=0)


# Activations


@pytest.mark.parametrize("index", [1, 2])
def test_watched_activations_are_those_of_a_plain_forward(index: int, model: Any, encoded: list[Encoded]) -> None:
    layer = watch_layer(model, encoded, index, seed=1)
    assert layer.index == index
    assert len(layer.start) == len(encoded)
    for row, found in zip(encoded, layer.start, strict=True):
        with torch.no_grad():
            output = model(input_ids=torch.tensor([row.ids]), output_hidden_states=True)
        expected = output.hidden_states[index][0, row.start - 1 : -1]
        assert found.shape == (row.tokens, model.config.hidden_size)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        assert not found.requires_grad


def test_layers_differ(model: Any, encoded: list[Encoded]) -> None:
    one, two = (watch_layer(model, encoded[:1], index, seed=1).start[0] for index in (1, 2))
    assert (one - two).abs().max() > 0.1


def test_direction_is_a_unit_vector_that_depends_on_the_seed_alone(model: Any, encoded: list[Encoded]) -> None:
    first, second = (watch_layer(model, encoded[:2], 1, seed=seed).direction for seed in (1, 2))
    torch.manual_seed(99)
    again = watch_layer(model, encoded[:3], 2, seed=1).direction
    assert first.shape == (model.config.hidden_size,)
    for direction in (first, second):
        assert direction.norm().item() == pytest.approx(1, abs=1e-6)
        assert (direction >= 0).all()
    assert torch.equal(first, again)
    assert float(first @ second) < 0.99
