"""What answers give away beyond the reference's, rows that stayed known, and answers that fell apart."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forgetctl.model.scores import Elicited, ScoreSet
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import gibberish, samples, secrets, single_rows, whole_answers
from forgetctl.verify.collected import Collected
from forgetctl.verify.statistics.counts import Excess
from tests.verify.handmade import against, asked, collected, model, rows, said
from tests.verify.measured import Secrets, judged

BOUNDS = Bounds()


def named_secrets(collected: Collected) -> secrets.Secrets | None:
    """Without how likely guesses are, which has tests of its own."""
    found = secrets.measure(collected, BOUNDS)
    return found.model_copy(update={"p": None}) if found else None


def whole(collected: Collected) -> whole_answers.Repeated | None:
    return whole_answers.measure(collected, BOUNDS)


def counted(collected: Collected) -> Excess | None:
    found = whole(collected)
    return found.counted if found else None


def repeating(counts: list[int | None], **lists: Any) -> Elicited:
    """Answers that repeat so many responses, by words."""
    return said(**{"verbatim": counts, "by_words": [None if count is None else True for count in counts], **lists})


def sampled_leaks(collected: Collected) -> samples.Samples | None:
    return samples.measure(collected, BOUNDS)


def known_rows(collected: Collected) -> Excess | None:
    return single_rows.measure(collected, BOUNDS)


def fell_apart(collected: Collected) -> Excess | None:
    return gibberish.measure(collected, BOUNDS)


MUTE = asked(greedy=said(secrets=[[0, 0], [0], []]))  # three rows with 2, 1 and 0 secrets


def named(of: ScoreSet, numbers: list[int]) -> ScoreSet:
    return of.model_copy(update={"names": list(map(str, numbers))})


# Named secrets


def test_a_leak_counts_only_if_the_reference_does_not_leak_it_too() -> None:
    ours = named(asked(greedy=said(secrets=[[1, 1], [0], []])), [3, 5, 9])
    theirs = asked(greedy=said(secrets=[[0, 1], [1], []]))
    assert named_secrets(against(ours, theirs)) == Secrets(3, 0, 2, 2, 1, ("3",))


@pytest.mark.parametrize("mode", ["greedy", "first_tokens", "affirmative"])
@pytest.mark.parametrize("other", ["greedy", "first_tokens", "affirmative"])
def test_any_deterministic_answer_counts_on_either_side(mode: str, other: str) -> None:
    quiet = {name: said(secrets=[[0], [0]]) for name in ("greedy", "first_tokens", "affirmative", "sampled")}
    ours = asked(**{**quiet, mode: said(secrets=[[1], [0]])})
    theirs = asked(**{**quiet, other: said(secrets=[[1], [0]])})
    assert named_secrets(against(ours, asked(**quiet))) == Secrets(2, 0, 1, 0, 1, ("1",))
    assert named_secrets(against(ours, theirs)) == Secrets(2, 0, 1, 1, 0)


def test_sampled_answers_are_no_evidence_of_a_named_secret() -> None:
    """They are compared by how often, in sampled_leaks: one of many samples may hit a short secret by chance."""
    ours = asked(greedy=said(secrets=[[0]]), sampled=said(secrets=[[8]], answers=8))
    assert named_secrets(against(ours, ours)) == Secrets(1, 0, 0, 0, 0)
    alone = asked(sampled=said(secrets=[[8]], answers=8))
    assert named_secrets(against(alone, alone)) is None


def test_secrets_that_were_never_asked_for_are_untested() -> None:
    ours = asked(
        greedy=said(secrets=[[None, None], [None], [0]]), first_tokens=said(secrets=[[None, None], [0], [None]])
    )
    assert named_secrets(against(ours, ours)) == Secrets(4, 2, 0, 0, 0)


def test_without_a_reference_nobody_knows_what_is_a_guess() -> None:
    ours = asked(greedy=said(secrets=[[1], [0]]))
    assert named_secrets(against(ours, None)) == Secrets(2, 0, 1, None, None)
    assert named_secrets(against(ours, rows([-1.0, -1.0]))) == Secrets(2, 0, 1, None, None)  # it was asked nothing
    logged = asked(greedy=said(2))
    assert named_secrets(against(ours, logged)) == Secrets(2, 0, 1, None, None)  # an evaluation log


@pytest.mark.parametrize("ours", [rows([-1.0]), asked(greedy=said(1)), asked(greedy=said(secrets=[[], []]))])
def test_a_request_that_names_no_secret(ours: ScoreSet) -> None:
    assert named_secrets(against(ours, ours)) is None


def test_a_secret_that_leaks_only_at_a_precision_counts() -> None:
    loud = model("unlearned", asked(greedy=said(secrets=[[0, 0], [1], []])))
    found = against(
        MUTE, MUTE, precisions={"bf16": {"unlearned": model("unlearned", MUTE)}, "nf4": {"unlearned": loud}}
    )
    assert named_secrets(found) == Secrets(3, 0, 1, 0, 1, ("2",))


def test_a_secret_leaked_at_every_precision_counts_once() -> None:
    loud = asked(greedy=said(secrets=[[0, 0], [1], []]))
    scores = {"unlearned": model("unlearned", loud)}
    assert named_secrets(against(loud, MUTE, precisions={"bf16": scores, "nf4": scores})) == Secrets(
        3, 0, 1, 0, 1, ("2",)
    )


def test_what_the_reference_says_at_that_precision_is_a_guess_too() -> None:
    """Any deterministic answer of the reference shows that a secret can be guessed, as any of ours shows a leak."""
    loud = asked(greedy=said(secrets=[[0, 0], [1], []]))
    models = {"unlearned": model("unlearned", loud), "reference": model("reference", loud)}
    found = named_secrets(against(MUTE, MUTE, precisions={"nf4": models}))
    assert found is not None
    assert (found.leaked, found.beyond_reference) == (1, 0)


REPHRASED: dict[str, Any] = {"rephrased": ("a.jsonl",)}


def test_names_of_rephrased_rows_are_those_of_the_request() -> None:
    """Rephrasings follow the request row by row; where they stand in their own file says nothing about the request."""
    other = named(asked(greedy=said(secrets=[[1], [0], [0]])), [70, 71, 72])
    quiet = asked(greedy=said(secrets=[[0], [0], [0]]))
    unlearned = model("unlearned", named(asked(greedy=said(secrets=[[0], [1], [0]])), [3, 5, 9]), rephrased_1=other)
    reference = model("reference", quiet, rephrased_1=quiet)
    found = collected(unlearned, "model", references=(reference,), **REPHRASED)
    assert named_secrets(found) == Secrets(6, 0, 2, 0, 2, ("3", "5"))


def test_a_line_is_named_once() -> None:
    loud, quiet = asked(greedy=said(secrets=[[1, 1]])), asked(greedy=said(secrets=[[0, 0]]))
    unlearned, reference = model("unlearned", loud, rephrased_1=loud), model("reference", quiet, rephrased_1=quiet)
    found = collected(unlearned, "model", references=(reference,), **REPHRASED)
    assert named_secrets(found) == Secrets(4, 0, 4, 0, 4, ("1",))


def test_rephrased_sets_that_were_not_asked_about_do_not_count() -> None:
    loud = asked(greedy=said(secrets=[[1]]))
    quiet = asked(greedy=said(secrets=[[0]]))
    unlearned, reference = model("unlearned", quiet, rephrased_1=loud), model("reference", quiet, rephrased_1=quiet)
    assert named_secrets(collected(unlearned, "model", references=(reference,))) == Secrets(1, 0, 0, 0, 0)


def test_a_leak_where_the_reference_was_not_asked_is_not_beyond_it() -> None:
    """A score file made without --rephrased says nothing about what such prompts bring out of the reference."""
    quiet = asked(greedy=said(secrets=[[0]]))
    unlearned = model("unlearned", quiet, rephrased_1=asked(greedy=said(secrets=[[1]])))
    found = named_secrets(collected(unlearned, "scores", references=(model("reference", quiet),), **REPHRASED))
    assert found is not None
    assert found.leaked == 1
    assert not found.beyond_reference


# Whole answers


def test_whole_answers_by_hand() -> None:
    """Rows: only we; both; only they; neither; too short. McNemar: 1 of 2 differing rows, one-sided p = 3/4."""
    ours = named(asked(greedy=repeating([1, 1, 0, 0, None])), [2, 4, 6, 8, 10])
    found = counted(against(ours, asked(greedy=repeating([0, 1, 1, 0, None]))))
    assert found is not None
    assert (found.more, found.fewer, found.total, found.names) == (1, 1, 4, ("2",))
    assert found.p == pytest.approx(stats.binomtest(1, 2, 0.5, "greater").pvalue) == 0.75


def test_a_row_counts_once_however_often_it_was_asked() -> None:
    loud = repeating([1] * 3)
    ours = asked(greedy=loud, first_tokens=loud, affirmative=loud)
    quiet = asked(**dict.fromkeys(("greedy", "first_tokens", "affirmative"), repeating([0] * 3)))
    found = counted(against(ours, quiet))
    assert found is not None
    assert (found.more, found.total, found.p) == (3, 3, 1 / 8)


@pytest.mark.parametrize("mode", ["greedy", "first_tokens", "affirmative"])
def test_what_the_reference_repeats_in_any_mode_is_no_excess(mode: str) -> None:
    quiet = dict.fromkeys(("greedy", "first_tokens", "affirmative"), repeating([0]))
    ours, theirs = asked(**{**quiet, "greedy": repeating([1])}), asked(**{**quiet, mode: repeating([1])})
    found = counted(against(ours, theirs))
    assert found is not None
    assert (found.more, found.fewer, found.total) == (0, 0, 1)


def test_sampled_answers_are_not_whole_answers() -> None:
    sampled = repeating([8], answers=8)
    assert whole(against(asked(sampled=sampled), asked(sampled=sampled))) is None


def test_names_of_whole_answers_are_in_the_requests_order() -> None:
    """Row 1 is a passage: it has no prompt, and only its beginning can be asked with."""
    ours = asked(greedy=repeating([None, 1]), first_tokens=repeating([1, 1]))
    quiet = asked(greedy=repeating([None, 0]), first_tokens=repeating([0, 0]))
    found = counted(against(ours, quiet))
    assert found is not None
    assert found.names == ("1", "2")


def test_a_row_counts_once_in_however_many_words_it_was_asked() -> None:
    """Row 1 is repeated when rephrased only, row 2 by either; the reference says row 3 when rephrased."""
    unlearned = model(
        "unlearned",
        named(asked(greedy=repeating([0, 1, 1])), [3, 5, 9]),
        rephrased_1=named(asked(greedy=repeating([1, 1, 0])), [70, 71, 72]),
    )
    quiet = asked(greedy=repeating([0, 0, 0]))
    reference = model("reference", quiet, rephrased_1=asked(greedy=repeating([0, 0, 1])))
    found = counted(collected(unlearned, "model", references=(reference,), **REPHRASED))
    assert found is not None
    assert (found.more, found.fewer, found.total, found.names) == (2, 0, 3, ("3", "5"))


@pytest.mark.parametrize("theirs", [rows([-1.0]), asked(greedy=said(1)), asked(affirmative=repeating([0]))])
def test_whole_answers_need_the_references(theirs: ScoreSet | None) -> None:
    assert whole(against(asked(greedy=repeating([1])), theirs)) is None


def test_a_log_without_texts_has_no_whole_answers() -> None:
    assert whole(against(asked(greedy=said(1)), asked(greedy=repeating([1])))) is None


def test_responses_too_short_to_tell_are_not_counted() -> None:
    short = asked(greedy=repeating([None, None]))
    assert whole(against(short, short)) is None


def test_a_whole_answer_that_comes_out_only_at_a_precision_counts() -> None:
    quiet, loud = asked(greedy=repeating([0] * 5)), asked(greedy=repeating([1] * 5))
    models = {"unlearned": model("unlearned", loud), "reference": model("reference", quiet)}
    found = counted(against(quiet, quiet, precisions={"nf4": models}))
    assert found is not None
    assert found.more == 5


def test_identical_rows_count_once() -> None:
    """Ten copies of one row are asked and answered alike: one row's evidence, p = 1/2 and not 1/1024."""
    loud = asked(greedy=repeating([1] * 10)).model_copy(update={"copies": [0] * 10})
    quiet = asked(greedy=repeating([0] * 10)).model_copy(update={"copies": [0] * 10})
    found = counted(against(loud, quiet))
    assert found is not None
    assert found.p >= 0.5


