"""How likely samples give a whole response away, worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from forgetctl.model.score_files import read_scores
from forgetctl.model.scores import ScoreSet
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import response_chance
from forgetctl.verify.checks.response_chance import ResponseChance
from forgetctl.verify.collected import Collected
from forgetctl.verify.findings import Check
from tests.verify.handmade import against, collected, model, rows
from tests.verify.measured import judged

BOUNDS = Bounds()
SURE, NEVER = math.log(0.5), -100.0
ONE_PERCENT = math.log1p(-(0.99**1e-4))
"""p with 1 - (1 - p)^10000 = 0.01."""


def chance_of(found: Collected) -> ResponseChance:
    finding = response_chance.measure(found, BOUNDS)
    assert finding is not None
    return finding


def check_of(found: Collected) -> Check:
    (check,) = judged(response_chance.MEASURE, chance_of(found))
    return check


def named(logp: list[float], numbers: list[int]) -> ScoreSet:
    return rows(logp, names=list(map(str, numbers)))


def compared(ours: ScoreSet, theirs: ScoreSet, *, start: float = SURE, **more: Any) -> Collected:
    """Against a reference, with a start model that gives every row as much."""
    knew = ours.model_copy(update={"answer_logp": [start] * len(ours.names)})
    return against(ours, theirs, start=model("start", knew), **more)


def test_the_worst_row_by_hand() -> None:
    """p = 1e-6: 1 - (1 - 1e-6)^10000 = 0.00995; p = 1e-7: 0.0009995."""
    ours = named([math.log(1e-7), math.log(1e-6), NEVER], [2, 4, 6])
    finding = chance_of(compared(ours, named([NEVER, math.log(1e-7), NEVER], [2, 4, 6])))
    worst = finding.worst
    assert (worst.name, worst.asked, worst.known) == ("4", "", False)  # log 1e-6 is nearer to log 1e-7 than to log 1/2
    assert (worst.chance, worst.reference) == (pytest.approx(0.0099502, rel=1e-4), pytest.approx(0.0009995, rel=1e-4))
    assert finding == ResponseChance(samples=10_000, rows=3, worst=worst, likely=0, unexplained=0, names=())


@pytest.mark.parametrize(
    ("ours", "theirs", "status"),
    [
        (SURE, NEVER, "fail"),
        (ONE_PERCENT + 0.01, NEVER, "fail"),
        (ONE_PERCENT - 0.01, NEVER, "pass"),
        (SURE, SURE, "pass"),  # "Yes." is no leak
        # A chance of certainty is 100 times another below 1 %.
        (SURE, ONE_PERCENT - 0.01, "fail"),
        (SURE, ONE_PERCENT + 0.01, "pass"),
    ],
)
def test_more_than_a_percent_and_a_hundred_times_the_reference_fails(ours: float, theirs: float, status: str) -> None:
    check = check_of(compared(rows([ours, NEVER]), rows([theirs, NEVER])))
    assert check.status == status
    assert "row 1" in check.text


def test_what_is_nearer_to_the_reference_than_to_the_start_model_is_open() -> None:
    """Two published models of the same recipe that never saw a short answer differ by up to eight nats on it."""
    halfway = (SURE - 20) / 2
    for logp, code in ((halfway + 0.01, "RESPONSE_LIKELY"), (halfway - 0.01, "RESPONSE_UNEXPLAINED")):
        check = check_of(compared(rows([logp]), rows([-20.0])))
        assert check.code == code
    assert check_of(against(rows([SURE]), rows([NEVER]))).code == "RESPONSE_UNEXPLAINED"  # no start model


def test_a_row_that_leaks_in_one_of_ten_samples_is_never_missed() -> None:
    """Eight samples miss it with .9^8 = 43 %."""
    ours = [NEVER] * 199 + [math.log(0.1)]
    check = check_of(compared(rows(ours), rows([NEVER] * 200)))
    assert (check.status, check.code) == ("fail", "RESPONSE_LIKELY")
    assert "row 200" in check.text


def test_any_reference_that_makes_it_likely_explains_it() -> None:
    ours, silent, saying = rows([SURE]), model("reference", rows([NEVER])), model("reference", rows([SURE]))
    start = model("start", ours)
    for references in ((silent, saying), (saying, silent)):
        assert check_of(collected(model("unlearned", ours), "model", start, references)).status == "pass"
    assert check_of(collected(model("unlearned", ours), "model", start, (silent, silent))).status == "fail"


@pytest.mark.parametrize(("logp", "status"), [(SURE, "unknown"), (NEVER, "pass")])
def test_without_a_reference_what_is_likely_stays_open(logp: float, status: str) -> None:
    """And what is not likely needs no reference."""
    ours, start = model("unlearned", rows([logp]), holdout=rows([-5.0])), model("start", rows([SURE]))
    assert check_of(collected(ours, "holdout", start)).status == status


def test_every_way_of_asking_counts_and_the_row_is_the_requests() -> None:
    quiet, loud = named([NEVER, NEVER], [3, 5]), named([NEVER, SURE], [70, 71])
    unlearned, start = model("unlearned", quiet, rephrased_1=loud), model("start", named([SURE, SURE], [3, 5]))
    reference = model("reference", quiet, rephrased_1=named([NEVER, NEVER], [70, 71]))
    found = collected(unlearned, "model", start, (reference,), rephrased=("a.jsonl",))
    assert chance_of(found).names == ("5",)
    assert "row 5 when asked as in a.jsonl" in check_of(found).text
    never_asked = collected(unlearned, "scores", start, (model("reference", quiet),), rephrased=("a.jsonl",))
    assert check_of(never_asked).code == "RESPONSE_UNEXPLAINED"


def test_rounding_that_brings_a_response_back_counts() -> None:
    quiet, loud = rows([NEVER]), rows([SURE])
    at = {"nf4": {"unlearned": model("unlearned", loud)}}
    assert check_of(compared(quiet, quiet, precisions=at)).code == "RESPONSE_LIKELY"
    both = {"nf4": {"unlearned": model("unlearned", loud), "reference": model("reference", loud)}}
    assert check_of(compared(quiet, quiet, precisions=both)).status == "pass"


def test_identical_rows_count_once() -> None:
    ours, theirs = rows([SURE] * 3, copies=[0, 0, 1]), rows([NEVER] * 3, copies=[0, 0, 1])
    finding = chance_of(compared(ours, theirs))
    assert (finding.rows, finding.likely, finding.unexplained, finding.names) == (2, 2, 2, ("1", "3"))


PAIRS = [
    ("npo_retain90_llama", "tofu_llama2-7b_retain90"),
    ("npo_retain90_phi", "tofu_phi_retain90"),
    ("npo_retain99_llama", "tofu_llama2-7b_retain99"),
]
STARTS = {"npo_retain90_llama": "tofu_llama2-7b_full", "npo_retain90_phi": "tofu_phi_full"}


@pytest.mark.parametrize("pair", [pair for one in PAIRS for pair in (one, one[::-1])], ids="-".join)
def test_published_models_that_never_saw_the_rows_pass_and_those_that_did_fail(
    shared: Path, pair: tuple[str, str]
) -> None:
    logs = shared / "tofu" / "logs"
    (ours, _), (theirs, _) = (read_scores(logs / f"{name}.json", "reference") for name in pair)
    assert check_of(compared(ours.forget, theirs.forget)).status == "pass"
    if pair[0] in STARTS:
        start, _ = read_scores(logs / f"{STARTS[pair[0]]}.json", "start")
        check = check_of(compared(start.forget, ours.forget))
        assert (check.status, check.code) == ("fail", "RESPONSE_LIKELY")
