import inspect
import itertools
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetctl.maths import verdict
from forgetctl.maths.statistics import Interval
from forgetctl.maths.verdict import Bounds, Findings, Outcome, Secrets, judge

# Against the default delta of 0.15.
EQUAL = Interval(0.05, 0.0, 0.12, 400)
DIFFERENT = Interval(0.40, 0.30, 0.50, 400)
FEW_ROWS = Interval(0.05, 0.0, 0.40, 10)
BORDERLINE = Interval(0.20, 0.08, 0.30, 100)

CLEAN = Findings(
    comparison="reference",
    truth_ratio=EQUAL,
    answers=EQUAL,
    answers_gap=0.01,
    start_answers=DIFFERENT,
    secrets=Secrets(3, 0, 0, 0, 0),
    retain_probability=(0.90, 0.89),
)
HOLDOUT = replace(CLEAN, comparison="holdout", truth_ratio=None)
NOTHING = Findings(None, None, None, None, None, None, None)

CASES: list[tuple[Findings, Outcome, list[str], list[str]]] = [
    # findings, outcome, all codes in order, codes that decided
    (
        CLEAN,
        "PASS",
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "SENSITIVE", "NO_LEAK", "KEPT"],
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "SENSITIVE", "NO_LEAK", "KEPT"],
    ),
    (
        replace(CLEAN, secrets=None),
        "PASS",
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "SENSITIVE", "NO_SECRETS", "KEPT"],
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "SENSITIVE", "KEPT"],
    ),
    (
        HOLDOUT,
        "PASS",
        ["HOLDOUT", "EQUIVALENT", "SENSITIVE", "NO_LEAK", "KEPT"],
        ["HOLDOUT", "EQUIVALENT", "SENSITIVE", "NO_LEAK", "KEPT"],
    ),
    (
        replace(CLEAN, truth_ratio=DIFFERENT),
        "FAIL",
        ["REFERENCE", "DIFFERENT", "EQUIVALENT", "SENSITIVE", "NO_LEAK", "KEPT"],
        ["DIFFERENT"],
    ),
    (
        replace(CLEAN, answers=DIFFERENT, answers_gap=0.7),
        "FAIL",
        ["REFERENCE", "EQUIVALENT", "STILL_KNOWN", "SENSITIVE", "NO_LEAK", "KEPT"],
        ["STILL_KNOWN"],
    ),
    (
        replace(CLEAN, answers=DIFFERENT, answers_gap=-0.7),
        "FAIL",
        ["REFERENCE", "EQUIVALENT", "OVER_FORGOTTEN", "SENSITIVE", "NO_LEAK", "KEPT"],
        ["OVER_FORGOTTEN"],
    ),
    (
        replace(CLEAN, answers=DIFFERENT, answers_gap=None),
        "FAIL",
        ["REFERENCE", "EQUIVALENT", "DIFFERENT", "SENSITIVE", "NO_LEAK", "KEPT"],
        ["DIFFERENT"],
    ),
    (
        replace(CLEAN, secrets=Secrets(3, 0, 2, 0, 2)),
        "FAIL",
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "SENSITIVE", "SECRET_LEAKED", "KEPT"],
        ["SECRET_LEAKED"],
    ),
    (
        replace(CLEAN, secrets=Secrets(3, 0, 2, None, None)),
        "INCONCLUSIVE",
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "SENSITIVE", "SECRET_SAID", "KEPT"],
        ["SECRET_SAID"],
    ),
    (
        replace(CLEAN, secrets=Secrets(3, 1, 0, 0, 0)),
        "INCONCLUSIVE",
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "SENSITIVE", "SECRET_UNTESTED", "KEPT"],
        ["SECRET_UNTESTED"],
    ),
    (
        replace(CLEAN, retain_probability=(0.90, 0.88)),
        "FAIL",
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "SENSITIVE", "NO_LEAK", "DAMAGED"],
        ["DAMAGED"],
    ),
    (
        replace(CLEAN, truth_ratio=None),
        "INCONCLUSIVE",
        ["REFERENCE", "NOT_MEASURED", "EQUIVALENT", "SENSITIVE", "NO_LEAK", "KEPT"],
        ["NOT_MEASURED"],
    ),
    (
        replace(CLEAN, answers=None),
        "INCONCLUSIVE",
        ["REFERENCE", "EQUIVALENT", "NOT_MEASURED", "SENSITIVE", "NO_LEAK", "KEPT"],
        ["NOT_MEASURED"],
    ),
    (
        replace(CLEAN, truth_ratio=FEW_ROWS),
        "INCONCLUSIVE",
        ["REFERENCE", "UNDERPOWERED", "EQUIVALENT", "SENSITIVE", "NO_LEAK", "KEPT"],
        ["UNDERPOWERED"],
    ),
    (
        replace(CLEAN, answers=BORDERLINE),
        "INCONCLUSIVE",
        ["REFERENCE", "EQUIVALENT", "NOT_EQUIVALENT", "SENSITIVE", "NO_LEAK", "KEPT"],
        ["NOT_EQUIVALENT"],
    ),
    (
        replace(CLEAN, start_answers=None),
        "INCONCLUSIVE",
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "NO_CONTROL", "NO_LEAK", "KEPT"],
        ["NO_CONTROL"],
    ),
    (
        replace(CLEAN, start_answers=BORDERLINE),
        "INCONCLUSIVE",
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "NO_SENSITIVITY", "NO_LEAK", "KEPT"],
        ["NO_SENSITIVITY"],
    ),
    (
        replace(CLEAN, retain_probability=None),
        "INCONCLUSIVE",
        ["REFERENCE", "EQUIVALENT", "EQUIVALENT", "SENSITIVE", "NO_LEAK", "NO_RETAIN_ROWS"],
        ["NO_RETAIN_ROWS"],
    ),
    (
        replace(CLEAN, comparison=None),
        "INCONCLUSIVE",
        ["NO_REFERENCE", "NO_LEAK", "KEPT"],
        ["NO_REFERENCE"],
    ),
    (
        NOTHING,
        "INCONCLUSIVE",
        ["NO_REFERENCE", "NO_SECRETS", "NO_RETAIN_ROWS"],
        ["NO_REFERENCE", "NO_RETAIN_ROWS"],
    ),
    # Without a comparison nothing is decided, but what failed is among the reasons.
    (
        replace(NOTHING, secrets=Secrets(3, 0, 1, 0, 1)),
        "INCONCLUSIVE",
        ["NO_REFERENCE", "SECRET_LEAKED", "NO_RETAIN_ROWS"],
        ["NO_REFERENCE", "SECRET_LEAKED", "NO_RETAIN_ROWS"],
    ),
    (
        replace(CLEAN, comparison=None, retain_probability=(0.9, 0.1)),
        "INCONCLUSIVE",
        ["NO_REFERENCE", "NO_LEAK", "DAMAGED"],
        ["NO_REFERENCE", "DAMAGED"],
    ),
    # With one, a failure decides even where something else is open.
    (
        replace(CLEAN, truth_ratio=FEW_ROWS, answers=DIFFERENT, answers_gap=1.0, retain_probability=(0.9, 0.1)),
        "FAIL",
        ["REFERENCE", "UNDERPOWERED", "STILL_KNOWN", "SENSITIVE", "NO_LEAK", "DAMAGED"],
        ["STILL_KNOWN", "DAMAGED"],
    ),
]