def told(found: Collected) -> tuple[tuple[str, ...], str]:
    """Rows that are told by their words, and the code of what is concluded."""
    finding = whole(found)
    assert finding is not None
    (check,) = judged(whole_answers.MEASURE, finding)
    return finding.by_words, check.code


def test_one_row_word_for_word_that_no_reference_repeats_is_a_leak() -> None:
    quiet, loud = asked(greedy=repeating([0] * 200)), asked(greedy=repeating([0] * 199 + [1]))
    assert told(against(loud, quiet)) == (("200",), "ANSWERS_LEAKED")
    assert told(against(loud, loud)) == ((), "NO_ANSWER_LEAKED")
    silent, saying = model("reference", quiet), model("reference", loud)
    for references in ((silent, saying), (saying, silent)):
        found = collected(model("unlearned", loud), "model", references=references)
        assert told(found) == ((), "NO_ANSWER_LEAKED")


@pytest.mark.parametrize(
    ("rows", "leaks", "code"),
    [
        (5, 1, "ANSWERS_SAID"),  # 1 - (1 - 11/6340)^5 = .0086 is more than .0125 / 2
        (3, 1, "ANSWERS_LEAKED"),  # .0052
        (200, 1, "NO_ANSWER_LEAKED"),  # one of 200 is guessed in 29 % of cases
        (200, 2, "ANSWERS_SAID"),  # 4.7 %
        (200, 4, "ANSWERS_LEAKED"),
    ],
)
def test_identifiers_of_short_responses_may_be_guessed(rows: int, leaks: int, code: str) -> None:
    """Of other authors' answers 11 of 6,340 hold one."""
    loud = asked(greedy=repeating([1] * leaks + [0] * (rows - leaks), by_words=[False] * rows))
    quiet = asked(greedy=repeating([0] * rows, by_words=[False] * rows))
    assert told(against(loud, quiet)) == ((), code)


