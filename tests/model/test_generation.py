"""Greedy answers against a plain argmax loop without cache or padding; samples against the model's own distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from forgetctl.demo.training import learn, tiny_llama
from forgetctl.model import generation
from forgetctl.model.encoding import Encoded, Encoder
from forgetctl.model.generation import BATCH_ROWS, Answer, Decoding, continuations, greedy_answers
from forgetctl.model.load import load_model
from forgetctl.progress import Silent
from forgetctl.rows.reading import read_rows
from forgetctl.rows.row import Row
from tests.model.oracles import random_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rows(world: Path) -> list[Row]:
    """Rows that the model knows, and prompts that it does not, which it answers with anything."""
    unknown = ["a", "Who?", "Badge 123 Badge 321 of whom, and in which town, and for which team?", "live " * 12]
    return read_rows(world / "requests.jsonl") + [Row(i, (("user", text),), "") for i, text in enumerate(unknown)]


@pytest.fixture(scope="module")
def babbler(model: Any) -> Any:
    """A model with the same vocabulary that does not stop by itself."""
    return random_model("GPT2", vocab_size=model.config.vocab_size, seed=3)


@torch.no_grad()
def plain_answer(model: Any, encoder: Encoder, row: Row, limit: int) -> tuple[str, bool]:
    """The likeliest token, again and again."""
    ids = list(encoder.encode_prompt(row))
    start = len(ids)
    while len(ids) - start < limit:
        token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in encoder.stop_ids:
            return encoder.tokenizer.decode(ids[start:], skip_special_tokens=True).strip(), True
        ids.append(token)
    return encoder.tokenizer.decode(ids[start:], skip_special_tokens=True).strip(), False


def answers(
    model: Any, encoder: Encoder, rows: list[Row], limit: int, context: int | None = None
) -> list[tuple[str, bool]]:
    return [
        (answer.text, answer.complete)
        for answer in greedy_answers(model, encoder, rows, Decoding(max_new_tokens=limit, context=context))
    ]


def test_answers_equal_the_plain_loop(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    expected = [plain_answer(model, encoder, row, 30) for row in rows]
    assert answers(model, encoder, rows, 30) == expected
    assert len({text for text, _ in expected}) > 10


def test_answers_without_end_equal_the_plain_loop(babbler: Any, encoder: Encoder, rows: list[Row]) -> None:
    """Learned absolute positions: padding on the left must not shift them."""
    expected = [plain_answer(babbler, encoder, row, 8) for row in rows[-6:]]
    assert answers(babbler, encoder, rows[-6:], 8) == expected
    assert any(not complete for _, complete in expected)


def test_an_answer_cut_by_the_limit_is_not_complete(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    whole, cut = answers(model, encoder, rows[:1], 40)[0], answers(model, encoder, rows[:1], 3)[0]
    assert whole[1]
    assert not cut[1]
    assert whole[0].startswith(cut[0])
    assert 0 < len(cut[0]) < len(whole[0])


def test_an_answer_that_ends_exactly_at_the_limit_is_complete(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    text, complete = answers(model, encoder, rows[:1], 40)[0]
    assert complete
    needed = len(encoder.encode(rows[0].answering(text)).ids) - len(encoder.encode_prompt(rows[0]))
    assert answers(model, encoder, rows[:1], needed) == [(text, True)]
    assert answers(model, encoder, rows[:1], needed - 1) == [(text, False)]


def test_batch_composition_does_not_matter(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    alone = [answers(model, encoder, [row], 20)[0] for row in rows]
    assert answers(model, encoder, rows, 20) == alone
    assert answers(model, encoder, rows[::-1], 20) == alone[::-1]


def test_more_rows_than_a_batch_holds(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    some = rows[18:]
    many = (some * (BATCH_ROWS // len(some) + 1))[: BATCH_ROWS + 3]
    expected = answers(model, encoder, some, 5)
    assert answers(model, encoder, many, 5) == [expected[i % len(some)] for i in range(len(many))]


def test_passages_are_answered_with_nothing(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    passage = Row(1, (), "Alwen lives in Norwick.")
    expected = answers(model, encoder, rows[:1], 20)[0]
    assert answers(model, encoder, [passage, rows[0], passage], 20) == [("", False), expected, ("", False)]
    assert answers(model, encoder, [passage], 20) == [("", False)]


def test_no_rows(model: Any, encoder: Encoder) -> None:
    assert answers(model, encoder, [], 20) == []


# The model's context


def lengths(encoder: Encoder, rows: list[Row]) -> list[int]:
    return [len(encoder.encode_prompt(row)) for row in rows]


def test_generation_ends_where_the_context_ends(babbler: Any, encoder: Encoder) -> None:
    row = Row(1, (("user", "Who?"),), "")
    (prompt,) = lengths(encoder, [row])
    expected = plain_answer(babbler, encoder, row, 4)
    assert not expected[1]
    assert answers(babbler, encoder, [row], 50, context=prompt + 4) == [expected]


def test_a_prompt_that_fills_the_context_gets_no_answer(babbler: Any, encoder: Encoder) -> None:
    row = Row(1, (("user", "Who?"),), "")
    (prompt,) = lengths(encoder, [row])
    for context in (prompt, prompt - 1):
        assert answers(babbler, encoder, [row], 50, context=context) == [("", False)]


@pytest.mark.parametrize("room", [0, 2, 5])
def test_a_long_prompt_takes_no_room_from_a_short_one(
    room: int, babbler: Any, encoder: Encoder, rows: list[Row]
) -> None:
    short, long = rows[-4], rows[-1]
    context = lengths(encoder, [long])[0] + room
    assert context - lengths(encoder, [short])[0] >= 10
    alone = [answers(babbler, encoder, [row], 10, context=context)[0] for row in (short, long)]
    assert alone[0] == plain_answer(babbler, encoder, short, 10)
    assert answers(babbler, encoder, [short, long], 10, context=context) == alone


# Ends of turn


@pytest.mark.parametrize("special", [True, False])
def test_the_end_of_turn_is_not_part_of_the_text(special: bool, encoder: Encoder, rows: list[Row]) -> None:
    """Templates may end turns with an added token that the tokenizer does not call special.

    The model is taught to go on after it, so that it has to be stopped.
    """
    tokenizer = encoder.tokenizer
    tokenizer.add_tokens([AddedToken("<|end|>", special=special)], special_tokens=special)
    tokenizer.chat_template = tokenizer.chat_template.replace("</s>", "<|end|>")
    known = rows[:3]
    model = tiny_llama(len(tokenizer), seed=0, width=32)
    more = tokenizer(" And so on.")["input_ids"]
    taught = [Encoded((*item.ids, *more), item.start) for item in map(encoder.encode, known)]
    learn(model, taught, epochs=60, learning_rate=1e-2, seed=0, progress=Silent(), title="")
    assert answers(model, encoder, known, 40) == [(row.response, True) for row in known]


def test_every_row_is_counted(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    counted: list[int] = []
    prompts = [*rows, Row(1, (), "Alwen.")]
    greedy_answers(model, encoder, prompts, Decoding(max_new_tokens=2), counted.append)
    assert sum(counted) == len(prompts)


def test_representation_holds_no_text() -> None:
    assert "Norwick" not in repr(Answer("Alwen lives in Norwick.", complete=True))


# Given beginnings


def test_greedy_continuations_are_the_greedy_answers(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    prompts = [encoder.encode_prompt(row) for row in rows]
    found = continuations(model, encoder, prompts, Decoding(max_new_tokens=20))
    assert found == [[answer] for answer in greedy_answers(model, encoder, rows, Decoding(max_new_tokens=20))]


@pytest.mark.parametrize("given", [1, 3])
def test_an_answer_goes_on_from_its_own_beginning(given: int, model: Any, encoder: Encoder, rows: list[Row]) -> None:
    """Given the first tokens of what it would say, the model says the rest of it, and not the beginning again."""
    known = rows[:5]
    whole = [[*encoder.encode(row.answering(answers(model, encoder, [row], 40)[0][0])).ids] for row in known]
    starts = [len(encoder.encode_prompt(row)) + given for row in known]
    prompts = [ids[:start] for ids, start in zip(whole, starts, strict=True)]
    found = continuations(model, encoder, prompts, Decoding(max_new_tokens=40))
    for ids, start, (answer,) in zip(whole, starts, found, strict=True):
        assert answer == Answer(encoder.tokenizer.decode(ids[start:-1]).strip(), complete=True)


def test_empty_prompts_keep_their_places(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    prompt = encoder.encode_prompt(rows[0])
    (expected,) = continuations(model, encoder, [prompt], Decoding(max_new_tokens=20))
    nothing = [Answer("", complete=False)]
    assert continuations(model, encoder, [(), prompt, ()], Decoding(max_new_tokens=20)) == [nothing, expected, nothing]
    assert continuations(model, encoder, [(), ()], Decoding(max_new_tokens=20)) == [nothing, nothing]
    assert continuations(model, encoder, [], Decoding(max_new_tokens=20)) == []


# Samples


def sampled(model: Any, encoder: Encoder, prompts: Any, count: int, seed: int = 0, limit: int = 6) -> list[list[str]]:
    found = continuations(model, encoder, prompts, Decoding(max_new_tokens=limit, samples=count, seed=seed))
    return [[answer.text for answer in group] for group in found]


@pytest.fixture
def prompts(encoder: Encoder, rows: list[Row]) -> list[tuple[int, ...]]:
    return [encoder.encode_prompt(row) for row in rows[-6:]]


@pytest.mark.parametrize("count", [1, 3, BATCH_ROWS + 1])
def test_every_prompt_gets_its_number_of_samples(
    count: int, babbler: Any, encoder: Encoder, prompts: list[tuple[int, ...]]
) -> None:
    """Also where the samples of a single prompt are more than a batch."""
    found = sampled(babbler, encoder, [prompts[0], (), prompts[1]], count, limit=2)
    assert [len(group) for group in found] == [count] * 3
    assert found[1] == [""] * count


def test_samples_depend_on_the_seed_alone(babbler: Any, encoder: Encoder, prompts: list[tuple[int, ...]]) -> None:
    torch.manual_seed(1)
    first = sampled(babbler, encoder, prompts, 3, seed=5)
    torch.manual_seed(2)
    torch.rand(100)
    assert sampled(babbler, encoder, prompts, 3, seed=5) == first
    assert sampled(babbler, encoder, prompts, 3, seed=6) != first
    assert len({text for group in first for text in group}) > len(first)  # the samples of a prompt differ


def test_the_samples_of_a_prompt_do_not_depend_on_the_others(
    monkeypatch: pytest.MonkeyPatch, babbler: Any, encoder: Encoder, prompts: list[tuple[int, ...]]
) -> None:
    """Neither on those in the same batch, nor on those that another process answers."""
    together = sampled(babbler, encoder, [*prompts, prompts[0]], 3, seed=5)
    assert together[0] != together[-1]  # the same prompt in another place is asked anew
    halves = [[prompt if index % 2 == half else () for index, prompt in enumerate(prompts)] for half in range(2)]
    found = [sampled(babbler, encoder, half, 3, seed=5) for half in halves]
    assert [found[index % 2][index] for index in range(len(prompts))] == together[:-1]
    monkeypatch.setattr(generation, "BATCH_ROWS", 3)
    assert sampled(babbler, encoder, prompts, 3, seed=5) == together[:-1]


def test_no_random_number_is_taken_from_others(babbler: Any, encoder: Encoder, prompts: list[tuple[int, ...]]) -> None:
    for samples in (None, 2):
        torch.manual_seed(11)
        before = torch.random.get_rng_state()
        continuations(babbler, encoder, prompts, Decoding(max_new_tokens=3, samples=samples, seed=5))
        assert torch.equal(torch.random.get_rng_state(), before)


def test_samples_stay_with_their_prompts(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    """A model that is all but certain says the same when sampled; lengths differ, so that batches are reordered."""
    known = sorted(rows[:20], key=lambda row: row.response)
    asked = [encoder.encode_prompt(row) for row in known]
    greedy = [text for text, _ in answers(model, encoder, known, 40)]
    sharp = load_scaled(model, 1e4)
    found = sampled(sharp, encoder, asked, 4, limit=40)
    assert len(set(greedy)) > 10
    assert found == [[text] * 4 for text in greedy]


def load_scaled(model: Any, factor: float) -> Any:
    """The model with all logits multiplied: as at a low temperature."""
    scaled = type(model)(model.config).eval()
    scaled.load_state_dict(model.state_dict())
    scaled.config.tie_word_embeddings = False
    scaled.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * factor)
    return scaled


def test_samples_follow_the_models_own_distribution(
    babbler: Any, encoder: Encoder, prompts: list[tuple[int, ...]]
) -> None:
    """Temperature 1, nothing cut off: first tokens fall into ten groups of equal probability equally often.

    Counts of 3000 draws in a group: mean 300, standard deviation sqrt(3000 * 0.09) = 16.4; 5 of those are 82.
    """
    draws = 3000
    with torch.no_grad():
        p = babbler(input_ids=torch.tensor([prompts[0]])).logits[0, -1].softmax(-1)
    order = p.argsort(descending=True)
    ids = draw_first_tokens(babbler, encoder, prompts[0], draws)
    group = torch.empty(len(p), dtype=torch.long)
    group[order] = ((p[order].cumsum(0) - p[order] / 2) * 10).long().clamp(max=9)
    expected = torch.zeros(10).index_add(0, group, p) * draws
    counts = torch.bincount(group[ids], minlength=10)
    assert expected.min() > 100
    assert (counts - expected).abs().max() < 5 * (draws * 0.09) ** 0.5


def draw_first_tokens(model: Any, encoder: Encoder, prompt: tuple[int, ...], draws: int) -> list[int]:
    """Ids of sampled first tokens, caught where the text is decoded."""
    caught: list[list[int]] = []

    class Catching:
        stop_ids = encoder.stop_ids

        class tokenizer:
            @staticmethod
            def decode(ids: list[int], **_: Any) -> str:
                caught.append(ids)
                return ""

    continuations(model, Catching(), [prompt], Decoding(max_new_tokens=1, samples=draws, seed=1))  # type: ignore[arg-type]
    assert len(caught) == draws
    return [ids[0] if ids else encoder.stop_ids[0] for ids in caught]


def test_samples_end_where_the_model_ends_them(model: Any, encoder: Encoder, rows: list[Row]) -> None:
    """Finished and cut samples in one batch: each knows for itself, and holds nothing after its end."""
    prompt = encoder.encode_prompt(rows[0])
    (cut,) = continuations(model, encoder, [prompt], Decoding(max_new_tokens=6, samples=40, seed=3))
    (whole,) = continuations(model, encoder, [prompt], Decoding(max_new_tokens=60, samples=40, seed=3))
    assert {answer.complete for answer in cut} == {True, False}
    for short, long in zip(cut, whole, strict=True):
        assert "</s>" not in long.text
        assert long.text.startswith(short.text)
        assert short == long or not short.complete


def test_samples_end_where_the_context_ends(babbler: Any, encoder: Encoder, prompts: list[tuple[int, ...]]) -> None:
    asked = sorted(prompts, key=len)
    decoding = Decoding(max_new_tokens=50, context=len(asked[-1]), samples=2)
    found = continuations(babbler, encoder, [asked[-1], asked[0]], decoding)
    assert found[0] == [Answer("", complete=False)] * 2
    assert all(answer.text for answer in found[1])


def test_samples_are_counted_by_prompt(babbler: Any, encoder: Encoder, prompts: list[tuple[int, ...]]) -> None:
    counted: list[int] = []
    continuations(babbler, encoder, [*prompts, ()], Decoding(max_new_tokens=2, samples=3), counted.append)
    assert sum(counted) == len(prompts) + 1


# Batches


def test_batches_of_large_caches_are_smaller(
    monkeypatch: pytest.MonkeyPatch, babbler: Any, encoder: Encoder, prompts: list[tuple[int, ...]]
) -> None:
    """Room for two rows of the longest prompt and its answer."""
    expected = continuations(babbler, encoder, prompts, Decoding(max_new_tokens=5))
    sizes: list[int] = []
    plain = generation.decode
    monkeypatch.setattr(
        generation, "decode", lambda model, some, *rest: (sizes.append(len(some)), plain(model, some, *rest))[1]
    )
    limit = 2 * generation.cache_bytes(babbler) * (max(map(len, prompts)) + 5)
    monkeypatch.setattr(generation, "CACHE_BYTES", limit)
    assert continuations(babbler, encoder, prompts, Decoding(max_new_tokens=5)) == expected
    assert sizes == [2, 2, 2]


@pytest.mark.parametrize("samples", [None, 3])
def test_models_with_other_caches_answer_too(
    samples: int | None, monkeypatch: pytest.MonkeyPatch, model: Any, encoder: Encoder, rows: list[Row]
) -> None:
    """By `generate`: the same answers, sampled ones too."""
    prompts, decoding = [encoder.encode_prompt(row) for row in rows], Decoding(max_new_tokens=20, samples=samples)
    looped = continuations(model, encoder, prompts, decoding)
    monkeypatch.setattr(generation, "can_decode", lambda _: False)
    assert continuations(model, encoder, prompts, decoding) == looped
    assert samples is None or len({answer for answers in looped for answer in answers}) > len(looped)


# What a model's directory says about decoding


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("repetition_penalty", 3.0),
        ("no_repeat_ngram_size", 1),
        ("min_p", 0.9),
        ("typical_p", 0.2),
        ("epsilon_cutoff", 0.5),
        ("min_new_tokens", 15),
        ("num_beams", 2),
        ("num_return_sequences", 2),
        ("guidance_scale", 2.0),
        ("suppress_tokens", list(range(300, 600))),
        ("temperature", 0.1),
        ("top_k", 1),
    ],
)
def test_the_models_own_generation_config_changes_nothing(
    key: str, value: Any, world: Path, model: Any, encoder: Encoder, rows: list[Row]
) -> None:
    """Else whoever hands in a model could hide what it knows, and models would be compared by their settings."""
    known = rows[:6]
    asked = [encoder.encode_prompt(row) for row in known]
    own = load_model(world / "model", CPU, torch.float32)
    setattr(own.generation_config, key, value)
    assert answers(own, encoder, known, 20) == answers(model, encoder, known, 20)
    assert sampled(own, encoder, asked, 2, limit=20) == sampled(model, encoder, asked, 2, limit=20)
