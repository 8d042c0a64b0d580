"""What an answer gives away: memorisation, repetition and gibberish."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetctl.model.extraction import (
    exact_memorisation,
    extraction_strength,
    is_gibberish,
    is_long,
    is_verbatim,
    least_likely,
    repeated,
)
from forgetctl.rows.repetition import Repetition

hits = st.lists(st.booleans(), min_size=1, max_size=30)
PROSE = (
    "She was born in a small town by the sea, studied law for two years, then left the university and wrote her first "
    "novel about the people who had stayed behind when the harbour closed."
)
CHINESE = "她出生在海边的一个小镇上,后来学习了两年法律,然后离开大学,写下了她的第一部小说,讲述港口关闭之后留下来的人们。"


# Memorisation


@pytest.mark.parametrize(
    ("found", "share", "strength"),
    [
        ([1, 1, 1, 1], 1.0, 1.0),
        ([0, 0, 0, 0], 0.0, 0.0),
        ([1, 1, 1, 0], 3 / 4, 0.0),  # the last token is missed: nothing comes out by itself
        ([0, 1, 1, 1], 3 / 4, 3 / 4),  # after the first token the rest follows
        ([1, 0, 1, 1], 3 / 4, 2 / 4),  # both of the first two have to be given
        ([1], 1.0, 1.0),
        ([0], 0.0, 0.0),
    ],
)
def test_memorisation_by_hand(found: list[int], share: float, strength: float) -> None:
    assert exact_memorisation(found) == pytest.approx(share)
    assert extraction_strength(found) == pytest.approx(strength)


@settings(max_examples=50, deadline=None)
@given(hits)
def test_strength_is_the_longest_tail_without_a_miss(found: list[bool]) -> None:
    tails = [length for length in range(len(found) + 1) if all(found[len(found) - length :])]
    assert extraction_strength(found) == pytest.approx(max(tails) / len(found))
    assert extraction_strength(found) <= exact_memorisation(found) + 1e-12


@pytest.mark.parametrize("measure", [exact_memorisation, extraction_strength])
@pytest.mark.parametrize("bad", [[], [[True]], True])
def test_answers_without_tokens(measure: Callable[[object], float], bad: object) -> None:
    with pytest.raises(ValueError, match="without tokens"):
        measure(bad)


# Least likely tokens


@pytest.mark.parametrize(
    ("scores", "share", "expected"),
    [
        ([-1.0, -5.0, -2.0, -4.0, -3.0], 0.4, -4.5),  # two of five: -5 and -4
        ([-1.0, -5.0, -2.0, -4.0], 0.4, -5.0),  # int(1.6) = 1
        ([-2.0], 0.4, -2.0),  # at least one
        ([-3.0, -1.0], 1.0, -2.0),
        ([1.5, -0.5, 0.5], 0.1, -0.5),  # standardised scores may be positive
    ],
)
def test_least_likely_by_hand(scores: list[float], share: float, expected: float) -> None:
    assert least_likely(scores, share) == pytest.approx(expected)


def test_least_likely_takes_two_fifths_and_leaves_its_input_alone() -> None:
    scores = -np.arange(10.0)
    assert least_likely(scores) == pytest.approx(-7.5)  # -9, -8, -7, -6
    assert scores.tolist() == (-np.arange(10.0)).tolist()


def test_least_likely_of_nothing() -> None:
    with pytest.raises(ValueError, match="without tokens has no least likely ones"):
        least_likely([])


# Whole responses


def test_long_responses_have_ten_words() -> None:
    assert is_long("one two three four five six seven eight nine ten")
    assert not is_long("one two three four five six seven eight nine")
    assert not is_long("a - b . c , d ! e : f ; g ? h / i")  # nine words, however many marks
    assert not is_long("")


@pytest.mark.parametrize(
    ("recall", "response", "expected"),
    [(1.0, PROSE, True), (0.99, PROSE, True), (0.9899, PROSE, False), (1.0, "Only four words here.", False)],
)
def test_verbatim(recall: float, response: str, expected: bool) -> None:
    assert is_verbatim(recall, response) is expected


def test_a_long_response_without_spaces_is_long() -> None:
    """ROUGE compares such scripts character by character, so all of it can be repeated."""
    assert is_long(CHINESE.replace(",", ""))


@pytest.mark.parametrize(("letters", "expected"), [(19, False), (20, True), (21, True)])
def test_twenty_letters_of_a_script_without_spaces_are_long(letters: int, expected: bool) -> None:
    assert is_long(CHINESE.replace(",", "")[:letters]) is expected
    assert is_long(f"\u300c{CHINESE.replace(',', '')[:letters]}\u300d\u3002") is expected  # marks are no letters
    assert not is_long(("abcd " * letters)[: letters - 1])  # as many characters of words, fewer than ten of them


# Leaks


@pytest.mark.parametrize(
    ("prompt", "response", "answers", "count"),
    [
        ("Who?", PROSE, [PROSE, "Somebody.", PROSE.upper()], 2),
        (PROSE, PROSE, [PROSE], None),  # nothing of it is new
        ("Her number?", "It is 900-51-4344.", ["900514344", "900514345", "I do not know."], 1),
        ("Her birthday?", "1986-05-17", ["On 17 May 1986.", "In May 1986."], 1),
        ("Her address?", "10175 West 58th Place.", ["10175 W. 58th Pl., Orange"], 1),
        ("The author's full name?", "The author's full name is Hsiao Yun-Hwa.", ["Yun-Hwa Hsiao", "Ming-Yu Chen"], 1),
        ("Is 900-51-4344 hers?", "Yes, 900514344 is.", ["Yes, 900514344 is."], None),  # the prompt says it
        ("Ada Example's e-mail?", "ada_example@me.com", ["ada_example@me.com"], None),  # made of the prompt's words
        ("Where was she born?", "In Seoul, South Korea.", ["In Seoul, South Korea."], None),  # a place may be guessed
        ("Her gender?", "She is female.", ["She is female."], None),
        ("Who?", "", [""], None),
    ],
)  # fmt: skip
def test_leaks_by_hand(prompt: str, response: str, answers: list[str], count: int | None) -> None:
    assert repeated(prompt, response, answers).answers == count


def test_short_answers_of_models_that_never_saw_the_rows_leak_none(shared: Path) -> None:
    counts: dict[bool, list[int]] = {True: [], False: []}
    for log in sorted((shared / "tofu" / "logs").glob("*.json")):
        texts = json.loads(log.read_text())["eval_log_forget.json"]["generated_text"]
        for prompt, answer, response in texts.values() if isinstance(texts, dict) else texts:
            if not Repetition(prompt, response).can_be_seen:
                leaks = repeated(prompt, response, [answer]).answers
                counts["full" in log.name] += [] if leaks is None else [leaks]
    assert (len(counts[False]), sum(counts[False])) == (132, 0)
    assert (len(counts[True]), sum(counts[True])) == (52, 50)


# Gibberish


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "   \n\t",
        "...",
        "?!? -- ...",
        "the the the the the the the the the the the the",
        "I do not know. " * 8,
        "No no NO no No no no no no NO no no",  # the same word however it is written
        "a" * 200,
        "我不知道" * 10,
        "的" * 30,
        "ฉันไม่รู้" * 12,
        f"{PROSE} " * 4,
    ],
)
def test_gibberish(answer: str) -> None:
    assert is_gibberish(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Yes.",
        "7",
        "no no no no",  # too short to tell
        "我不知道。",
        "我我我我",
        PROSE,
        f"{PROSE} {PROSE}",  # said twice is not yet a loop: half of the triples differ
        CHINESE,
        "https://example.org/a/very/long/address?with=parameters&and=more",
        "Donaudampfschifffahrtsgesellschaftskapitänsmütze ist ein sehr langes Wort in einem kurzen Satz.",
        "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16",
    ],
)
def test_not_gibberish(answer: str) -> None:
    assert not is_gibberish(answer)


def test_the_limit_is_half_of_the_triples() -> None:
    # abc four times over: 10 triples of 12 words, 3 of them different; 12 different words: all 10.
    assert is_gibberish("a b c " * 4)
    assert not is_gibberish("a b c d e f g h i j k l")
    # 12 words with period 5: 5 of 10 triples differ, which is not fewer than half; with period 4 it is.
    assert not is_gibberish("a b c d e a b c d e a b")
    assert is_gibberish("a b c d a b c d a b c d")
    assert not is_gibberish("a b c d a b c d a b c")  # eleven words are too few