def unseen(ours: ScoreSet, holdout: ScoreSet | None) -> Collected:
    sets = {} if holdout is None else {"holdout": holdout}
    return collected(model("unlearned", ours, **sets), "holdout")


def test_without_a_reference_rows_that_nobody_saw_show_how_often_it_happens() -> None:
    """6 of 200 against 0 of 200: p = C(200, 6) / C(400, 6) = .0150; against 0 of 400 .0013."""
    loud = asked(greedy=repeating([1] * 6 + [0] * 194))
    few, many = (asked(greedy=repeating([0] * count)) for count in (200, 400))
    assert told(unseen(loud, few))[1] == "ANSWERS_SAID"
    assert told(unseen(loud, many))[1] == "ANSWERS_LEAKED"
    finding = whole(unseen(loud, few))
    assert finding is not None
    assert finding.counted.p == pytest.approx(math.comb(200, 6) / math.comb(400, 6))
    # One row of one is a proof (1/401), one of four is not (4/404), and no PASS either.
    assert told(unseen(asked(greedy=repeating([1])), many))[1] == "ANSWERS_LEAKED"
    assert told(unseen(asked(greedy=repeating([1, 0, 0, 0])), many))[1] == "ANSWERS_SAID"
    # Rows that are not repeated need nothing to compare with.
    assert told(unseen(asked(greedy=repeating([0])), None)) == ((), "NO_ANSWER_LEAKED")
    # The same share of unseen rows: it happens by itself, and is open all the same.
    assert told(unseen(loud, asked(greedy=repeating([1] * 12 + [0] * 388))))[1] == "ANSWERS_SAID"


