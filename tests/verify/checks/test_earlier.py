"""Whether what was forgotten earlier stays forgotten: by hand, through files, and in whole verdicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forgetctl.model.scores import Scores, ScoreSet
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks.earlier import MEASURE, StaysForgotten
from forgetctl.verify.collected import EARLIER, Collected, Earlier, by_name, from_names
from forgetctl.verify.registry import WORKS
from forgetctl.verify.verdict import Outcome, judge
from tests.verify.handmade import rows, said
from tests.verify.measured import CLEAN, NOTHING, Secrets, judged
from tests.verify.measured import replace as replace_in
from tests.verify.verdicts import complete, verdict

BOUNDS = Bounds()
LEVELS = np.random.default_rng(7).normal(-3, 1, 120).tolist()


def scored(rows: ScoreSet, name: str = "run-1") -> Scores:
    return Scores(role="unlearned", name=name, sets={EARLIER: rows})


def earlier(now: ScoreSet, then: ScoreSet, name: str = "run-1") -> Earlier:
    return Earlier(scored(then, name), scored(now, name))


def with_pairs(*pairs: Earlier) -> Collected:
    return replace(complete(160), earlier=pairs)


def compared(now: ScoreSet, then: ScoreSet) -> StaysForgotten:
    (found,) = MEASURE.measure(with_pairs(earlier(now, then)), BOUNDS)
    return found


def codes(now: ScoreSet, then: ScoreSet) -> list[tuple[str, str]]:
    return [(check.status, check.code) for check in judged(MEASURE, [compared(now, then)])]


def moved(nats: float, some: Sequence[float] = LEVELS) -> ScoreSet:
    return rows([value + nats for value in some])


def answering(**lists: Any) -> ScoreSet:
    """The same scores, and greedy answers."""
    return rows(LEVELS, elicited={"greedy": said(**lists)})


def test_the_difference_by_hand() -> None:
    found = compared(rows([-1.0, -2.0, -3.0, -8.0]), rows([-2.0, -3.0, -4.0, -5.0]))
    assert found.name == "1 (run-1)"
    assert found.shift is not None
    assert found.distance is not None
    assert (found.shift.difference, found.distance.D, found.shift.n) == (0.0, 0.25, 4)  # 1, 1, 1 and -3
    assert found.shift.spread == pytest.approx(np.std([2, 3, 4, 5], ddof=1))
    assert (found.secrets, found.whole) == (None, None)


@pytest.mark.parametrize(
    ("nats", "expected"),
    [
        (0.0, ("pass", "STAYS_FORGOTTEN")),
        (-2.0, ("pass", "STAYS_FORGOTTEN")),  # more forgotten is no fault of this check
        (0.05, ("pass", "STAYS_FORGOTTEN")),
        (2.0, ("fail", "REMEMBERED_AGAIN")),
    ],
)
def test_scores_that_rise_are_remembered(nats: float, expected: tuple[str, str]) -> None:
    assert codes(moved(nats), moved(0)) == [expected]


def test_a_few_rows_that_rise_leave_it_open() -> None:
    now = [*(value + 3 for value in LEVELS[:12]), *LEVELS[12:]]
    assert codes(rows(now), moved(0)) == [("unknown", "REMEMBERING_UNSURE")]


def test_other_tokens_are_not_compared() -> None:
    now = rows([2 * value for value in LEVELS], answer_tokens=[2] * len(LEVELS))
    assert codes(now, moved(0)) == [("unknown", "NOT_MEASURED")]


def first(count: int, value: Any, other: Any) -> list[Any]:
    return [value] * count + [other] * (len(LEVELS) - count)


def test_a_secret_that_comes_out_again() -> None:
    silent = answering(secrets=[[0, 0], [0, 0], *first(0, [], [])[2:]])
    saying = answering(secrets=[[1, 0], [1, 0], *first(0, [], [])[2:]])
    hinting = answering(secrets=[[1, 0], [0, 0], *first(0, [], [])[2:]])
    assert codes(silent, silent)[1:] == [("pass", "NO_EARLIER_LEAK")]
    assert codes(saying, silent)[1:] == [("fail", "EARLIER_SECRET_LEAKED")]
    assert codes(saying, saying)[1:] == [("pass", "NO_EARLIER_LEAK")]  # it came out then too
    (_, check) = judged(MEASURE, [compared(saying, silent)])
    assert check.text == (
        "2 of 4 named secrets come out that did not when it was verified (rows 1, 2 of its own file; p = 0.0023)."
    )
    # One of four is guessed with 1 - .98^4 = 7.8 %.
    assert codes(hinting, silent)[1:] == [("unknown", "EARLIER_SECRET_SAID")]


def test_secrets_of_another_file_are_not_compared() -> None:
    one, two = answering(secrets=first(1, [0], [])), answering(secrets=first(1, [0, 1], []))
    assert compared(two, one).secrets is None


@pytest.mark.parametrize(
    ("again", "before", "expected"),
    [
        (0, 0, ("pass", "NO_EARLIER_ANSWER_LEAKED")),
        (9, 0, ("fail", "EARLIER_ANSWERS_LEAKED")),
        (2, 0, ("unknown", "EARLIER_ANSWERS_SAID")),
        (9, 9, ("pass", "NO_EARLIER_ANSWER_LEAKED")),
    ],
)
def test_whole_answers_that_come_out_again(again: int, before: int, expected: tuple[str, str]) -> None:
    assert codes(answering(whole=first(again, 1, 0)), answering(whole=first(before, 1, 0)))[1:] == [expected]


def test_identical_rows_count_once() -> None:
    copies = [0] * 9 + list(range(1, 112))
    now = answering(whole=first(9, 1, 0)).model_copy(update={"copies": copies})
    found = compared(now, answering(whole=first(0, 1, 0)))
    assert found.whole is not None
    assert (found.whole.more, found.whole.total) == (1, 112)


def test_every_deterministic_answer_counts_and_no_sample() -> None:
    silent = answering(whole=first(0, 1, 0))
    greedy = silent.elicited["greedy"]
    loud = greedy.model_copy(update={"whole": first(9, 1, 0)})
    willing = silent.model_copy(update={"elicited": {"greedy": greedy, "affirmative": loud}})
    sampling = silent.model_copy(update={"elicited": {"greedy": greedy, "sampled": loud}})
    assert codes(willing, silent)[1:] == [("fail", "EARLIER_ANSWERS_LEAKED")]
    assert codes(sampling, silent)[1:] == [("pass", "NO_EARLIER_ANSWER_LEAKED")]


# In a verdict

QUIET, LOUD, OPEN = moved(0), moved(2), rows([*(value + 3 for value in LEVELS[:12]), *LEVELS[12:]])
BASES = {
    "PASS": CLEAN,
    "INCONCLUSIVE": replace_in(CLEAN, control=()),
    "FAIL": replace_in(CLEAN, secrets=Secrets(3, 0, 2, 0, 2, ("4",), remembered=1)),
}


@pytest.mark.parametrize(
    ("outcome", "now", "expected"),
    [
        ("PASS", QUIET, "PASS"),
        ("PASS", OPEN, "INCONCLUSIVE"),
        ("PASS", LOUD, "FAIL"),
        ("INCONCLUSIVE", QUIET, "INCONCLUSIVE"),
        ("INCONCLUSIVE", LOUD, "FAIL"),
        ("FAIL", QUIET, "FAIL"),
        ("FAIL", OPEN, "FAIL"),
    ],
)
def test_it_can_only_make_a_verdict_worse(outcome: Outcome, now: ScoreSet, expected: Outcome) -> None:
    base, quiet, found = BASES[outcome], compared(QUIET, QUIET), compared(now, QUIET)
    assert judge(base, BOUNDS).outcome == outcome
    joined = judge(replace_in(base, earlier=(quiet, found)), BOUNDS)
    assert joined.outcome == expected
    assert joined.checks == (*judge(base, BOUNDS).checks, *judged(MEASURE, [quiet, found]))


def test_without_a_comparison_it_stays_inconclusive() -> None:
    joined = judge(replace_in(CLEAN, comparison=NOTHING, earlier=(compared(LOUD, QUIET),)), BOUNDS)
    assert joined.outcome == "INCONCLUSIVE"
    assert [check.code for check in joined.reasons] == ["NO_REFERENCE", "REMEMBERED_AGAIN"]


def test_verdict_json_tells_it() -> None:
    pairs = (earlier(QUIET, QUIET, "run-1"), earlier(LOUD, QUIET, "run-2"))
    alone = replace(complete(20), references=(), kind="none", precisions={}, altered={}, rephrased=(), earlier=pairs)
    made = verdict(alone)
    assert [one["name"] for one in made["earlier"]] == ["1 (run-1)", "2 (run-2)"]
    assert made["earlier"][1]["shift"]["difference"] == pytest.approx(2)
    told = {check["name"]: check["code"] for check in made["checks"] if "earlier" in check["name"]}
    assert told == {"earlier request 1 (run-1)": "STAYS_FORGOTTEN", "earlier request 2 (run-2)": "REMEMBERED_AGAIN"}
    assert "REMEMBERED_AGAIN" in [check["code"] for check in made["checks"] if check["status"] == "fail"]


# Through files


def test_it_comes_back_from_files() -> None:
    pairs = tuple(earlier(moved(number), moved(0), f"run-{number}") for number in range(12))
    found = with_pairs(*pairs)
    named = by_name(found)
    assert {"unlearned-then1", "unlearned-now1", "unlearned-then12", "unlearned-now12"} <= set(named)
    text = {name: json.dumps(scores.model_dump(mode="json")) for name, scores in named.items()}
    read = {name: Scores.model_validate(json.loads(text[name])) for name in sorted(text)}
    again = from_names(read, kind=found.kind, altered=WORKS, rephrased=found.rephrased, kl=found.kl)
    assert again == found


def test_half_of_a_pair_is_refused() -> None:
    named = by_name(with_pairs(earlier(moved(0), moved(0))))
    del named["unlearned-now1"]
    with pytest.raises(KeyError):
        from_names(named, kind="model", altered=WORKS)
