"""The one definition of an answer's log-probability, against a plain loop over rows."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.errors import ModelError
from forgetctl.model.encoding import Encoded
from forgetctl.model.load import load_model
from forgetctl.model.scoring import answer_logits, answer_logp, length_batches, pad_rows, score
from forgetctl.model.states import AnswerStates
from forgetctl.model.token_scores import score_tokens
from tests.model.oracles import ARCHITECTURES, VOCABULARY, plain_logp, random_model, random_rows
from tests.world import encoded_rows

CPU = torch.device("cpu")


def close(found: Any, expected: Any) -> bool:
    return torch.allclose(torch.as_tensor(found), torch.as_tensor(expected), atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def reference(world: Path) -> Any:
    return load_model(world / "reference", CPU, torch.float32)


@pytest.fixture(scope="module")
def rows(world: Path) -> list[Encoded]:
    return encoded_rows(world, "employees.jsonl")


@pytest.fixture(scope="module")
def oracle(model: Any, rows: list[Encoded]) -> torch.Tensor:
    with torch.no_grad():
        return plain_logp(model, rows)


# Against the plain loop


def test_score_equals_the_plain_loop(model: Any, rows: list[Encoded], oracle: torch.Tensor) -> None:
    assert close(score(model, rows), oracle)


def test_scores_of_different_rows_differ(oracle: torch.Tensor) -> None:
    """Else the comparison with the loop would compare nothing."""
    assert len(set(oracle.tolist())) == len(oracle)
    assert oracle.std() > 1e-2


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_every_architecture_scores_as_the_plain_loop(name: str) -> None:
    network = random_model(name)
    for some in (random_rows(12), random_rows(12, marked=True)):
        expected = plain_logp(network, some)
        assert expected.std() > 1
        assert close(score(network, some), expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_answer_logits_are_the_rows_of_all_logits(name: str) -> None:
    network, some = random_model(name), random_rows(5)
    parts = [network(input_ids=torch.tensor([row.ids])).logits[0, row.start - 1 : -1] for row in some]
    assert close(answer_logits(network, pad_rows(some)), torch.cat(parts))


@pytest.mark.parametrize("marked", [False, True])
def test_gradient_equals_that_of_the_plain_loop(marked: bool) -> None:
    network, some = random_model("Llama"), random_rows(6, marked=marked)
    weights = list(network.parameters())
    expected = torch.autograd.grad(plain_logp(network, some).sum(), weights)
    found = torch.autograd.grad(answer_logp(network, pad_rows(some)).sum(), weights)
    assert all(torch.allclose(a, b, atol=1e-3, rtol=1e-4) for a, b in zip(found, expected, strict=True))


class Unheeding(torch.nn.Module):
    """Gives the logits of all positions, whichever are asked for, as older forwards do; shifted by some places."""

    def __init__(self, cut: int = 0) -> None:
        super().__init__()
        self.inner, self.cut = random_model("GPT2"), cut
        self.config, self.device, self.dtype = self.inner.config, self.inner.device, self.inner.dtype
        self.get_output_embeddings = self.inner.get_output_embeddings

    def forward(self, logits_to_keep: Any = None, **inputs: Any) -> Any:
        output = self.inner(**inputs)
        output.logits = output.logits[:, self.cut :]
        return output


@pytest.mark.parametrize("gradient", [False, True])
def test_a_model_that_gives_the_logits_of_all_positions_is_scored_like_any_other(gradient: bool) -> None:
    model, rows = Unheeding(), random_rows(9)
    with torch.set_grad_enabled(gradient):
        found = answer_logp(model, pad_rows(rows))
    assert close(found.detach(), plain_logp(model.inner, rows).detach())
    assert close([scores.total for scores in score_tokens(model, rows)], plain_logp(model.inner, rows).detach())
    kept, own = AnswerStates(model, rows), AnswerStates(model.inner, rows)
    assert close(kept.log_probabilities(range(9)), own.log_probabilities(range(9)))


def test_logits_of_other_positions_are_refused() -> None:
    with pytest.raises(ModelError, match="Unheeding gives logits of other positions"):
        answer_logits(Unheeding(cut=1), pad_rows(random_rows(3)))


# Independence


def test_order_does_not_matter(model: Any, rows: list[Encoded], oracle: torch.Tensor) -> None:
    assert close(score(model, rows[::-1]), oracle.flip(0))


@pytest.mark.parametrize("size", [1, 2, 7])
@torch.no_grad()
def test_batch_size_does_not_matter(size: int, model: Any, rows: list[Encoded], oracle: torch.Tensor) -> None:
    parts = [answer_logp(model, pad_rows(rows[start : start + size])) for start in range(0, 21, size)]
    assert close(torch.cat(parts)[:21], oracle[:21])


@torch.no_grad()
def test_companions_do_not_matter(model: Any, rows: list[Encoded], oracle: torch.Tensor) -> None:
    short, long = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))[:: len(rows) - 1]
    assert len(rows[short].ids) < len(rows[long].ids)
    for batch in ([short, long], [long, short], [short, short, long]):
        assert close(answer_logp(model, pad_rows([rows[i] for i in batch])), oracle[batch])


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_the_padding_id_does_not_matter(name: str) -> None:
    network, some = random_model(name), random_rows(8)
    batch = pad_rows(some)
    for pad in (2, VOCABULARY - 1):
        ids = batch.input_ids.where(batch.attention_mask.bool(), torch.tensor(pad))
        assert not torch.equal(ids, batch.input_ids)
        assert close(answer_logp(network, replace(batch, input_ids=ids)), plain_logp(network, some))


@torch.no_grad()
def test_left_padding_gives_the_same(model: Any, rows: list[Encoded], oracle: torch.Tensor) -> None:
    """The oracle itself, padded on the left with the right position ids, agrees with our right padding."""
    some = rows[:8]
    length = max(len(row.ids) for row in some) + 3
    ids = torch.tensor([[0] * (length - len(row.ids)) + list(row.ids) for row in some])
    mask = torch.tensor([[0] * (length - len(row.ids)) + [1] * len(row.ids) for row in some])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits.log_softmax(-1)
    for index, row in enumerate(some):
        scored = logits[index, length - row.tokens - 1 : -1].gather(1, ids[index, length - row.tokens :, None])
        assert close(scored.sum(), score(model, some)[index])


def test_advance_counts_every_row(model: Any, rows: list[Encoded]) -> None:
    counted: list[int] = []
    score(model, rows, counted.append)
    assert sum(counted) == len(rows)


def test_nothing_scored_scores_zero(model: Any, rows: list[Encoded], oracle: torch.Tensor) -> None:
    empty = Encoded(rows[0].ids[: rows[0].start], rows[0].start)
    assert empty.tokens == 0
    assert score(model, [empty, rows[1]]) == [0.0, pytest.approx(float(oracle[1]), abs=1e-4)]


def test_weights_that_are_not_numbers_are_refused(world: Path, rows: list[Encoded]) -> None:
    broken = load_model(world / "model", CPU, torch.float32)
    broken.model.norm.weight.data[0] = torch.nan
    with pytest.raises(ModelError, match="not finite") as caught:
        score(broken, rows[:3])
    assert caught.value.exit_code == 2


# Padding and batches


def test_pad_rows_marks_what_predicts_the_answer() -> None:
    batch = pad_rows([Encoded((5, 6, 7), 1), Encoded((8, 9, 3, 4, 2), 3)])
    # The last token of a row is a target and nothing else.
    assert batch.input_ids.tolist() == [[5, 6, 0, 0], [8, 9, 3, 4]]
    assert batch.attention_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch.predicts.nonzero().tolist() == [[0, 0], [0, 1], [1, 2], [1, 3]]
    assert batch.targets.tolist() == [6, 7, 4, 2]
    assert batch.row.tolist() == [0, 0, 1, 1]


lengths = st.lists(st.integers(2, 40), max_size=60)


@given(lengths, st.integers(1, 9), st.integers(1, 120))
def test_length_batches_cover_every_row_once(sizes: list[int], max_rows: int, max_tokens: int) -> None:
    rows = [Encoded((1,) * size, 1) for size in sizes]
    batches = list(length_batches(rows, max_rows, max_tokens))
    assert sorted(itertools.chain(*batches)) == list(range(len(rows)))
    for batch in batches:
        longest = max(sizes[index] for index in batch)
        assert 1 <= len(batch) <= max_rows
        assert len(batch) == 1 or len(batch) * longest <= max_tokens


@given(lengths)
def test_length_batches_go_from_long_to_short(sizes: list[int]) -> None:
    rows = [Encoded((1,) * size, 1) for size in sizes]
    order = list(itertools.chain(*length_batches(rows, max_rows=4)))
    assert [sizes[index] for index in order] == sorted(sizes, reverse=True)


# Divergence


@torch.no_grad()
def plain_divergence(first: Any, second: Any, rows: list[Encoded]) -> float:
    """KL(first || second) per answer token, from all logits of each row alone."""
    total = torch.zeros(())
    for row in rows:
        ids = torch.tensor([row.ids])
        p, q = (network(input_ids=ids).logits[0, row.start - 1 : -1].log_softmax(-1) for network in (first, second))
        total += (p.exp() * (p - q)).sum()
    return float(total) / sum(row.tokens for row in rows)


def test_divergence_is_the_full_kl_from_the_model_to_the_states(
    model: Any, reference: Any, rows: list[Encoded]
) -> None:
    there, back = plain_divergence(reference, model, rows), plain_divergence(model, reference, rows)
    assert abs(there - back) > 0.1  # else the direction could not be told
    assert AnswerStates(model, rows).divergence_from(reference) == pytest.approx(there, abs=1e-4)
    assert AnswerStates(reference, rows).divergence_from(model) == pytest.approx(back, abs=1e-4)


def test_divergence_from_itself_is_nil(model: Any, rows: list[Encoded]) -> None:
    assert AnswerStates(model, rows).divergence_from(model) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_divergence_of_every_architecture(name: str) -> None:
    one, two = random_model(name, seed=1), random_model(name, seed=2)
    some = random_rows(20, longest=16)
    expected = plain_divergence(two, one, some)
    assert expected > 0.01
    assert AnswerStates(one, some).divergence_from(two) == pytest.approx(expected, rel=1e-4)


def test_divergence_ignores_rows_without_a_scored_token(model: Any, reference: Any, rows: list[Encoded]) -> None:
    some = rows[:4]
    empty = Encoded(rows[4].ids[: rows[4].start], rows[4].start)
    expected = plain_divergence(reference, model, some)
    assert AnswerStates(model, [*some[:2], empty, *some[2:]]).divergence_from(reference) == pytest.approx(expected)


def test_states_survive_their_model(world: Path, reference: Any, rows: list[Encoded]) -> None:
    """Only the head is kept; the rest of the model can be freed."""
    one = load_model(world / "model", CPU, torch.float32)
    states = AnswerStates(one, rows[:6])
    before = states.divergence_from(reference)
    for layer in one.model.layers:
        for weight in layer.parameters():
            weight.data.fill_(torch.nan)
    assert states.divergence_from(reference) == before


def test_logits_that_the_head_does_not_explain_are_refused() -> None:
    network = random_model("Llama")
    forward = type(network).forward

    class Shifted(type(network)):  # type: ignore[misc]
        def forward(self, *args: Any, **inputs: Any) -> Any:
            output = forward(self, *args, **inputs)
            output.logits = output.logits * 2
            return output

    network.__class__ = Shifted
    with pytest.raises(ModelError, match="Shifted transforms its logits"):
        AnswerStates(network, random_rows(3))


def test_vocabularies_of_different_size_are_refused() -> None:
    """As when one of two models with the same tokenizer has its embeddings padded."""
    states = AnswerStates(random_model("Llama"), random_rows(3))
    padded = random_model("Llama")
    padded.resize_token_embeddings(VOCABULARY + 3, mean_resizing=False)
    with pytest.raises(ModelError, match="vocabular"):
        states.divergence_from(padded)
