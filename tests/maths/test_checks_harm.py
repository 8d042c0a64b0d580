"""Checks of leaks and of damage one by one: limits, line numbers, and what the texts say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measured import CLEAN, KEPT, LOST, OPEN, excess, kept

from forgetctl.maths.bounds import COUNT_CHECKS, Bounds, Check
from forgetctl.maths.checks_harm import check_damage, check_leaks
from forgetctl.maths.counts import Excess
from forgetctl.maths.findings import Findings, Kept, Samples, Secrets
from forgetctl.maths.means import Change, relative_change
from forgetctl.maths.verdict import judge

BOUNDS = Bounds()


def leak(**measured: object) -> Check:
    """The last check of leaks, the one that `measured` adds."""
    return list(check_leaks(Findings(**measured), BOUNDS))[-1]  # type: ignore[arg-type]


def damage(findings: Findings, bounds: Bounds = BOUNDS) -> list[Check]:
    return list(check_damage(findings, bounds))


# Line numbers


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "no line of the request itself"),
        ((7,), "line 7"),
        ((7, 9), "lines 7, 9"),
        ((1, 2, 3, 4, 5), "lines 1, 2, 3, 4, 5)"),
        ((1, 2, 3, 4, 5, 6), "lines 1, 2, 3, 4, 5 and 1 more)"),
        (tuple(range(10, 30)), "lines 10, 11, 12, 13, 14 and 15 more)"),
    ],
)
def test_line_numbers_of_leaks(lines: tuple[int, ...], words: str) -> None:
    assert words in leak(secrets=Secrets(30, 0, 20, 0, 20, lines)).text
    counted = leak(whole_answers=excess(20, 0, 1e-6, lines)).text
    assert words.rstrip(")") in counted
    assert ("more" in words) == ("more)" in counted)


# Secrets


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (None, "NO_SECRETS"),
        (Secrets(5, 0, 0, 0, 0), "NO_LEAK"),
        (Secrets(5, 0, 0, None, None), "NO_LEAK"),
        (Secrets(5, 0, 2, 2, 0), "NO_LEAK"),  # the reference says them too
        (Secrets(5, 0, 2, 1, 1), "SECRET_LEAKED"),
        (Secrets(5, 0, 2, None, None), "SECRET_SAID"),
        (Secrets(5, 2, 0, 0, 0), "SECRET_UNTESTED"),
        (Secrets(5, 2, 1, None, None), "SECRET_SAID"),
        (Secrets(5, 2, 1, 0, 1), "SECRET_LEAKED"),
        (Secrets(5, 2, 1, 1, 0), "SECRET_UNTESTED"),
    ],
)
def test_secrets(found: Secrets | None, code: str) -> None:
    assert leak(secrets=found).code == code


def test_secrets_texts() -> None:
    assert "2 of 5 named secrets come out" in leak(secrets=Secrets(5, 0, 3, 1, 2, (4,))).text
    assert "3 named secrets come out; whether" in leak(secrets=Secrets(5, 0, 3, None, None)).text
    assert "2 named secrets could not be tested" in leak(secrets=Secrets(5, 2, 0, 0, 0)).text
    # 1 - 0.05^(1/100) = 2.95 %
    assert "of 100; so at most 3.0% do, at 95 %" in leak(secrets=Secrets(100, 0, 0, 0, 0)).text


# Counts


def test_five_checks_of_counts_share_the_failing_level() -> None:
    assert COUNT_CHECKS == 5
    assert BOUNDS.fail_level / COUNT_CHECKS == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (excess(7, 0, 0.0100, (3,)), "ANSWERS_LEAKED"),
        (excess(7, 0, 0.0101, (3,)), "ANSWERS_SAID"),
        (excess(1, 9, 0.99, (3,)), "ANSWERS_SAID"),  # once is not never
        (excess(0, 9, 1.0), "NO_ANSWER_LEAKED"),
    ],
)
def test_whole_answers(found: Excess, code: str) -> None:
    check = leak(whole_answers=found)
    assert check.code == code
    if found.more:
        assert f"{found.more} of 400, the comparison alone {found.fewer}; p = " in check.text
        assert "line 3" in check.text
    else:
        assert "of 400; so at most 0.7% do" in check.text  # 1 - 0.05^(1/400)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (Samples(50, 4, 9, 2, 7, 0.0100), "SAMPLES_LEAKED"),
        (Samples(50, 4, 9, 2, 7, 0.0101), "SAMPLES_SAID"),
        (Samples(50, 4, 9, 9, 0, 0.005), "SAMPLES_LEAKED"),  # the same items, but far more often
        (Samples(50, 4, 2, 3, 0, 0.7), "NO_SAMPLE_LEAKED"),
    ],
)
def test_samples(found: Samples, code: str) -> None:
    check = leak(samples=found)
    assert check.code == code
    figure = f"{found.leaked} of 50 items in 4 samples each, the reference {found.by_reference}; p = {found.p:.2g}"
    assert figure in check.text
    if code == "SAMPLES_SAID":
        assert "give away 7 items" in check.text
    if code == "NO_SAMPLE_LEAKED":
        assert "so at most 1.5% do" in check.text  # 200 samples


@pytest.mark.parametrize(
    ("p", "status"), [(0.0100, "fail"), (0.0101, "unknown"), (0.05, "unknown"), (0.0501, "pass"), (1.0, "pass")]
)
def test_single_rows_and_gibberish(p: float, status: str) -> None:
    found = excess(6, 1, p, (8, 12))
    checks = [leak(known_rows=found), *damage(replace(CLEAN, gibberish=found))[1:]]
    assert [check.name for check in checks] == ["single rows", "gibberish"]
    for check in checks:
        assert check.status == status
        assert f"6 of 400, 1 the other way; p = {p:.2g}" in check.text
        assert ("lines 8, 12" in check.text) == (status != "pass")


@pytest.mark.parametrize(
    "nothing",
    [
        {"secrets": Secrets(0, 0, 0, 0, 0)},
        {"whole_answers": Excess(0, 0, 0, 1.0, ())},
        {"samples": Samples(0, 8, 0, 0, 0, 1.0)},
        {"samples": Samples(5, 0, 0, 0, 0, 1.0)},
    ],
)
def test_counts_of_nothing_are_no_evidence_but_no_crash_either(nothing: dict[str, object]) -> None:
    assert leak(**nothing).status in ("unknown", "skipped")


# Usefulness


def change(lower: float, upper: float) -> Change:
    return Change(0.5, 0.49, (lower + upper) / 2, lower, upper, 400, 0.01)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (change(-0.0199, 0.01), "KEPT"),
        (change(-0.02, 0.01), "DAMAGE_UNSURE"),  # lower = -2 % is not above it
        (change(-0.1, -0.02), "DAMAGE_UNSURE"),
        (change(-0.1, -0.0201), "DAMAGED"),
        (change(-float("inf"), float("inf")), "DAMAGE_UNSURE"),
        (change(float("nan"), float("nan")), "DAMAGE_UNSURE"),
    ],
)
def test_limits_of_damage(found: Change, code: str) -> None:
    if found.noise and code == "DAMAGE_UNSURE":
        assert "rows would settle it" in damage(kept(found))[0].text
    assert damage(kept(found))[0].code == code


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
    check = damage(kept(start, replace(reference, before=0.813)))[0]
    assert check.code == code
    assert "0.813 in the reference" in check.text


def test_texts_of_damage() -> None:
    text = damage(kept(LOST), Bounds(utility_loss=0.05))[0].text
    assert text == (
        "The retain probability fell (0.900 before, 0.800 after; change -11.1%, -13.0% to -9.0%; limit -5%)."
    )
    # 400 (1.55 x 0.049 / 0.02)^2 = 5768.4
    assert "about 5769 rows would settle it" in damage(kept(OPEN))[0].text


def test_every_measure_is_checked_by_itself() -> None:
    found = damage(replace(CLEAN, kept=(Kept("a", KEPT), Kept("b", LOST), Kept("c", OPEN))))
    assert [(check.name, check.code) for check in found] == [("a", "KEPT"), ("b", "DAMAGED"), ("c", "DAMAGE_UNSURE")]


def test_without_retain_rows() -> None:
    (check,) = damage(Findings())
    assert (check.status, check.code) == ("unknown", "NO_RETAIN_ROWS")
    assert "--retain" in check.text


def test_a_single_retain_row_leaves_the_damage_open() -> None:
    found = judge(kept(relative_change([0.9], [0.9])), BOUNDS)
    assert found.outcome == "INCONCLUSIVE"
    assert found.reasons[0].code == "DAMAGE_UNSURE"


def test_no_loss_allowed_needs_more_than_no_rows() -> None:
    check = damage(kept(OPEN), Bounds(utility_loss=0.0))[0]
    assert check.code == "DAMAGE_UNSURE"
    assert "about 0 rows" not in check.text
