"""Retain rows whose answer lost half of its words, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from forgetctl.model.score_files import read_scores
from forgetctl.model.scores import Role, Scores, ScoreSet
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import answers_kept
from forgetctl.verify.checks.answers_kept import Lost
from tests.verify.handmade import collected, model, rows, said
from tests.verify.measured import ShareExcess, findings, judged, replace

BOUNDS = Bounds()
FORGET = rows([-1.0])


def retain(recall: Sequence[float | None], **lists: Any) -> ScoreSet:
    return rows([-1.0] * len(recall), elicited={"greedy": said(recall=list(recall))}, **lists)


def lost(now: ScoreSet | None, start: ScoreSet | None, reference: ScoreSet | None = None) -> dict[str, ShareExcess]:
    def scored(role: Role, values: ScoreSet | None) -> Scores:
        return model(role, FORGET, **({} if values is None else {"retain": values}))

    references = () if reference is None else (scored("reference", reference),)
    found = answers_kept.measure(
        collected(scored("unlearned", now), "model", scored("start", start), references), BOUNDS
    )
    return {one.rows: one.lost for one in found}


def test_half_of_the_words_by_hand() -> None:
    """Of what the start model said: rows that keep half, less than half, all, and of which nothing was there."""
    (found,) = lost(retain([0.5, 0.49, 1.0, 0.0]), retain([1.0, 1.0, 1.0, 0.0])).values()
    assert (found.more, found.fewer, found.total) == (1, 0, 3)


def test_what_the_reference_lost_too_is_no_damage() -> None:
    """Only here, both, only there, none."""
    before = retain([1.0] * 4)
    (found,) = lost(retain([0.1, 0.1, 1.0, 1.0]), before, retain([1.0, 0.1, 0.1, 1.0])).values()
    assert (found.more, found.fewer, found.total) == (1, 1, 4)


def test_rehearsed_rows_are_counted_apart() -> None:
    now, before = [0.1, 1.0, 1.0, 0.1, 0.1], [1.0] * 5
    found = lost(retain(now, rehearsed=[True, True, False, False, False]), retain(before))
    assert {name: (one.more, one.total) for name, one in found.items()} == {
        "rehearsed rows": (1, 2),
        "unrehearsed rows": (2, 3),
    }
    assert list(lost(retain(now), retain(before))) == ["retain rows"]  # no run says which were


def test_identical_rows_count_once_and_passages_do_not() -> None:
    (found,) = lost(retain([0.1, 0.1, None], copies=[0, 0, 1]), retain([1.0, 1.0, None])).values()
    assert (found.more, found.total) == (1, 1)


@pytest.mark.parametrize("missing", [0, 1])
def test_nothing_to_compare(missing: int) -> None:
    same = retain([1.0])
    assert lost(*(None if place == missing else same for place in range(2))) == {}
    bare = rows([-1.0])
    assert lost(*(bare if place == missing else same for place in range(2))) == {}


def codes(*found: Lost) -> list[tuple[str, str]]:
    return [(check.status, check.code) for check in judged(answers_kept.MEASURE, found, among=findings())]


NONE, SOME, MANY = (ShareExcess(0, 0, 300, 0.0, low, 95) for low in (0.015, 0.05, 0.2))


def test_a_share_below_the_limit_passes_and_one_above_fails() -> None:
    apart = Lost(rows="unrehearsed rows", lost=NONE)
    assert codes(apart) == [("pass", "ANSWERS_KEPT")]
    assert codes(replace(apart, lost=SOME)) == [("unknown", "ANSWERS_UNSURE")]  # 5 % is not below it
    assert codes(replace(apart, lost=replace(MANY, lower=0.05))) == [("unknown", "ANSWERS_UNSURE")]
    assert codes(replace(apart, lost=replace(MANY, lower=0.051))) == [("fail", "ANSWERS_LOST")]


def test_rehearsed_rows_alone_leave_it_open_and_say_how_many_would_decide() -> None:
    held = Lost(rows="rehearsed rows", lost=NONE)
    assert codes(held, replace(held, rows="unrehearsed rows")) == [("pass", "ANSWERS_KEPT")] * 2
    assert codes(held) == [("pass", "ANSWERS_KEPT"), ("unknown", "NO_ANSWERS_KEPT")]
    (check,) = judged(answers_kept.MEASURE, ())
    assert "about 90 would settle it" in check.text
    few = lost(retain([1.0] * 50, rehearsed=[False] * 50), retain([1.0] * 50))["unrehearsed rows"]
    (check,) = judged(answers_kept.MEASURE, (Lost(rows="unrehearsed rows", lost=few),))
    assert "0 of 50" in check.text
    assert "about 90 rows like these would settle it" in check.text


PAIRS = [("npo_retain90_llama", "tofu_llama2-7b_retain90"), ("npo_retain90_phi", "tofu_phi_retain90")]


@pytest.mark.parametrize("pair", [*PAIRS, *(pair[::-1] for pair in PAIRS)], ids="-".join)
def test_published_models_that_never_saw_the_rows_lost_no_answers(shared: Path, pair: tuple[str, str]) -> None:
    """Of another recipe, so that one (Phi of NPO's authors) lost 20 of 300 answers and stays open."""
    logs = shared / "tofu" / "logs"
    name = "tofu_phi_full" if "phi" in pair[0] else "tofu_llama2-7b_full"
    start, ours, theirs = (read_scores(logs / f"{one}.json", "start")[0].sets["retain"] for one in (name, *pair))
    (found,) = lost(ours, start, theirs).values()
    (check,) = judged(answers_kept.MEASURE, (Lost(rows="retain rows", lost=found),))
    assert check.code == ("ANSWERS_UNSURE" if pair[0] == "npo_retain90_phi" else "ANSWERS_KEPT")