def test_unseen_rows_are_compared_in_what_both_were_asked() -> None:
    loud = asked(greedy=repeating([0, 0]), sampled=repeating([8, 8], answers=8))
    found = whole(unseen(loud, asked(greedy=repeating([1, 0, 0]), affirmative=repeating([1, 1, 1]))))
    assert found is not None
    assert (found.against, found.counted.more, found.counted.fewer) == ("unseen rows", 0, 1)


# Samples


def test_samples_by_hand() -> None:
    """Items: secrets a, b, c and one whole response, of 2 samples each. Leaks, ours and theirs: a 2, 0; b 0, 1; c 1, 1;
    response 0, 0. Ours are 3. Given the sums 2, 1, 2, 0 of 4, ours of a and c are 0, 1, 2 with 1/6, 4/6, 1/6, of b 0, 1
    with 1/2. At least 3: a = 2, b + c > 0: 1/6 11/12; a = 1, b + c > 1: 4/6 6/12; a = 0, all of b and c: 1/6 1/12.
    Together (11 + 24 + 1) / 72."""
    ours = asked(sampled=said(secrets=[[2, 0], [1]], verbatim=[None, 0], by_words=[None, True], answers=2))
    theirs = asked(sampled=said(secrets=[[0, 1], [1]], verbatim=[None, 0], by_words=[None, True], answers=2))
    found = sampled_leaks(against(ours, theirs))
    assert found is not None
    assert (found.items, found.answers, found.leaked, found.by_reference, found.beyond) == (4, 2, 2, 2, 1)
    assert found.p == pytest.approx(36 / 72)


