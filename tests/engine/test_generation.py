"""Greedy answers against a plain argmax loop without cache or padding."""

from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import random_model
from tokenizers import AddedToken

from forgetctl.demo.training import encoder_for, learn, tiny_llama
from forgetctl.engine.encoding import Encoded, Encoder
from forgetctl.engine.generation import BATCH_ROWS, Answer, greedy_answers
from forgetctl.engine.models import load_model, load_tokenizer
from forgetctl.progress import Silent
from forgetctl.rows import Row
from forgetctl.stages.request import read_rows

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(world: Path) -> Any:
    return load_model(world / "model", CPU, torch.float32)


@pytest.fixture
def encoder(world: Path) -> Encoder:
    return encoder_for(load_tokenizer(world / "model"))


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


def answers(*args: Any, **options: Any) -> list[tuple[str, bool]]:
    return [(answer.text, answer.complete) for answer in greedy_answers(*args, **options)]


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
    greedy_answers(model, encoder, prompts, 2, advance=counted.append)
    assert sum(counted) == len(prompts)


def test_representation_holds_no_text() -> None:
    assert "Norwick" not in repr(Answer("Alwen lives in Norwick.", complete=True))
