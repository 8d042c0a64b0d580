"""Rows in, numbers out: how answers are asked for, what counts as a leak, and that no text is kept."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from forgetctl.model import row_scorer
from forgetctl.model.encoding import Encoded, Encoder
from forgetctl.model.extraction import extraction_strength, least_likely
from forgetctl.model.generation import Answer, Decoding
from forgetctl.model.row_scorer import AFFIRMED, ALL_MODES, PRIMED, UNTHINKING, RowScorer, sampled_rows
from forgetctl.model.sampling import Sampling
from forgetctl.model.scores import GREEDY, SAMPLED, SERVED, UNNAMED, Elicited, ScoreSet
from forgetctl.model.scoring import score
from forgetctl.model.token_scores import score_tokens
from forgetctl.model.usage import Usage, answer_of
from forgetctl.people.in_place import InPlace, in_place
from forgetctl.recipe.recipe import Verify
from forgetctl.rows.reading import read_rows
from forgetctl.rows.row import Row
from forgetctl.rows.secret import Secret
from forgetctl.verify.statistics.membership import MIN_K_SHARE

CPU = torch.device("cpu")
QUIET = Verify(answer_tokens=24, samples=2, sampled_rows=3)
Make = Callable[..., RowScorer]
Ids = Sequence[Sequence[int]]


@pytest.fixture(scope="module")
def rows(world: Path) -> list[Row]:
    return read_rows(world / "requests.jsonl")


@pytest.fixture
def make(model: Any, encoder: Encoder) -> Make:
    def scorer(options: Verify = QUIET, advance: Callable[[int], None] = lambda _: None, seed: int = 3) -> RowScorer:
        return RowScorer(
            model=model,
            encoder=encoder,
            encode=lambda some: [encoder.encode(row) for row in some],
            settings=options,
            context=256,
            seed=seed,
            advance=advance,
        )

    return scorer


def question(response: str, *secrets: str, prompt: str = "Who?", **fields: Any) -> Row:
    return Row(1, (("user", prompt),), response, secrets=tuple(map(Secret, secrets)), **fields)


class Script:
    """Stands in for generation: keeps what was asked, and gives the answers it was told to give to every prompt."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prompts: Ids = ()
        self.decoding: Decoding | None = None
        self.says: Sequence[str] = ("",)
        monkeypatch.setattr(row_scorer, "continuations", self)

    def __call__(self, _model: Any, _encoder: Any, prompts: Ids, decoding: Decoding, _advance: Any) -> Any:
        self.prompts, self.decoding = prompts, decoding
        return [[Answer(text, complete=True) for text in self.says] for _ in prompts]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


def elicit(scorer: RowScorer, mode: str, some: Sequence[Row]) -> Elicited:
    return scorer.scores(some, [mode], tokens=False, truth=False).elicited[mode]


def said(scorer: RowScorer, script: Script, mode: str, row: Row, *answers: str) -> list[int | None]:
    """In how many of these answers each of the row's secrets is found."""
    script.says = answers
    found = elicit(scorer, mode, [row]).secrets
    assert found is not None
    return found[0]


# Teacher-forced scores


def test_token_measures_are_those_of_the_token_scores(
    make: Make, model: Any, encoder: Encoder, rows: list[Row]
) -> None:
    found = make().scores(rows)
    encoded = [encoder.encode(row) for row in rows]
    tokens = score_tokens(model, encoded)
    assert found.names == [str(row.line) for row in rows]
    assert found.answer_logp == pytest.approx(score(model, encoded), abs=1e-4)
    assert found.answer_tokens == [row.tokens for row in encoded]
    for place, item in enumerate(tokens):
        worst = max(1, int(MIN_K_SHARE * len(item.logp)))
        right = item.hits.tolist()
        alone = next(k for k in range(len(right) + 1) if all(right[k:]))  # tokens to give before it goes on alone
        assert found.min_k is not None
        assert found.min_k_plus_plus is not None
        assert found.exact_memorisation is not None
        assert found.extraction_strength is not None
        assert found.min_k[place] == pytest.approx(sum(sorted(item.logp)[:worst]) / worst, rel=1e-5)
        assert found.min_k_plus_plus[place] == pytest.approx(sum(sorted(item.standardised)[:worst]) / worst, rel=1e-5)
        assert found.exact_memorisation[place] == pytest.approx(sum(right) / len(right))
        assert found.extraction_strength[place] == pytest.approx(1 - alone / len(right))


