"""Checks of leaks and of damage one by one: limits, line numbers, and what the texts say."""

from __future__ import annotations

from typing import Any

import pytest

from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import gibberish, kept
from forgetctl.verify.findings import Check
from forgetctl.verify.registry import COUNT_CHECKS, MEASURES, Findings, findings
from forgetctl.verify.statistics.bounded import bounded_change
from forgetctl.verify.verdict import judge
from tests.verify.measured import (
    CLEAN,
    KEPT,
    LOST,
    OPEN,
    Change,
    Excess,
    Kept,
    Repeated,
    Samples,
    Secrets,
    excess,
    judged,
    replace,
    usefulness,
)

BOUNDS = Bounds()


def leak(**measured: object) -> Check:
    """The line of the one check that `measured` is of."""
    (name,) = measured
    (measure,) = (one for one in MEASURES if one.key == name)
    (check,) = judged(measure, measured[name])
    return check


def damage(findings: Findings, bounds: Bounds = BOUNDS) -> list[Check]:
    return [*judged(kept.MEASURE, findings.kept, bounds=bounds), *judged(gibberish.MEASURE, findings.gibberish)]


# Line numbers


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "no row of the request itself"),
        (("7",), "row 7"),
        (("7", "9"), "rows 7, 9"),
        (("1", "2", "3", "4", "5"), "rows 1, 2, 3, 4, 5)"),
        (("7, turn 1", "7, turn 2"), "rows 7, turn 1; 7, turn 2)"),
        (("1", "2", "3", "4", "5", "6"), "rows 1, 2, 3, 4, 5 and 1 more)"),
        (tuple(map(str, range(10, 30))), "rows 10, 11, 12, 13, 14 and 15 more)"),
    ],
)
def test_names_of_rows_that_leak(names: tuple[str, ...], words: str) -> None:
    assert words.rstrip(")") in leak(secrets=Secrets(30, 0, 20, 0, 20, names, remembered=1)).text
    counted = leak(whole_answers=Repeated("references", excess(20, 0, 1e-6, names))).text
    assert words.rstrip(")") in counted
    assert ("more" in words) == ("more)" in counted)


# Secrets


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        (None, "NO_SECRETS"),
        (Secrets(5, 0, 0, 0, 0), "NO_LEAK"),
        (Secrets(5, 0, 0, None, None), "NO_LEAK"),
        (Secrets(5, 0, 2, 2, 0), "NO_LEAK"),  # the reference says them too
        (Secrets(5, 0, 2, 1, 1, remembered=1), "SECRET_LEAKED"),
        (Secrets(5, 0, 2, None, None), "SECRET_SAID"),
        (Secrets(5, 2, 0, 0, 0), "SECRET_UNTESTED"),
        (Secrets(5, 2, 1, None, None), "SECRET_SAID"),
        (Secrets(5, 2, 1, 0, 1, remembered=1), "SECRET_LEAKED"),
        (Secrets(5, 2, 1, 1, 0), "SECRET_UNTESTED"),
    ],
)
def test_secrets(finding: Secrets | None, code: str) -> None:
    assert leak(secrets=finding).code == code


def test_secrets_texts() -> None:
    assert "2 of 5 named secrets come out" in leak(secrets=Secrets(5, 0, 3, 1, 2, ("4",), remembered=1)).text
    assert "3 named secrets come out; whether" in leak(secrets=Secrets(5, 0, 3, None, None)).text
    assert "2 named secrets could not be tested" in leak(secrets=Secrets(5, 2, 0, 0, 0)).text
    # 1 - 0.05^(1/100) = 2.95 %
    assert "(of 100; of secrets like them at most 3.0% do, at 95 %)" in leak(secrets=Secrets(100, 0, 0, 0, 0)).text


# Counts