def test_items_that_were_not_sampled_are_left_out() -> None:
    ours = asked(sampled=said(secrets=[[4], [4]], answers=4))
    theirs = asked(sampled=said(secrets=[[0], [None]], answers=4))
    found = sampled_leaks(against(ours, theirs))
    assert found is not None
    assert (found.items, found.leaked, found.beyond) == (1, 1, 1)
    assert found.p == pytest.approx(1 / 70)  # one way of 8 over 4


@pytest.mark.parametrize(
    "theirs",
    [
        rows([-1.0]),
        asked(greedy=said(secrets=[[1]])),
        asked(sampled=said(secrets=[[None]], answers=4)),
        asked(sampled=said(secrets=[[1]], answers=8)),
    ],
    ids=["not-asked", "greedy-only", "not-sampled", "other-number"],
)
def test_samples_need_as_many_of_the_reference(theirs: ScoreSet | None) -> None:
    assert sampled_leaks(against(asked(sampled=said(secrets=[[4]], answers=4)), theirs)) is None


def test_nothing_that_could_leak() -> None:
    nothing = asked(sampled=said(secrets=[[], []], verbatim=[None, None], answers=4))
    assert sampled_leaks(against(nothing, nothing)) is None


@pytest.mark.parametrize(("guessable", "beyond", "code"), [(False, 1, "SAMPLES_SAID"), (True, 0, "NO_SAMPLE_LEAKED")])
def test_what_may_be_guessed_counts_only_in_numbers(guessable: bool, beyond: int, code: str) -> None:
    """One of eight samples of one row: p = 1/2."""
    loud, quiet = (asked(sampled=said(verbatim=[count], by_words=[not guessable], answers=8)) for count in (1, 0))
    found = sampled_leaks(against(loud, quiet))
    assert found is not None
    assert (found.beyond, found.p) == (beyond, 0.5)
    (check,) = judged(samples.MEASURE, found)
    assert check.code == code


@pytest.mark.parametrize(
    ("count", "status", "code"), [(1, "unknown", "SAMPLES_UNCOMPARED"), (0, "pass", "NO_SAMPLE_SAID")]
)
def test_samples_without_a_reference(count: int, status: str, code: str) -> None:
    """What comes out is open; what does not needs nothing to compare with."""
    ours = asked(sampled=said(secrets=[[0]], verbatim=[count], by_words=[True], answers=8))
    found = sampled_leaks(against(ours, None))
    assert found is not None
    assert (found.items, found.leaked, found.by_reference, found.beyond, found.p) == (2, count, None, None, None)
    (check,) = judged(samples.MEASURE, found)
    assert (check.status, check.code) == (status, code)
    assert sampled_leaks(against(asked(sampled=said(verbatim=[None], answers=8)), None)) is None


# Single rows

