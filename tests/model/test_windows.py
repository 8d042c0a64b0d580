"""Passages in windows: each token scored once, what fits unchanged, and sums that a plain sliding window gives too."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import processors

from forgetctl.errors import InputError
from forgetctl.model.encoding import Encoded, Encoder, encode_rows
from forgetctl.model.row_scorer import ALL_MODES, PRIMED, RowScorer
from forgetctl.model.scores import GREEDY
from forgetctl.model.scoring import score
from forgetctl.model.windows import by_row, row_sums, row_tokens, whole_rows, windows_note
from forgetctl.recipe.recipe import Passages, Verify
from forgetctl.rows.row import Row
from tests.model.oracles import VOCABULARY, random_model, token_logp

FILE = Path("folder/request.jsonl")
TEXT = "Alwen lives in Norwick and is a clerk. " * 12
PASSAGE = Row(4, (), TEXT)
SHORT = Row(5, (), "Alwen is a clerk.")
QUESTION = Row(6, (("user", "Where does Alwen live?"),), "In Norwick.")
sizes = st.integers(1, 60)


# Cutting


@given(st.integers(2, 300), st.integers(2, 80), sizes, st.integers(0, 2))
def test_each_token_is_scored_exactly_once(tokens: int, length: int, overlap: int, lead: int) -> None:
    """Ids are their own places, so that a window shows what it holds."""
    start = max(lead, 1)
    assume(overlap < length - lead and start < min(length, tokens))
    whole = Encoded(tuple(range(tokens)), start)
    windows = whole.windows(length, overlap, lead)
    assert [place for window in windows for place in window.ids[window.start :]] == list(range(start, tokens))
    assert all(len(window.ids) <= length for window in windows)
    assert [window.continues for window in windows] == [False] + [True] * (len(windows) - 1)
    for before, window in pairwise(windows):
        assert window.ids[:lead] == whole.ids[:lead]
        assert window.ids[lead : window.start] == before.ids[-overlap:]  # nothing but what came just before
        assert window.tokens > 0
    assert all(len(window.ids) == length for window in windows[:-1])


@given(st.integers(2, 80), st.integers(0, 50), sizes)
def test_what_fits_is_unchanged(tokens: int, room: int, overlap: int) -> None:
    assume(overlap < tokens + room)
    whole = Encoded(tuple(range(tokens)), 1)
    assert whole.windows(tokens + room, overlap) == [whole]


@pytest.mark.parametrize(("length", "overlap", "lead"), [(8, 0, 0), (8, 8, 0), (8, 7, 1), (1, 1, 0)])
def test_windows_without_a_token_to_score_are_refused(length: int, overlap: int, lead: int) -> None:
    with pytest.raises(ValueError, match="no token to score"):
        Encoded(tuple(range(20)), 1).windows(length, overlap, lead)


@torch.no_grad()
def sliding(model: Any, ids: tuple[int, ...], length: int, overlap: int) -> float:
    """The usual loop: move on by what is new, and count only what was not counted yet."""
    total, counted = 0.0, 1
    for begin in range(0, len(ids), length - overlap):
        end = min(begin + length, len(ids))
        logits = model(input_ids=torch.tensor([ids[begin:end]]), use_cache=False).logits[0].float()
        logp = torch.log_softmax(logits, -1)
        total += sum(float(logp[place - begin - 1, ids[place]]) for place in range(counted, end))
        counted = end
        if end == len(ids):
            break
    return total


@pytest.mark.parametrize(("tokens", "length", "overlap"), [(50, 16, 4), (33, 16, 15), (47, 12, 1), (16, 16, 4)])
@torch.no_grad()
def test_the_sum_over_windows_is_a_plain_sliding_windows(tokens: int, length: int, overlap: int) -> None:
    model = random_model("Llama")
    ids = torch.randint(0, VOCABULARY, (tokens,), generator=torch.Generator().manual_seed(tokens)).tolist()
    whole = Encoded(tuple(ids), 1)
    windows = whole.windows(length, overlap)
    (found,) = row_sums(windows, score(model, windows))
    assert found == pytest.approx(sliding(model, whole.ids, length, overlap), abs=1e-3)
    if tokens > length:
        assert abs(found - float(token_logp(model, whole).sum())) > 1e-2  # the whole context would tell more


# Grouping


def test_values_go_back_to_their_rows() -> None:
    whole, short = Encoded(tuple(range(20)), 1), Encoded((1, 2, 3), 1)
    encoded = [short, *whole.windows(8, 2), short]
    assert by_row(encoded, "abcde") == [["a"], ["b", "c", "d"], ["e"]]
    counts = [len(own) for own in by_row(encoded, encoded)]
    assert counts == [1, len(whole.windows(8, 2)), 1]
    assert row_tokens(encoded) == [2, 19, 2]
    assert row_sums(encoded, [1.0] * len(encoded)) == counts
    with pytest.raises(ValueError, match="zip"):
        by_row(encoded, [1])


@pytest.mark.parametrize("steps", [[5], [1, 1, 1, 1, 1], [2, 3], [4, 1]])
def test_progress_counts_rows(steps: list[int]) -> None:
    encoded = [Encoded((1, 2), 1), *Encoded(tuple(range(26)), 1).windows(8, 2)]
    assert len(encoded) == 5
    seen: list[int] = []
    count = whole_rows(seen.append, encoded)
    for step in steps:
        count(step)
    assert sum(seen) == 2
    assert min(seen) >= 0


# Rows


def test_only_passages_become_windows(encoder: Encoder) -> None:
    context = len(encoder.encode(QUESTION).ids) + 3
    assert len(encoder.encode(PASSAGE).ids) > 2 * context
    encoded, cut = encode_rows(encoder, [SHORT, PASSAGE, QUESTION], FILE, context, None)
    assert cut == 0
    (first,), windows, (last,) = by_row(encoded, encoded)
    assert (first, last) == (encoder.encode(SHORT), encoder.encode(QUESTION))
    whole = encoder.encode(PASSAGE)
    assert windows == whole.windows(context, int(Passages().overlap * context))
    assert row_tokens(encoded)[1] == whole.tokens
    assert max(len(item.ids) for item in encoded) <= context
    assert windows_note(encoded, "forget") == (
        f"1 of 3 forget rows is a passage longer than a window: cut into {len(windows)} windows that overlap, each "
        "token scored once."
    )
    assert windows_note(by_row(encoded, encoded)[0], "forget") is None


def test_a_question_that_does_not_fit_is_still_refused(encoder: Encoder) -> None:
    long = Row(7, QUESTION.context, TEXT)
    with pytest.raises(InputError, match="row 7 is longer than the model's context of 40 tokens"):
        encode_rows(encoder, [PASSAGE, long], FILE, 40, None)


@pytest.mark.parametrize("context", [None, 64])
def test_the_recipe_says_how_long_a_window_is(context: int | None, encoder: Encoder) -> None:
    encoded, _ = encode_rows(encoder, [PASSAGE], FILE, context, None, Passages(window=20, overlap=0.5))
    assert encoded == encoder.encode(PASSAGE).windows(20, 10)
    assert encode_rows(encoder, [PASSAGE], FILE, None, None)[0] == [encoder.encode(PASSAGE)]


def test_max_length_cuts_a_passage_as_it_cuts_any_row(encoder: Encoder) -> None:
    """Whoever asks for a cut gets one; what is left may still be longer than the context."""
    whole = encoder.encode(PASSAGE)
    assert encode_rows(encoder, [PASSAGE], FILE, 64, 30) == ([Encoded(whole.ids[:30], 1)], 1)
    encoded, cut = encode_rows(encoder, [PASSAGE], FILE, 40, 50)
    assert (cut, encoded) == (1, Encoded(whole.ids[:50], 1).windows(40, 10))


def test_no_overlap_still_leaves_a_token_to_predict_from(encoder: Encoder) -> None:
    encoded, _ = encode_rows(encoder, [PASSAGE], FILE, 30, None, Passages(overlap=0))
    assert encoded == encoder.encode(PASSAGE).windows(30, 1)


def test_every_window_begins_as_the_tokenizer_begins_a_text(encoder: Encoder) -> None:
    tokenizer = encoder.tokenizer
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    encoded, _ = encode_rows(Encoder(tokenizer, "{prompt}"), [PASSAGE], FILE, 32, None)
    assert len(encoded) > 2
    assert all(window.ids[0] == tokenizer.bos_token_id for window in encoded)
    assert sum(window.ids.count(tokenizer.bos_token_id) for window in encoded) == len(encoded)
    assert row_tokens(encoded) == [Encoder(tokenizer, "{prompt}").encode(PASSAGE).tokens]


# Scores


def scorer(model: Any, encoder: Encoder, window: int | None, seen: list[int] | None = None) -> RowScorer:
    return RowScorer(
        model=model,
        encoder=encoder,
        encode=lambda rows: encode_rows(encoder, rows, FILE, 256, None, Passages(window=window))[0],
        settings=Verify(answer_tokens=8, samples=2, sampled_rows=2),
        context=256,
        seed=3,
        advance=(seen if seen is not None else []).append,
    )


def test_a_row_has_the_scores_of_all_of_its_windows(model: Any, encoder: Encoder) -> None:
    rows, seen = [QUESTION, PASSAGE, SHORT], []
    found = scorer(model, encoder, 24, seen).scores(rows, ALL_MODES)
    plain = scorer(model, encoder, 24).scores(rows, tokens=False)
    overlap = int(24 * Passages().overlap)
    assert found.names == ["6", "4", "5"]
    assert found.answer_tokens == [encoder.encode(row).tokens for row in rows]
    assert found.answer_logp[1] == pytest.approx(sliding(model, encoder.encode(PASSAGE).ids, 24, overlap), abs=1e-3)
    assert found.answer_logp == pytest.approx(plain.answer_logp, abs=1e-4)
    assert found.min_k is not None
    assert len(found.min_k) == 3
    assert found.elicited[GREEDY].recall[1] is None  # a passage has no prompt
    assert found.elicited[PRIMED].recall[1] is not None
    assert sum(seen) == 3 * (1 + len(ALL_MODES))


def test_rows_that_fit_are_scored_as_ever(model: Any, encoder: Encoder) -> None:
    rows = [QUESTION, SHORT]
    assert scorer(model, encoder, 250).scores(rows) == scorer(model, encoder, None).scores(rows)


def test_wrong_passages_may_be_long_too(model: Any, encoder: Encoder) -> None:
    row = Row(4, (), "Alwen.", perturbed_responses=(TEXT, "Norwick."))
    found = scorer(model, encoder, 24).scores([row])
    wrong = [encoder.encode(row.answering(text)) for text in row.perturbed_responses]
    assert found.perturbed_tokens == [[item.tokens for item in wrong]]
    assert found.perturbed_logp is not None
    assert found.perturbed_logp[0][0] == pytest.approx(sliding(model, wrong[0].ids, 24, 6), abs=1e-3)