@pytest.mark.parametrize(("findings", "outcome", "codes", "reasons"), CASES)
def test_verdict(findings: Findings, outcome: Outcome, codes: list[str], reasons: list[str]) -> None:
    found = judge(findings, Bounds())
    assert found.outcome == outcome
    assert [check.code for check in found.checks] == codes
    assert [check.code for check in found.reasons] == reasons


def test_the_table_covers_every_code() -> None:
    spelled = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', inspect.getsource(verdict)))
    codes = spelled - {"PASS", "FAIL", "INCONCLUSIVE"}
    assert codes == {code for _, _, codes, _ in CASES for code in codes}


def test_every_check_says_something_different_from_its_code() -> None:
    for findings, *_ in CASES:
        for check in judge(findings, Bounds()).checks:
            assert check.text.endswith(".")
            assert check.code not in check.text


def test_texts_hold_the_figures() -> None:
    texts = {check.code: check.text for check in judge(CLEAN, Bounds()).checks}
    assert "D = 0.050, 0.000 to 0.120, n = 400; limit 0.15" in texts["EQUIVALENT"]
    assert "D = 0.400" in texts["SENSITIVE"]
    assert "0.900 before, 0.890 after" in texts["KEPT"]
    (damaged,) = judge(replace(CLEAN, retain_probability=(0.9, 0.8)), Bounds(utility_loss=0.05)).reasons
    assert "more than 5%" in damaged.text
    assert "2 named secrets" in judge(replace(CLEAN, secrets=Secrets(3, 0, 2, 0, 2)), Bounds()).reasons[0].text


@pytest.mark.parametrize("name", ["comparison", "truth_ratio", "answers", "start_answers", "retain_probability"])
def test_pass_needs_every_measurement(name: str) -> None:
    assert judge(CLEAN, Bounds()).outcome == "PASS"
    changes: dict[str, Any] = {name: None}
    assert judge(replace(CLEAN, **changes), Bounds()).outcome == "INCONCLUSIVE"


@pytest.mark.parametrize("name", ["answers", "start_answers", "retain_probability"])
def test_pass_by_holdout_needs_every_other_measurement(name: str) -> None:
    changes: dict[str, Any] = {name: None}
    assert judge(replace(HOLDOUT, **changes), Bounds()).outcome == "INCONCLUSIVE"


# Limits


@pytest.mark.parametrize("delta", [0.2000001, 0.25, 1.0, 0.0, -0.1, float("nan"), float("inf")])
def test_delta_outside_its_range_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match=r"delta must be in \(0, 0\.2\]"):
        judge(CLEAN, Bounds(delta=delta))