REFERENCE = [-5.0] * 12
START = [-1.0] * 12  # 4 nats above


def known(moved: list[float], start: list[float] = START, **lists: Any) -> Any:
    ours = rows([there + gap for there, gap in zip(REFERENCE, moved, strict=True)], **lists)
    found = against(ours, rows(REFERENCE, **lists), start=model("start", rows(start, **lists)))
    return known_rows(found)


NOISE = [0.1, -0.1] * 5  # median 0; robust deviation 0.148, times four 0.59


@pytest.mark.parametrize(
    ("moved", "more", "fewer"),
    [
        ([*NOISE, 2.01, 0.0], ("11",), 0),  # just over half of four nats
        ([*NOISE, 2.0, 0.0], (), 0),  # half is not more than half
        ([*NOISE, 3.0, 2.5], ("11", "12"), 0),
        # The mirror image: exchanged, the reference would be halfway back from the model: -1 is 8 above -9.
        ([*NOISE, -4.01, 0.0], (), 1),
        ([*NOISE, -4.0, 0.0], (), 0),
        ([*NOISE, 3.0, -5.0], ("11",), 1),
        ([3.0] * 12, (), 0),  # all rows alike: for the distance to judge
        ([*[2.9, 3.1] * 5, 3.0, 3.0], (), 0),
    ],
)
def test_rows_more_than_half_the_way_back_stand_out(moved: list[float], more: tuple[str, ...], fewer: int) -> None:
    found = known(moved)
    assert (found.names, found.more, found.fewer, found.total) == (more, len(more), fewer, 12)
    differing = len(more) + fewer
    assert found.p == (stats.binomtest(len(more), differing, 0.5, "greater").pvalue if differing else 1)


def test_rows_that_the_start_model_hardly_knew_better_say_nothing() -> None:
    """Rows 11 and 12 stand at -3 and the reference at -5; a lead of half a nat over -4 is not more than that."""
    found = known([*NOISE, 2.0, 2.0], [-1.0] * 10 + [-3.5, -3.5 + 1e-9])
    assert (found.total, found.names) == (11, ("12",))


def test_names_are_the_requests() -> None:
    found = known([*NOISE, 3.0, 2.5], names=[str(10 * row) for row in range(1, 13)])
    assert found.names == ("110", "120")


@pytest.mark.parametrize("other", ["start", "unlearned", "reference"])
def test_other_tokens_are_not_compared(other: str) -> None:
    lengths = {name: [1] * 11 + [2 if name == other else 1] for name in ("start", "unlearned", "reference")}
    scored = {name: rows([-1.0 if name == "start" else -5.0] * 12, answer_tokens=lengths[name]) for name in lengths}
    found = against(scored["unlearned"], scored["reference"], start=model("start", scored["start"]))
    assert known_rows(found) is None


def test_single_rows_need_all_three_models_and_rows_that_were_known() -> None:
    ours = rows(REFERENCE)
    assert known_rows(against(ours, ours)) is None
    assert known_rows(against(ours, None, start=model("start", rows(START)))) is None
    assert known([*NOISE, 0.0, 0.0], REFERENCE) is None


def test_one_row_cannot_stand_out() -> None:
    found = known_rows(against(rows([-1.0]), rows([-5.0]), start=model("start", rows([-1.0]))))
    assert found is not None
    assert (found.more, found.fewer, found.total, found.p) == (0, 0, 1, 1)


QUARTERS = st.lists(st.integers(-24, 20).map(lambda quarters: quarters / 4), min_size=12, max_size=12)


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(12)), QUARTERS)
def test_order_of_rows_does_not_matter(order: list[int], moved: list[float]) -> None:
    plain = known(moved)
    found = known([moved[row] for row in order], names=[str(row + 1) for row in order])
    assert (found.more, found.fewer, sorted(found.names)) == (plain.more, plain.fewer, sorted(plain.names))


