"""When an answer repeats a response: by words that the prompt does not hold, in one piece or most of them in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.rows.repetition import RUN_WORDS, Repetition

PROMPT = "What did Ada Example do in Gent?"
RESPONSE = "Ada Example opened a small workshop for clocks beside the old harbour of Gent in 1931."
# Sixteen words, twelve of them new: all but Ada, Example, Gent and in.

words = st.text("abcdefghij", min_size=1, max_size=4)


def repeats(answer: str, response: str = RESPONSE, prompt: str = PROMPT) -> bool:
    return Repetition(prompt, response).in_answer(answer)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (RESPONSE, True),
        (RESPONSE.upper().replace(".", "!"), True),
        ("She opened a small workshop for clocks beside the, I think.", True),  # eight new words in one piece
        ("She opened a small workshop for clocks beside a lake, I think.", False),  # seven
        ("He had opened a small workshop. For clocks, beside the sea.", True),  # marks part no words
        (
            "Opened a small shop for clocks beside an old harbour of 1931.",
            False,
        ),  # ten of twelve, but not of all sixteen
        ("Ada Example opened a small shop for clocks beside an old harbour of Gent in 1931.", True),  # 14 of 16
        ("Ada Example in Gent, Ada Example in Gent", False),
        ("", False),
    ],
)
def test_by_hand(answer: str, expected: bool) -> None:
    assert repeats(answer) is expected


def test_four_fifths_of_all_words_and_of_the_new_ones() -> None:
    response, prompt = "a1 b1 c1 d1 e1 f1 g1 h1 i1 j1", "and k1"
    assert repeats("a1 x b1 x c1 x d1 x e1 x f1 x g1 x h1", response, prompt)  # 8 of 10
    assert not repeats("a1 x b1 x c1 x d1 x e1 x f1 x g1", response, prompt)
    assert not repeats("h1 g1 f1 e1 d1 c1 b1 a1 i1 j1", response, prompt)  # not in order
    # Twenty words of which ten are new: all old ones and six of the new make .8 of all, but .6 of the new.
    old = " ".join(f"k{i} n{i}" for i in range(10))
    prompt = " ".join(f"k{i}" for i in range(10))
    assert not repeats(" ".join(f"k{i} {'n' if i % 5 else 'x'}{i}" for i in range(10)).replace("n4", "x"), old, prompt)
    assert repeats(" ".join(f"k{i} {'n' if i % 5 else 'x'}{i}" for i in range(10)), old, prompt)


@pytest.mark.parametrize(
    ("response", "expected"),
    [("one two three four five six seven eight", True), ("one two three four five six seven", False), ("", False)],
)
def test_a_response_needs_eight_new_words(response: str, expected: bool) -> None:
    assert Repetition("", response).can_be_seen is expected
    assert Repetition("", response).in_answer(response) is expected
    assert not Repetition(response, response).can_be_seen


def test_two_letters_of_a_script_without_blanks_are_a_word() -> None:
    text = "她出生在海边的一个小镇上后来学习"
    assert len(text) == 2 * RUN_WORDS
    assert Repetition("", text).can_be_seen
    assert not Repetition("", text[1:]).can_be_seen
    long = f"{text}了两年法律然后离开大学写下了她的第一部小说"
    assert repeats(f"不知道{text}。", long, "")
    assert not repeats(f"不知道{text[1:]}。", long, "")


@given(st.lists(words, min_size=RUN_WORDS, max_size=30), st.lists(words), st.lists(words), st.lists(words))
def test_what_holds_the_response_repeats_it(
    response: list[str], prompt: list[str], before: list[str], after: list[str]
) -> None:
    rule = Repetition(" ".join(prompt), " ".join(response))
    assert rule.can_be_seen is (sum(word not in prompt for word in response) >= RUN_WORDS)
    assert rule.in_answer(" ".join([*before, *response, *after])) is rule.can_be_seen


@given(st.lists(words, max_size=30), st.lists(words, max_size=40))
def test_an_answer_without_the_words_repeats_nothing(response: list[str], answer: list[str]) -> None:
    assert not Repetition("", " ".join(response)).in_answer(
        " ".join(answer).translate(str.maketrans("abcdefghij", "klmnopqrst"))
    )


def answers(log: Path) -> Iterator[tuple[Repetition, str]]:
    texts = json.loads(log.read_text())["eval_log_forget.json"]["generated_text"]
    for prompt, answer, response in texts.values() if isinstance(texts, dict) else texts:
        yield Repetition(prompt, response), answer


def test_models_that_never_saw_the_rows_repeat_none_and_models_that_did_repeat_most(shared: Path) -> None:
    logs = sorted((shared / "tofu" / "logs").glob("*.json"))
    never = [pair for log in logs if "full" not in log.name for pair in answers(log)]
    assert len(never) == 1580
    assert sum(rule.in_answer(answer) for rule, answer in never) == 0
    for name, share in (("tofu_llama2-7b_full", 0.95), ("tofu_phi_full", 0.85)):
        seen = [
            rule.in_answer(answer)
            for rule, answer in answers(shared / "tofu" / "logs" / f"{name}.json")
            if rule.can_be_seen
        ]
        assert len(seen) == 257
        assert sum(seen) >= share * len(seen)