def test_fact_tokens_are_counted_of_every_row(make: Make, model: Any, encoder: Encoder, rows: list[Row]) -> None:
    """The first row's own tokens are usual, so that it has none."""
    encoded = [encoder.encode(row) for row in rows]
    usage = Usage([answer_of(encoded[0])] * 200)
    scorer = replace(make(), usage=usage)
    found, tokens = scorer.scores(rows).facts, score_tokens(model, encoded)
    assert found is not None
    assert (found.pairs, found.different) == (200 * encoded[0].tokens, len(usage.pairs))
    hits, likely, counts = [], [], []
    for row, item in zip(encoded, tokens, strict=True):
        before = row.ids[row.start - 1 : -1]
        unusual = [math.exp(usage.logp(pair)[0]) < 0.01 for pair in zip(before, row.ids[row.start :], strict=True)]
        hits.append([hit for hit, is_fact in zip(item.hits.tolist(), unusual, strict=True) if is_fact])
        likely += [logp > math.log(0.1) for logp, is_fact in zip(item.logp, unusual, strict=True) if is_fact]
        counts += [sum(unusual)] if any(unusual) else []
    assert found.first_choices[0] is None
    assert found.first_choices[1:] == pytest.approx([sum(row) / len(row) for row in hits[1:]])
    assert found.likely == pytest.approx(sum(likely) / len(likely), abs=0.001)
    assert found.tokens == sorted(counts)[len(counts) // 2]
    assert make().scores(rows).facts is None
    assert scorer.scores(rows[:1]).facts is None


def test_drawn_answers_that_leak_anything_are_counted_once(make: Make, script: Script) -> None:
    """Of four answers one says the response, one the secret, one both."""
    words = "Alma Weiss was born in the old harbour town of Lubin in May"
    row = question(words, "900-51-4344")
    script.says = (words, "It is 900 51 4344.", f"{words}, 900-51-4344.", "I do not know.")
    for mode in (SAMPLED, SERVED):
        found = elicit(replace(make(Verify(samples=4)), served=Sampling(top_k=2)), mode, [row, question("Yes.")])
        assert found.leaked == [3, None]
        assert (found.verbatim, found.secrets) == ([2, None], [[2], []])
    assert script.decoding is not None
    assert script.decoding.sampling == Sampling(top_k=2)
    script.says = (words,)
    assert elicit(make(), GREEDY, [row]).leaked is None


def test_without_tokens_the_scores_are_the_same_and_the_rest_is_missing(make: Make, rows: list[Row]) -> None:
    whole, plain = make().scores(rows), make().scores(rows, tokens=False, truth=False)
    assert plain.answer_logp == pytest.approx(whole.answer_logp, abs=1e-4)
    for name in ("min_k", "min_k_plus_plus", "exact_memorisation", "extraction_strength"):
        assert getattr(plain, name) is None
        assert getattr(whole, name) is not None
    assert plain.elicited == whole.elicited == {}
    assert plain.perturbed_logp is None


def test_truth_scores_are_those_of_the_other_answers(make: Make, model: Any, encoder: Encoder, rows: list[Row]) -> None:
    """Of unequal number, and with one paraphrase missing: every score stays with its own row."""
    some = [
        rows[0],
        replace(rows[1], perturbed_responses=rows[1].perturbed_responses[:1]),
        replace(rows[2], paraphrased_response=None),
    ]
    found = make().scores(some)
    right = [some[0].paraphrased_response, some[1].paraphrased_response, some[2].response]
    taught = [encoder.encode(row.answering(text or "")) for row, text in zip(some, right, strict=True)]
    wrong = [[encoder.encode(row.answering(text)) for text in row.perturbed_responses] for row in some]
    assert found.paraphrase_logp == pytest.approx(score(model, taught), abs=1e-4)
    assert found.paraphrase_tokens == [item.tokens for item in taught]
    assert found.own_paraphrases == 1
    assert found.perturbed_tokens == [[item.tokens for item in group] for group in wrong]
    assert found.perturbed_logp is not None
    assert [len(group) for group in found.perturbed_logp] == [5, 1, 5]
    for values, group in zip(found.perturbed_logp, wrong, strict=True):
        assert values == pytest.approx(score(model, group), abs=1e-4)


def test_a_row_without_wrong_answers_leaves_truth_unmeasured(make: Make, rows: list[Row]) -> None:
    some = [rows[0], replace(rows[1], perturbed_responses=())]
    assert make().scores(some).perturbed_logp is None
    assert make().scores(some[:1]).perturbed_logp is not None
    assert make().scores(some[:1], truth=False).paraphrase_logp is None


def test_answers_of_some_rows_are_those_of_all(make: Make, rows: list[Row]) -> None:
    """Evenly spread: the first, the middle and the last of five."""
    scorer, five = make(), [rows[place % len(rows)] for place in range(5)]
    whole = scorer.scores(five, [GREEDY], tokens=False, truth=False).elicited[GREEDY]
    some = scorer.answers(five, [GREEDY], 3)[GREEDY]
    assert [place for place, recall in enumerate(some.recall) if recall is not None] == [0, 2, 4]
    assert [some.recall[place] for place in (0, 2, 4)] == [whole.recall[place] for place in (0, 2, 4)]
    assert scorer.answers(five, [GREEDY], 9)[GREEDY] == whole


# Subjects and copies


def numbers(make: Make, some: Sequence[Row]) -> ScoreSet:
    return make().scores(some, tokens=False, truth=False)


def test_subjects_and_copies_are_numbered_by_first_appearance(make: Make) -> None:
    some = [
        question("One.", subject_id="b"),
        question("Two."),
        question("  ONE. ", prompt="who?", subject_id="a"),  # the same row but for case and blanks
        question("Three."),
        question("One.", prompt="Which?", subject_id="b"),
        replace(question("Two."), line=9),
    ]
    found = numbers(make, some)
    assert found.subjects == [0, UNNAMED, 1, UNNAMED, 0, UNNAMED]
    assert found.units_of(2).index.tolist() == [0, 1, 2, 3, 0, 4]  # a row without subject is its own, even a copy
    assert found.copies == [0, 1, 0, 2, 3, 1]


def test_rows_that_were_rehearsed_are_marked_where_that_is_known(make: Make) -> None:
    some = [Row(1, (("user", "a"),), "b"), Row(2, (("user", "A "),), "b"), Row(3, (("user", "c"),), "b")]
    scorer = make()
    assert scorer.scores(some, rehearsed={some[0].key}).rehearsed == [True, True, False]
    assert scorer.scores(some, rehearsed=()).rehearsed == [False] * 3
    assert scorer.scores(some).rehearsed is None


def test_without_any_subject_there_are_none(make: Make) -> None:
    assert numbers(make, [question("One."), question("Two.")]).subjects is None


@given(st.lists(st.tuples(st.sampled_from(["", "0", "1", "2", "x"]), st.sampled_from("pq")), min_size=1, max_size=9))
@settings(max_examples=50, deadline=None)
def test_equal_numbers_mean_equal_subjects(drawn: list[tuple[str, str]]) -> None:
    """Subjects may be called like positions, and those without one are told apart from all others."""
    some = [question(text, subject_id=subject or None) for subject, text in drawn]
    found = row_scorer._subjects(some)
    if not any(subject for subject, _ in drawn):
        assert found is None
        return
    assert found is not None
    for i, (first, _) in enumerate(drawn):
        for j, (second, _) in enumerate(drawn):
            assert (found[i] == found[j]) == (first == second)
    assert [number == UNNAMED for number in found] == [subject == "" for subject, _ in drawn]
    named = {number for number in found if number != UNNAMED}
    assert sorted(named) == list(range(len(named)))


# How answers are asked for


def test_greedy_and_sampled_prompts_are_the_rows_own(
    make: Make, encoder: Encoder, rows: list[Row], script: Script
) -> None:
    scorer = make(Verify(answer_tokens=7, samples=3, sampled_rows=99))
    elicit(scorer, GREEDY, rows)
    assert list(script.prompts) == [encoder.encode_prompt(row) for row in rows]
    assert script.decoding == Decoding(max_new_tokens=7, context=256, seed=3)
    script.says = ("", "", "")
    assert elicit(scorer, SAMPLED, rows).answers == 3
    assert list(script.prompts) == [encoder.encode_prompt(row) for row in rows]
    assert script.decoding == Decoding(max_new_tokens=7, context=256, samples=3, seed=3)


@pytest.mark.parametrize("count", [1, 4, 8, 99])
def test_first_tokens_are_given_but_never_more_than_half(
    count: int, make: Make, encoder: Encoder, rows: list[Row], script: Script
) -> None:
    elicit(make(Verify(primed_tokens=count)), PRIMED, rows)
    for row, prompt in zip(rows, script.prompts, strict=True):
        encoded = encoder.encode(row)
        assert (
            tuple(prompt) == encoded.ids[: encoded.start + min(count, (encoded.tokens - 1) // 2)]
        )  # without the end of turn
        assert len(prompt) < len(encoded.ids) - 1  # something is left to say before the end of turn


@pytest.mark.parametrize("templated", [True, False])
@pytest.mark.parametrize("affirmation", ["Sure, here is the answer:", "Yes"])
def test_an_affirmative_prompt_ends_with_the_affirmation(
    affirmation: str, templated: bool, make: Make, encoder: Encoder, rows: list[Row], script: Script
) -> None:
    if not templated:
        encoder.tokenizer.chat_template = None
        encoder.prompt_format = "Q: {prompt}\nA:"
    elicit(make(Verify(affirmation=affirmation)), AFFIRMED, rows)
    for row, prompt in zip(rows, script.prompts, strict=True):
        own = encoder.encode_prompt(row)
        assert tuple(prompt[: len(own)]) == own
        assert prompt[-1] not in encoder.stop_ids
        assert encoder.tokenizer.decode(prompt[len(own) :]) == f" {affirmation}"


def test_the_affirmation_itself_is_no_leak(make: Make, script: Script) -> None:
    scorer, row = make(Verify(affirmation="Sure, the answer:")), question("Sure, the answer: 42.", "answer", "42")
    assert said(scorer, script, AFFIRMED, row, "I cannot say.") == [0, 0]
    assert said(scorer, script, AFFIRMED, row, "It is 42.") == [0, 1]
    assert elicit(scorer, AFFIRMED, [row]).recall[0] == pytest.approx(1 / 4)  # 42 of sure, the, answer, 42


def test_passages_are_asked_by_their_first_tokens_only(make: Make, rows: list[Row], script: Script) -> None:
    passage = Row(1, (), "Alwen lives in Norwick and works for the legal team.", secrets=(Secret("Norwick"),))
    scorer = make(Verify(samples=1))
    for mode in ALL_MODES:
        found = elicit(scorer, mode, [passage, rows[0]])
        asked = mode == PRIMED
        assert found.secrets is not None
        assert [value is not None for value in (found.recall[0], found.secrets[0][0])] == [asked, asked]
        assert found.recall[1] is not None
        assert bool(script.prompts[0]) == asked
    assert found.traits == {}  # only greedy answers are judged
    assert elicit(scorer, GREEDY, [passage, rows[0]]).traits == {"gibberish": [None, True]}


def test_a_response_too_short_to_begin_is_not_asked(make: Make, encoder: Encoder, script: Script) -> None:
    """One token and the end of turn: half of them would leave nothing to say."""
    row = question("7", "7")
    assert encoder.encode(row).tokens <= 3
    cut = [replace(encoder.encode(row), start=len(encoder.encode(row).ids) - left) for left in (1, 2)]
    for encoded in cut:
        assert make()._ask(PRIMED, row, encoded) is None


# Rows of which parts are marked


MARKED = question("Alwen lives in Norwick and keeps badge 472 in a drawer.", spans=((15, 22), (33, 42)))


def test_scores_are_of_the_marked_tokens(make: Make, model: Any, encoder: Encoder) -> None:
    """Against the same tokens of a row that is scored whole, each after the true ones before it."""
    wrong = "Alwen lives in Saltmere and keeps badge 999 in a drawer."
    row = replace(MARKED, perturbed_responses=(wrong,))
    found = make().scores([row])
    own = encoder.encode(row)
    (item,) = score_tokens(model, [encoder.encode(row.answering(row.response))])
    logp, hits = item.logp[own.places], item.hits[own.places]
    assert 0 < own.tokens == len(logp) < len(item.logp)
    assert found.answer_tokens == [own.tokens]
    assert found.answer_logp == pytest.approx([logp.sum()], abs=1e-4)
    assert found.min_k == pytest.approx([least_likely(logp)], abs=1e-4)
    assert found.exact_memorisation == pytest.approx([hits.mean()])
    assert found.extraction_strength == [extraction_strength(hits)]
    other = row.answering(wrong, ((15, 23), (34, 43)))
    assert found.perturbed_logp == [pytest.approx(score(model, [encoder.encode(other)]), abs=1e-4)]
    assert found.paraphrase_logp == found.answer_logp
    assert found.own_paraphrases == 1


def test_answers_count_by_the_marked_words(make: Make, script: Script) -> None:
    script.says = ("She keeps it in a drawer, badge and all.",)
    assert elicit(make(), GREEDY, [MARKED]).recall == [pytest.approx(1 / 3)]  # badge of norwick, badge, 472
    script.says = ("Norwick. Badge 472.",)
    assert elicit(make(), GREEDY, [MARKED]).recall == [1.0]
    long = question(f"So: {LONG}", spans=((4, 4 + len(LONG)),))
    script.says = (f"Well. {LONG}",)
    assert elicit(make(), GREEDY, [long]).whole == [1]
    assert elicit(make(), GREEDY, [MARKED]).whole == [None]


def test_what_is_kept_is_given_with_the_first_marked_tokens(make: Make, encoder: Encoder, script: Script) -> None:
    """Of a few marked tokens none; of a passage, too, whose beginning is no secret."""
    for row in (MARKED, replace(MARKED, context=())):
        encoded = encoder.encode(row)
        for count in (1, 2, 99):
            elicit(make(Verify(primed_tokens=count)), PRIMED, [row])
            given = min(count, encoded.tokens // 2)
            assert tuple(script.prompts[0]) == encoded.ids[: encoded.start + encoded.places[given - 1] + 1]
    short = question("Alwen lives in Norwick.", spans=((15, 16),))
    encoded = encoder.encode(short)
    assert encoded.tokens == 1
    elicit(make(), PRIMED, [short])
    assert tuple(script.prompts[0]) == encoded.ids[: encoded.start + encoded.places[0]]


def test_rows_of_one_text_with_other_spans_are_no_copies(make: Make) -> None:
    some = [MARKED, replace(MARKED, spans=((15, 22),)), replace(MARKED, line=9)]
    assert numbers(make, some).copies == [0, 1, 0]


# What counts as a leak


LONG = "Badge 472 is hers, and she keeps it with her at all times in the office and at home."


def primed_up_to(encoder: Encoder, row: Row, text: str) -> Verify:
    """Settings that give away the response up to the end of `text`."""
    encoded = encoder.encode(row)
    answer = encoded.ids[encoded.start :]
    count = next(k for k in range(len(answer)) if encoder.tokenizer.decode(answer[:k]).strip().endswith(text))
    assert count <= len(answer) // 2
    return Verify(primed_tokens=count, samples=1)


@pytest.mark.parametrize(
    ("given_part", "answer", "found"),
    [
        ("Badge", "472 is hers.", 1),
        ("Badge 4", "72 is hers.", 1),
        ("Badge 47", "2", 1),
        ("Badge 4", "7", 0),
        ("Badge 4", "82 is hers.", 0),
        ("Badge 472", "is hers, and so on.", 0),
        ("Badge 472", "", 0),
        ("Badge 47", "is hers; 47 2.", 0),
    ],
)
def test_a_secret_may_straddle_what_is_given(
    given_part: str, answer: str, found: int, make: Make, encoder: Encoder, script: Script
) -> None:
    """What is given already is no leak, what completes it is."""
    row = question(LONG, "472")
    scorer = make(primed_up_to(encoder, row, given_part))
    assert said(scorer, script, PRIMED, row, answer) == [found]


def test_a_secret_of_several_words_may_straddle_a_blank(make: Make, encoder: Encoder, script: Script) -> None:
    row = question("Alwen lives in Norwick with a dog, a cat and a goat called Bert.", "in norwick", "Norwick  with")
    scorer = make(primed_up_to(encoder, row, "lives in"))
    assert said(scorer, script, PRIMED, row, "Norwick\nwith many.") == [1, 1]
    assert said(scorer, script, PRIMED, row, "Saltmere with many.") == [0, 0]


def test_a_character_cut_in_two_still_completes_a_secret(make: Make, encoder: Encoder, script: Script) -> None:
    """Bytes are tokens here: what is given would end within a character, so it ends before that one."""
    row = question("他叫李明华，住在北京，在图书馆工作，周末喜欢下棋。", "李明华")
    encoded = encoder.encode(row)
    answer = encoded.ids[encoded.start :]
    name_ends = len(" 他叫李明华".encode())
    assert len(answer) >= 2 * name_ends  # one token a byte
    scorer = make(Verify(primed_tokens=name_ends - 1, samples=1))
    rest = encoder.tokenizer.decode(answer[len(" 他叫李明".encode()) :], skip_special_tokens=True)
    assert said(scorer, script, PRIMED, row, rest) == [1]


@pytest.mark.parametrize("mode", [GREEDY, AFFIRMED, SAMPLED])
@pytest.mark.parametrize(
    ("secret", "answer", "found"),
    [
        ("Nor Wick", "in NOR\n\t wick.", 1),
        ("STRASSE 7", "in der Straße 7", 1),
        ("nor wick", "norwick", 1),  # whatever stands between the letters
        ("nor wick", "norwicker", 0),
        (" 472 ", "472", 1),
        ("472", "4 7 2", 0),
        ("472", "", 0),
    ],
)
def test_secrets_are_compared_normalised(
    mode: str, secret: str, answer: str, found: int, make: Make, script: Script
) -> None:
    row = question("Something else entirely.", secret)
    assert said(make(Verify(samples=1)), script, mode, row, answer) == [found]


def test_samples_are_counted_and_the_best_recall_kept(make: Make, script: Script) -> None:
    row = question(LONG, "472", "at home", "nowhere")
    script.says = ("I do not know.", LONG, "472, 472!", LONG.upper())
    found = elicit(make(Verify(samples=4)), SAMPLED, [row, question("No secrets here.")])
    assert found.answers == 4
    assert found.secrets == [[3, 2, 0], []]
    assert found.recall[0] == 1
    assert found.whole == [2, None]  # the other response has too few words to tell
    assert found.verbatim == [2, None]


def test_first_tokens_do_not_count_as_recalled(make: Make, encoder: Encoder, script: Script) -> None:
    """Recall is of what was left to say: here seventeen words, of which the answer has four."""
    row = question(LONG)
    scorer = make(primed_up_to(encoder, row, "Badge 472"))
    script.says = ("Badge 472",)
    assert elicit(scorer, PRIMED, [row]).recall == [0]
    script.says = ("is hers, and she",)
    assert elicit(scorer, PRIMED, [row]).recall[0] == pytest.approx(4 / 17)
    script.says = (LONG.removeprefix("Badge 472 "),)
    whole = elicit(scorer, PRIMED, [row])
    assert (whole.recall, whole.whole, whole.verbatim) == ([1], [1], [1])


def test_words_of_the_prompt_and_given_ones_do_not_count_as_repeated(make: Make, script: Script) -> None:
    repeats = replace(question(LONG), context=(("user", f"Is it true that {LONG}"),))
    script.says = (LONG,)
    asked = elicit(make(), GREEDY, [repeats, question(LONG)])
    assert (asked.whole, asked.verbatim) == ([1, 1], [None, 1])


def test_an_end_of_turn_that_is_not_special_is_nothing_to_say(make: Make, encoder: Encoder, script: Script) -> None:
    """Templates may end turns with an added token that the tokenizer does not call special."""
    encoder.tokenizer.add_tokens([AddedToken("<|end|>", special=False)])
    encoder.tokenizer.chat_template = encoder.tokenizer.chat_template.replace("</s>", "<|end|>")
    row = question(LONG)
    encoded = encoder.encode(row)
    scorer = replace(make(), model=None)
    asked = scorer._ask(PRIMED, row, encoded)
    assert asked is not None
    assert asked.rest.endswith("at home.")
    assert scorer._ask(PRIMED, row, replace(encoded, start=len(encoded.ids) - 2)) is None


def test_a_model_that_knows_its_rows_gives_them_away(make: Make, rows: list[Row]) -> None:
    """With the model itself: the more is given, the more it recalls."""
    found = make(Verify(answer_tokens=24, samples=3)).scores(rows, ALL_MODES).elicited
    assert list(found) == list(ALL_MODES)
    assert [mode.answers for mode in found.values()] == [1, 1, 1, 1, 3]
    recall = {name: [value or 0 for value in mode.recall] for name, mode in found.items()}
    assert min(recall[GREEDY]) >= 0.5
    assert max(recall[GREEDY]) == 1
    assert np.mean(recall[SAMPLED]) > 0.5
    assert found[GREEDY].traits == {"gibberish": [False] * len(rows)}
    assert found[AFFIRMED].traits == {}
    for mode in found.values():
        assert mode.secrets is not None
        assert [len(each) for each in mode.secrets] == [0, 0, 0, 0, 1] * 4


def test_samples_depend_on_the_seed_of_the_scorer(make: Make, rows: list[Row]) -> None:
    options = Verify(answer_tokens=12, samples=4, sampled_rows=20)
    first, again, other = (elicit(make(options, seed=seed), SAMPLED, rows) for seed in (1, 1, 2))
    assert first == again != other


# Which rows are sampled


def kinds(some: Iterable[str]) -> list[Row]:
    """s: a row with a secret, r: one without, p: a passage with a secret."""
    made = {"s": question("r", "r"), "r": question("r"), "p": Row(1, (), "r", secrets=(Secret("r"),))}
    return [made[kind] for kind in some]


@pytest.mark.parametrize(
    ("some", "limit", "expected"),
    [
        ("rrsrs", 0, []),
        ("rrsrs", 1, [2]),
        ("rrsrs", 2, [2, 4]),
        ("rrsrs", 3, [0, 2, 4]),
        ("rrsrs", 5, [0, 1, 2, 3, 4]),
        ("rrsrs", 50, [0, 1, 2, 3, 4]),
        ("rrrrrrrrr", 3, [0, 4, 8]),
        ("ppsp", 4, [2]),
        ("pp", 4, []),
        ("", 4, []),
    ],
)
def test_rows_with_secrets_are_sampled_first(some: str, limit: int, expected: list[int]) -> None:
    assert sampled_rows(kinds(some), limit) == expected


@given(st.text("srp", max_size=80), st.integers(0, 90))
@settings(max_examples=50, deadline=None)
def test_as_many_rows_are_sampled_as_the_limit_allows(some: str, limit: int) -> None:
    chosen = sampled_rows(kinds(some), limit)
    assert chosen == sorted(set(chosen)) == sampled_rows(kinds(some), limit)
    assert len(chosen) == min(limit, len(some) - some.count("p"))
    assert sum(some[place] == "s" for place in chosen) == min(limit, some.count("s"))
    plain = [place for place, kind in enumerate(some) if kind == "r"]
    gaps = np.diff([plain.index(place) for place in chosen if some[place] == "r"])
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1  # evenly spread


def test_rows_that_are_not_sampled_are_not_asked(make: Make, rows: list[Row], script: Script) -> None:
    script.says = ("", "")
    found = elicit(make(Verify(samples=2, sampled_rows=2)), SAMPLED, rows[:10])
    chosen = [4, 9]  # the badges
    assert [place for place, prompt in enumerate(script.prompts) if prompt] == chosen
    assert [place for place, value in enumerate(found.recall) if value is not None] == chosen
    assert found.secrets is not None
    assert [found.secrets[place] for place in chosen] == [[0], [0]]
    nobody = elicit(make(Verify(samples=2, sampled_rows=0)), SAMPLED, rows[:5])
    assert nobody.recall == [None] * 5
    assert nobody.secrets == [[], [], [], [], [None]]


# What is kept


def leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def test_only_numbers_are_kept(make: Make, rows: list[Row]) -> None:
    scores = make().scores([*rows, Row(99, (), "Alwen lives in Norwick.", secrets=(Secret("Norwick"),))], ALL_MODES)
    scores = scores.model_copy(update={"perturbed_logp": make().scores(rows).perturbed_logp})
    written = scores.model_dump_json()
    whole = json.loads(written)
    assert all(name.isdigit() for name in whole.pop("names"))
    values = list(leaves(whole))
    assert len(values) > 500
    assert {type(value) for value in values} <= {int, float, bool, type(None)}
    for row in rows:
        texts = (row.prompt, row.response, row.subject_id, row.request_id, *row.perturbed_responses)
        assert not any(text in written for text in texts if text)


def test_every_row_is_counted_once_and_once_more_in_every_mode(make: Make, rows: list[Row]) -> None:
    counted: list[int] = []
    make(advance=counted.append).scores([*rows, Row(99, (), "Alwen lives.")], ALL_MODES)
    assert sum(counted) == (len(rows) + 1) * (1 + len(ALL_MODES))


THINKING = (
    "{% for m in messages %}{{ m['role'] }}: "
    "{% if m['role'] == 'assistant' %}<think></think>{% endif %}{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def test_a_model_that_thinks_is_asked_both_ways(make: Make, script: Script, encoder: Encoder) -> None:
    """As its template asks by default, and behind an empty thought; the rest of an answer begins where it is scored."""
    encoder.tokenizer.chat_template = THINKING
    scorer, row = make(), question("It is 42.", "42")
    shown = {}
    for mode in (GREEDY, UNTHINKING):
        assert said(scorer, script, mode, row, "<think>It is 42.</think>I cannot say.") == [1]
        shown[mode] = encoder.tokenizer.decode(script.prompts[0])
    assert shown == {GREEDY: "user: Who?\nassistant: ", UNTHINKING: "user: Who?\nassistant: <think></think>"}
    assert encoder.thinks


def test_a_model_that_does_not_think_is_asked_in_one_way(encoder: Encoder) -> None:
    assert not encoder.thinks


@pytest.mark.parametrize("form", ["NFD", "NFKD", "NFC"])
def test_a_secret_is_said_in_any_form_of_its_letters(form: Any, make: Make, script: Script) -> None:
    row = question("Fragen Sie nach.", "Zoë Müßig-Brändlé")
    answer = unicodedata.normalize(form, "Es ist ZOË  MÜSSIG-BRÄNDLÉ.")
    assert said(make(), script, GREEDY, row, answer) == [1]


# Secrets among other strings


def test_a_secret_is_scored_whole_in_its_place(make: Make, model: Any, encoder: Encoder, rows: list[Row]) -> None:
    """As by scoring every string behind the same tokens by itself."""
    row = next(row for row in rows if row.secrets)
    places = in_place([row], [], "quick")
    ((place,),) = places.rows
    assert isinstance(place, InPlace)
    found = make().exposure([row], places)
    ((standing,),) = found.rows
    assert (found.strings, found.left_out, len(standing.others)) == (99, places.left_out, 99)
    before, part = row.response[: place.start], row.response[place.start : place.end]
    whole = [encoder.encode(replace(row.answering(before + value), complete=False)) for value in (part, *place.others)]
    given = encoder.encode(replace(row.answering(before.rstrip()), complete=False)).ids
    start = len(given)
    assert all(one.ids[:start] == given for one in whole)
    values = np.array(score(model, [Encoded(one.ids, start) for one in whole]))
    spread = values[1:].std(ddof=1)
    assert standing.secret == pytest.approx((values[0] - values[1:].mean()) / spread, abs=1e-3)
    assert standing.others == pytest.approx((values[1:] - values[1:].mean()) / spread, abs=1e-3)


def test_a_secret_without_a_place_says_why(make: Make) -> None:
    some = [question("No. 900514344", "900514344", prompt="Is it 900514344?"), question("Nobody.")]
    found = make().exposure(some, in_place(some, [], "quick"))
    assert [[one.reason for one in row] for row in found.rows] == [["said by the prompt"], []]


def test_a_secret_that_does_not_fit_is_not_read_alike(make: Make) -> None:
    some = [question("No. 900514344", "900514344")]
    found = replace(make(), context=4).exposure(some, in_place(some, [], "quick"))
    assert found.rows[0][0].reason == "not read alike"


def test_of_a_long_passage_the_end_is_given(make: Make, encoder: Encoder) -> None:
    """What stands far before the secret is cut off, whatever it is."""
    some = [Row(1, (), f"{'a b c ' * 60}No. 900514344", secrets=(Secret("900514344"),))]
    other = [replace(some[0], response=some[0].response.replace("a b c a", "a c c a", 1))]
    length = len(encoder.encode(some[0]).ids) // 2
    short = replace(make(), context=length)
    first, second = (short.exposure(one, in_place(one, [], "quick")).rows[0][0] for one in (some, other))
    assert first.others == pytest.approx(second.others)