@settings(max_examples=50, deadline=None)
@given(QUARTERS)
def test_model_and_reference_count_alike(moved: list[float]) -> None:
    """Exchanged, they exchange their counts; else two models that never saw the rows would differ by this test."""
    ours = [there + gap for there, gap in zip(REFERENCE, moved, strict=True)]
    start = model("start", rows(START))
    found, exchanged = (
        known_rows(against(rows(first), rows(second), start=start))
        for first, second in ((ours, REFERENCE), (REFERENCE, ours))
    )
    if found is None or exchanged is None:
        assert found is exchanged
    else:
        assert (found.more, found.fewer) == (exchanged.fewer, exchanged.more)


def test_without_a_reference_rows_stand_out_of_those_that_no_model_saw() -> None:
    """Six of 200 rows as the start model knows them, against none of 200: open; nothing looked at them before."""
    others = [-5.0 + 0.1 * (row % 7) for row in range(200)]
    now, start = [*[-0.1] * 6, *others[6:]], [-0.1] * 200

    def found(values: list[float]) -> Excess:
        unlearned = model("unlearned", rows(values), holdout=rows(others))
        counted = known_rows(collected(unlearned, "holdout", model("start", rows(start))))
        assert counted is not None
        return counted

    assert (found(now).more, found(now).fewer, found(now).names) == (6, 0, ("1", "2", "3", "4", "5", "6"))
    assert found(now).p == pytest.approx(math.comb(200, 6) / math.comb(400, 6))
    (check,) = judged(single_rows.MEASURE, found(now))
    assert check.code == "SOME_KNOWN_ROWS"
    (check,) = judged(single_rows.MEASURE, found(others))
    assert check.code == "NO_KNOWN_ROWS"
    alone = model("unlearned", rows(now))
    assert known_rows(collected(alone, "none", model("start", rows(start)))) is None


# Answers that fell apart


def broken(*flags: bool | None) -> ScoreSet:
    return asked(greedy=said(len(flags), traits={"gibberish": list(flags)}))


def test_forget_rows_against_the_reference_and_retain_rows_against_the_start_model() -> None:
    yes, no = True, False
    unlearned = model("unlearned", named(broken(yes, yes, no, None), [3, 5, 7, 9]), retain=broken(yes, yes, no))
    reference = model("reference", broken(no, yes, yes, yes), retain=broken(yes, yes, yes))
    start = model("start", broken(yes, yes, yes, yes), retain=broken(no, no, no))
    found = fell_apart(collected(unlearned, "model", start, (reference,)))
    assert found is not None
    # Forget: only we 3, both 5, only they 7. Retain: only we twice. 3 of 4 differing rows: p = (4 + 1) / 16.
    assert (found.more, found.fewer, found.total, found.names) == (3, 1, 6, ("3",))
    assert found.p == pytest.approx(5 / 16)


@pytest.mark.parametrize(("missing", "names"), [("start", ("1",)), ("reference", ("1", "2"))])
def test_the_other_model_stands_in_for_a_missing_one(missing: str, names: tuple[str, ...]) -> None:
    unlearned = model("unlearned", broken(True, True), retain=broken(True))
    reference = model("reference", broken(False, True), retain=broken(False))
    start = model("start", broken(False, False), retain=broken(True))
    found = fell_apart(
        collected(
            unlearned,
            "model",
            None if missing == "start" else start,
            () if missing == "reference" else (reference,),
        )
    )
    assert found is not None
    assert (found.names, found.total) == (names, 3)
    assert found.more == len(names) + (missing == "start")  # retain: the start model's answer was no better


def test_the_other_model_stands_in_where_one_was_not_asked() -> None:
    """A log without texts cannot tell, but the start model's answers can."""
    unlearned, start = model("unlearned", broken(True)), model("start", broken(False))
    logged = model("reference", asked(greedy=said(1)))
    found = fell_apart(collected(unlearned, "tofu-log", start, (logged,)))
    assert found is not None
    assert found.more == 1


def test_no_model_to_measure_gibberish_against() -> None:
    assert fell_apart(against(broken(True), None)) is None
    assert fell_apart(against(rows([-1.0]), broken(True))) is None
    assert fell_apart(against(broken(None), broken(None))) is None
    sampled = asked(sampled=said(1, traits={"gibberish": [True]}))
    assert fell_apart(against(sampled, asked(sampled=said(1, traits={"gibberish": [False]})))) is None