def test_largest_delta_is_allowed() -> None:
    assert judge(CLEAN, Bounds(delta=0.2)).outcome == "PASS"


@pytest.mark.parametrize(
    ("interval", "code"),
    [
        (Interval(0.1, 0.0, 0.15, 9), "UNDERPOWERED"),  # upper = delta is not below it
        (Interval(0.1, 0.0, 0.1499, 9), "EQUIVALENT"),
        (Interval(0.2, 0.15, 0.3, 9), "NOT_EQUIVALENT"),  # lower = delta is not above it
        (Interval(0.2, 0.1501, 0.3, 9), "DIFFERENT"),
        (Interval(0.15, 0.1, 0.3, 9), "NOT_EQUIVALENT"),
        (Interval(0.1499, 0.1, 0.3, 9), "UNDERPOWERED"),
    ],
)
def test_limits_of_the_distance(interval: Interval, code: str) -> None:
    assert judge(replace(CLEAN, truth_ratio=interval), Bounds()).checks[1].code == code


@pytest.mark.parametrize(("lower", "code"), [(0.15, "NO_SENSITIVITY"), (0.1501, "SENSITIVE")])
def test_limit_of_the_positive_control(lower: float, code: str) -> None:
    findings = replace(CLEAN, start_answers=Interval(0.3, lower, 0.5, 9))
    assert judge(findings, Bounds()).checks[3].code == code


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [(0.5, 0.375, "KEPT"), (0.5, 0.3749, "DAMAGED"), (0.5, 0.9, "KEPT"), (0.5, 0.0, "DAMAGED"), (0.0, 0.0, "KEPT")],
)
def test_limit_of_the_damage(before: float, after: float, code: str) -> None:
    findings = replace(CLEAN, retain_probability=(before, after))
    assert judge(findings, Bounds(utility_loss=0.25)).checks[-1].code == code


@pytest.mark.parametrize("pair", [(float("nan"), 0.9), (0.9, float("nan"))])
def test_retain_probability_that_is_no_number_is_no_pass(pair: tuple[float, float]) -> None:
    assert judge(replace(CLEAN, retain_probability=pair), Bounds()).outcome != "PASS"


@pytest.mark.parametrize("name", ["truth_ratio", "answers", "start_answers"])
def test_distance_that_is_no_number_is_no_pass(name: str) -> None:
    nan = float("nan")
    changes: dict[str, Any] = {name: Interval(nan, nan, nan, 9)}
    assert judge(replace(CLEAN, **changes), Bounds()).outcome != "PASS"


# Properties

bounds_of_d = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted)
intervals = st.none() | bounds_of_d.map(lambda three: Interval(three[1], three[0], three[2], 50))
counts = st.integers(0, 3)
anything = st.builds(
    Findings,
    comparison=st.sampled_from(["reference", "holdout", None]),
    truth_ratio=intervals,
    answers=intervals,
    answers_gap=st.none() | st.floats(-5, 5),
    start_answers=intervals,
    secrets=st.none() | st.builds(Secrets, counts, counts, counts, st.none() | counts, st.none() | counts),
    retain_probability=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
deltas = st.floats(0.01, 0.2)


@settings(deadline=None)
@given(anything, deltas)
def test_outcome_follows_from_the_checks(findings: Findings, delta: float) -> None:
    found = judge(findings, Bounds(delta))
    states = {check.status for check in found.checks}
    assert (found.outcome == "FAIL") == ("fail" in states and findings.comparison is not None)
    assert (found.outcome == "PASS") == (states <= {"pass", "skipped"})
    assert found.reasons


def test_pass_exactly_when_all_of_it_holds() -> None:
    measured = (None, EQUAL, DIFFERENT, FEW_ROWS, BORDERLINE)
    for comparison, truth_ratio, answers, start, leaked, retain in itertools.product(
        (None, "reference", "holdout"), measured, measured, measured, (None, 0, 1), (None, (0.9, 0.9), (0.9, 0.5))
    ):
        secrets = None if leaked is None else Secrets(1, 0, leaked, 0, leaked)
        found = judge(Findings(comparison, truth_ratio, answers, 0.1, start, secrets, retain), Bounds())
        compared = comparison == "holdout" or (comparison == "reference" and truth_ratio is EQUAL)
        expected = compared and answers is EQUAL and start is DIFFERENT and not leaked and retain == (0.9, 0.9)
        assert (found.outcome == "PASS") == expected


@settings(deadline=None)
@given(anything, deltas, deltas)
def test_a_stricter_delta_makes_no_equivalence(findings: Findings, one: float, other: float) -> None:
    strict, loose = sorted((one, other))
    codes = {delta: [check.code for check in judge(findings, Bounds(delta)).checks] for delta in (strict, loose)}
    assert codes[strict].count("EQUIVALENT") <= codes[loose].count("EQUIVALENT")