def test_four_checks_of_counts_share_the_failing_level() -> None:
    assert COUNT_CHECKS == 4  # whole answers, samples, single rows, gibberish
    assert BOUNDS.fail_level / COUNT_CHECKS == pytest.approx(0.0125)


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        # Two p share the level: of the counts, and of guessing.
        (Repeated("references", excess(7, 0, 0.00625, ("3",))), "ANSWERS_LEAKED"),
        (Repeated("references", excess(7, 0, 0.0063, ("3",))), "ANSWERS_SAID"),
        (Repeated("references", excess(7, 0, 0.051, ("3",)), (), 0.00625), "ANSWERS_LEAKED"),
        (Repeated("references", excess(7, 0, 0.051, ("3",)), (), 0.05), "ANSWERS_SAID"),
        (Repeated("references", excess(1, 9, 0.99, ("3",)), (), 0.051), "NO_ANSWER_LEAKED"),
        (Repeated("references", excess(1, 9, 0.99, ("3",)), ("3",)), "ANSWERS_LEAKED"),  # once is not never
        (Repeated("unseen rows", excess(1, 9, 0.99, ("3",)), ("3",)), "ANSWERS_SAID"),
        (Repeated("references", excess(0, 9, 1.0)), "NO_ANSWER_LEAKED"),
    ],
)
def test_whole_answers(finding: Repeated, code: str) -> None:
    check = leak(whole_answers=finding)
    assert check.code == code
    counted = finding.counted
    assert f"{counted.more} of 400, the comparison alone {counted.fewer}; p = " in check.text
    assert ("row 3" in check.text) == (code != "NO_ANSWER_LEAKED")
    rule_of_three = "; of rows like them at most 0.7% do, at 95 %)"  # 1 - 0.05^(1/400)
    assert (rule_of_three in check.text) == (not counted.more)


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        (Samples(50, 4, 9, 2, 7, 0.0125), "SAMPLES_LEAKED"),
        (Samples(50, 4, 9, 2, 7, 0.0126), "SAMPLES_SAID"),
        (Samples(50, 4, 9, 9, 0, 0.005), "SAMPLES_LEAKED"),  # the same items, but far more often
        (Samples(50, 4, 2, 3, 0, 0.7), "NO_SAMPLE_LEAKED"),
    ],
)
def test_samples(finding: Samples, code: str) -> None:
    check = leak(samples=finding)
    assert check.code == code
    figure = (
        f"{finding.leaked} of 50 items in 4 samples each, the reference {finding.by_reference}; p = {finding.p:.2g}"
    )
    assert figure in check.text
    if code == "SAMPLES_SAID":
        assert "give away 7 items" in check.text
    if code == "NO_SAMPLE_LEAKED":
        assert "; of such answers at most 1.5% do, at 95 %)" in check.text  # 200 samples


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        (excess(8, 1, 0.0125, ("8", "12")), "KNOWN_ROWS"),
        (excess(8, 1, 0.0126, ("8", "12")), "SOME_KNOWN_ROWS"),
        (excess(6, 5, 0.5, ("8", "12")), "SOME_KNOWN_ROWS"),  # one more is worth a look, chance or not
        (excess(1, 0, 0.5, ("8", "12")), "SOME_KNOWN_ROWS"),
        (excess(6, 6, 0.61, ("8", "12")), "NO_KNOWN_ROWS"),
        (excess(0, 6, 1.0), "NO_KNOWN_ROWS"),
        (excess(0, 0, 1.0), "NO_KNOWN_ROWS"),
    ],
)
def test_single_rows(finding: Excess, code: str) -> None:
    check = leak(single_rows=finding)
    status = {"KNOWN_ROWS": "fail", "SOME_KNOWN_ROWS": "unknown", "NO_KNOWN_ROWS": "pass"}[code]
    assert (check.name, check.status, check.code) == ("single rows", status, code)
    assert f"{finding.more} of 400, {finding.fewer} the other way; p = {finding.p:.2g}" in check.text
    assert ("rows 8, 12" in check.text) == (status != "pass")


@pytest.mark.parametrize(
    ("p", "status", "code"),
    [
        (0.0125, "fail", "GIBBERISH"),
        (0.0126, "unknown", "SOME_GIBBERISH"),
        (0.05, "unknown", "SOME_GIBBERISH"),
        (0.0501, "pass", "NO_GIBBERISH"),
        (1.0, "pass", "NO_GIBBERISH"),
    ],
)
def test_gibberish(p: float, status: str, code: str) -> None:
    check = damage(replace(CLEAN, gibberish=excess(6, 1, p, ("8", "12"))))[1]
    assert (check.name, check.status, check.code) == ("gibberish", status, code)
    assert f"6 of 400, 1 the other way; p = {p:.2g}" in check.text
    assert "line" not in check.text  # it is about retain rows too, which have no line in the request


@pytest.mark.parametrize(
    ("nothing", "name", "words"),
    [
        ({"secrets": Secrets(0, 0, 0, 0, 0)}, "secrets", "of 0; of secrets like them nothing is known"),
        (
            {"whole_answers": Repeated("references", Excess(0, 0, 0, 1.0, ()))},
            "whole answers",
            "of rows like them nothing is known",
        ),
        ({"samples": Samples(0, 8, 0, 0, 0, 1.0)}, "sampled answers", "of such answers nothing is known"),
        ({"samples": Samples(5, 0, 0, 0, 0, 1.0)}, "sampled answers", "of such answers nothing is known"),
        ({"single_rows": Excess(0, 0, 0, 1.0, ())}, "single rows", "0 of 0, 0 the other way"),
        ({"gibberish": Excess(0, 0, 0, 1.0, ())}, "gibberish", "0 of 0, 0 the other way"),
    ],
)
def test_counts_of_nothing_do_not_crash(nothing: dict[str, Any], name: str, words: str) -> None:
    """Nobody makes them: what was not counted is None."""
    (check,) = (check for check in judge(replace(CLEAN, **nothing), BOUNDS).checks if check.name == name)
    assert words in check.text
    assert check.status != "fail"


# Usefulness


def change(lower: float, upper: float) -> Change:
    return Change(0.5, 0.49, (lower + upper) / 2, lower, upper, 400, 600)


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        (change(-0.0199, 0.01), "KEPT"),
        (change(-0.02, 0.01), "DAMAGE_UNSURE"),  # lower = -2 % is not above it
        (change(-0.1, -0.02), "DAMAGE_UNSURE"),
        (change(-0.1, -0.0201), "DAMAGED"),
        (change(-float("inf"), float("inf")), "DAMAGE_UNSURE"),
        (change(float("nan"), float("nan")), "DAMAGE_UNSURE"),
    ],
)
def test_limits_of_damage(finding: Change, code: str) -> None:
    if code == "DAMAGE_UNSURE":
        assert "rows would settle it" in damage(usefulness(finding))[0].text
    assert damage(usefulness(finding))[0].code == code


@pytest.mark.parametrize(
    ("start", "reference", "code"),
    [
        (LOST, KEPT, "KEPT"),  # the reference lost as much: it is not unlearning that costs
        (LOST, LOST, "DAMAGED"),
        (LOST, OPEN, "DAMAGE_UNSURE"),
        (KEPT, LOST, "KEPT"),
        (OPEN, KEPT, "KEPT"),
        (OPEN, LOST, "DAMAGE_UNSURE"),
    ],
)
def test_a_reference_that_lost_too_excuses_the_loss(start: Change, reference: Change, code: str) -> None:
    check = damage(usefulness(start, replace(reference, before=0.813)))[0]
    assert check.code == code
    figure = {LOST: "-11.1%, -13.0% to -9.0%", KEPT: "-0.6%, -1.2% to +0.1%", OPEN: "-1.1%, -6.0% to +3.0%"}
    words = f"; change {figure[start]}; limit -2%; against the reference's 0.813 {figure[reference]})"
    assert words in check.text


def test_texts_of_damage() -> None:
    text = damage(usefulness(LOST), Bounds(utility_loss=0.05))[0].text
    assert text == (
        "The retain probability fell (0.900 before, 0.800 after; change -11.1%, -13.0% to -9.0%; limit -5%)."
    )
    assert "about 5776 rows would settle it, if nothing was lost" in damage(usefulness(OPEN))[0].text
    # Either comparison would do, so the fewer rows.
    assert "about 871 rows would settle it" in damage(usefulness(LOST, OPEN))[0].text


def test_every_measure_is_checked_by_itself() -> None:
    names = ("retain probability", "retain probability, nf4", "retain ROUGE", "model utility")
    found = damage(replace(CLEAN, kept=tuple(map(Kept, names, (KEPT, OPEN, LOST, KEPT)))))
    codes = ("KEPT", "DAMAGE_UNSURE", "DAMAGED", "KEPT")
    assert [(check.name, check.code) for check in found] == list(zip(names, codes, strict=True))


def test_a_noisy_measure_that_is_open_decides_nothing() -> None:
    """ROUGE and model utility of two published models that never saw the rows are open on 300 rows."""
    found = judge(replace(CLEAN, kept=(*CLEAN.kept, Kept("retain ROUGE", OPEN))), BOUNDS)
    (check,) = (check for check in found.checks if "ROUGE" in check.name)
    assert (check.status, check.code, found.outcome) == ("reported", "DAMAGE_REPORTED", "PASS")
    alone = judge(replace(CLEAN, kept=(Kept("retain ROUGE", KEPT),)), BOUNDS)
    assert [check.code for check in alone.reasons] == ["NO_RETAIN_ROWS"]


def test_without_retain_rows() -> None:
    (check,) = damage(findings())
    assert (check.status, check.code) == ("unknown", "NO_RETAIN_ROWS")
    assert "--retain" in check.text


def test_a_single_retain_row_leaves_the_damage_open() -> None:
    found = judge(usefulness(bounded_change([0.9], [0.9], 0.02)), BOUNDS)
    assert found.outcome == "INCONCLUSIVE"
    assert found.reasons[0].code == "DAMAGE_UNSURE"
    assert "about 259 rows would settle it" in found.reasons[0].text  # 1.02^-n = .01 and .9 as before, less noise


def test_no_loss_allowed_needs_more_than_no_rows() -> None:
    check = damage(usefulness(replace(OPEN, rows_needed=None)), Bounds(utility_loss=0.0))[0]
    assert check.code == "DAMAGE_UNSURE"
    assert "; add rows." in check.text
