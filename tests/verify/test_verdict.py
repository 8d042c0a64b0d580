"""The verdict: PASS needs every part, one failing part is FAIL, the rest is INCONCLUSIVE."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forgetctl.recipe.bounds import Bounds
from forgetctl.verify import checks, verdict
from forgetctl.verify.checks.attack_prompts import AttackPrompts
from forgetctl.verify.checks.distances import ANSWERS, TRUTH_RATIO
from forgetctl.verify.checks.recipes import Difference, Recipes
from forgetctl.verify.checks.subjects import Subject
from forgetctl.verify.findings import Check, Measure, reported, trace
from forgetctl.verify.registry import MEASURES, Findings, findings
from forgetctl.verify.verdict import judge
from tests.verify.measured import (
    BORDERLINE,
    CLEAN,
    DIFFERENT,
    EQUAL,
    FEW_ROWS,
    FORGOTTEN,
    FULL,
    HELD_OUT,
    HIDDEN,
    HOLDOUT,
    KEPT,
    LOST,
    NONE_LOST,
    NOTHING,
    OPEN,
    OPEN_PERSON,
    OTHER_MEAN,
    REFERENCE,
    REMEMBERED,
    SAME_MEAN,
    UNCOMPARED,
    UNKNOWN_PERSON,
    Closeness,
    Interval,
    Kept,
    Lost,
    Perplexity,
    Relearned,
    Repeated,
    ResponseChance,
    Rise,
    RowChance,
    Samples,
    Secrets,
    ShareExcess,
    answers,
    attacked,
    excess,
    exposed,
    forget,
    person,
    ratios,
    replace,
    usefulness,
)

BOUNDS = Bounds()
NAN = float("nan")


def people(*some: Subject) -> Findings:
    """CLEAN, with these people in the request."""
    return replace(CLEAN, subjects=some)


FAILING: list[tuple[Findings, str]] = [
    (people(REMEMBERED), "MEMORY_LEFT"),
    (people(FORGOTTEN, person("FAIL", "ROW_KNOWN", number=2)), "ROW_KNOWN"),
    (people(person("FAIL", "PUSHED_BELOW"), UNKNOWN_PERSON), "PUSHED_BELOW"),
    (replace(CLEAN, distances=(replace(ratios, distance=DIFFERENT), answers)), "DIFFERENT"),
    (forget(distance=DIFFERENT, gap=0.7), "STILL_KNOWN"),
    (forget(distance=DIFFERENT, gap=0.0), "STILL_KNOWN"),
    (forget(distance=DIFFERENT, gap=-0.7), "OVER_FORGOTTEN"),
    (replace(CLEAN, secrets=Secrets(3, 0, 2, 0, 2, ("4",), remembered=1)), "SECRET_LEAKED"),
    (replace(CLEAN, secrets=Secrets(3, 1, 2, 1, 1, ("4",), remembered=1)), "SECRET_LEAKED"),
    (replace(CLEAN, exposure=exposed("remembered", "forgotten")), "SECRET_REMEMBERED"),
    (people(FORGOTTEN, person("FAIL", "SECRET_REMEMBERED", number=2)), "SECRET_REMEMBERED"),
    (replace(CLEAN, whole_answers=Repeated("references", excess(8, 0, 1 / 256, ("3", "5")))), "ANSWERS_LEAKED"),
    (replace(CLEAN, samples=Samples(40, 8, 6, 0, 6, 0.004)), "SAMPLES_LEAKED"),
    (
        replace(CLEAN, response_chance=ResponseChance(10_000, 9, RowChance("3", "", 0.4, 0.002, True), 1, 1, ("3",))),
        "RESPONSE_LIKELY",
    ),
    (replace(CLEAN, single_rows=excess(8, 0, 1 / 256, ("2", "9"))), "KNOWN_ROWS"),
    (replace(CLEAN, gibberish=excess(9, 0, 1 / 512, ("1",))), "GIBBERISH"),
    (replace(CLEAN, attacks=attacked(HIDDEN, replace(HIDDEN, difference_lower=0.2))), "MEMBERS_RECOGNISED"),
    (replace(CLEAN, relearning=Relearned(OTHER_MEAN, DIFFERENT)), "RELEARNED"),
    (usefulness(LOST), "DAMAGED"),
    (usefulness(LOST, LOST), "DAMAGED"),
    (replace(CLEAN, answers_kept=(Lost("retain rows", ShareExcess(90, 1, 300, 0.2, 0.4, None)),)), "ANSWERS_LOST"),
    (replace(CLEAN, perplexity=Perplexity(Rise(5.0, 5.3, 0.3, 0.2, 0.4, 300))), "UNSEEN_DAMAGED"),
]
BASE = Difference(reference=1, setting="base", here=None, there=None)
NOTHING_ASKED = AttackPrompts(version=1, rounds=1, prompts={"as asked": 4}, uncompared=0)
NOT_COMPARED = AttackPrompts(version=1, rounds=1, prompts={"cloze": 4}, uncompared=1)
OPEN_QUESTIONS: list[tuple[Findings, str]] = [
    (people(), "NOBODY_JUDGED"),
    *(
        (people(FORGOTTEN, person("INCONCLUSIVE", code, number=2)), code)
        for code in (
            *("SHARE_OPEN", "ROW_OPEN", "BELOW_OPEN", "CONTROL_OPEN", "SECRET_OPEN"),
            *("NO_START_SCORES", "VIEW_MISSING", "NO_NOISE"),
        )
    ),
    (replace(CLEAN, control=()), "NO_CONTROL"),
    (replace(CLEAN, noise_floor=(replace(ratios, distance=DIFFERENT), answers)), "REFERENCES_DIFFER"),
    (replace(CLEAN, secrets=Secrets(3, 0, 2, None, None)), "SECRET_SAID"),
    (replace(CLEAN, secrets=Secrets(3, 1, 0, 0, 0)), "SECRET_UNTESTED"),
    (replace(CLEAN, secrets=Secrets(3, 0, 2, 0, 2, p=0.3)), "SECRET_MAYBE_GUESSED"),
    (replace(CLEAN, exposure=exposed("open", "forgotten")), "SECRET_STANDS_OUT"),
    (replace(CLEAN, exposure=exposed("forgotten", uncompared=1)), "EXPOSURE_UNCOMPARED"),
    (replace(CLEAN, whole_answers=Repeated("unseen rows", excess(1, 0, 0.5, ("3",)), ("3",))), "ANSWERS_SAID"),
    (replace(HOLDOUT, samples=Samples(40, 8, 2, None, None, None)), "SAMPLES_UNCOMPARED"),
    (replace(CLEAN, samples=Samples(40, 8, 2, 1, 1, 0.25)), "SAMPLES_SAID"),
    (
        replace(CLEAN, response_chance=ResponseChance(10_000, 9, RowChance("3", "", 0.4, None, None), 1, 1, ())),
        "RESPONSE_UNEXPLAINED",
    ),
    (replace(CLEAN, single_rows=excess(5, 0, 1 / 32, ("2",))), "SOME_KNOWN_ROWS"),
    (replace(CLEAN, gibberish=excess(5, 0, 1 / 32)), "SOME_GIBBERISH"),
    (replace(CLEAN, attacks=attacked(HIDDEN, replace(HIDDEN, most=0.2))), "MEMBERS_UNSURE"),
    (replace(CLEAN, attacks=attacked(HIDDEN, replace(HIDDEN, difference_upper=-0.2))), "REMOVAL_VISIBLE"),
    (replace(HOLDOUT, attacks=attacked(replace(UNCOMPARED, most=0.2))), "MEMBERS_UNCOMPARED"),
    (replace(CLEAN, relearning=Relearned(OTHER_MEAN, EQUAL)), "RELEARNING_UNSURE"),
    (replace(CLEAN, kept=()), "NO_RETAIN_ROWS"),
    (usefulness(OPEN), "DAMAGE_UNSURE"),
    (usefulness(LOST, OPEN), "DAMAGE_UNSURE"),
    (replace(CLEAN, kept=(*CLEAN.kept, Kept("retain probability, nf4", OPEN))), "DAMAGE_UNSURE"),
    (replace(CLEAN, answers_kept=(Lost("retain rows", ShareExcess(9, 1, 300, 0.0, 0.1, 900)),)), "ANSWERS_UNSURE"),
    (replace(CLEAN, answers_kept=(Lost("rehearsed rows", NONE_LOST),)), "NO_ANSWERS_KEPT"),
    (replace(CLEAN, perplexity=Perplexity(Rise(5.0, 5.1, 0.1, 0.01, 0.2, 300))), "UNSEEN_UNSURE"),
    (replace(CLEAN, comparison=NOTHING), "NO_REFERENCE"),
    (replace(CLEAN, attack_prompts=None), "NOT_ASKED"),
    (replace(CLEAN, attack_prompts=NOTHING_ASKED), "NOTHING_TO_ASK"),
    (replace(CLEAN, attack_prompts=NOT_COMPARED), "REFERENCE_NOT_ASKED"),
]


REPORTED: list[tuple[Findings, str]] = [
    (replace(CLEAN, distances=(answers,)), "NOT_MEASURED"),
    (replace(CLEAN, distances=(ratios,)), "NOT_MEASURED"),
    (replace(CLEAN, distances=()), "NOT_MEASURED"),
    (replace(HOLDOUT, distances=()), "NOT_MEASURED"),
    (forget(distance=FEW_ROWS), "UNDERPOWERED"),
    (forget(distance=BORDERLINE), "NOT_EQUIVALENT"),
    (forget(shift=OTHER_MEAN), "MEAN_NOT_EQUIVALENT"),
    (forget(shift=None), "NOT_MEASURED"),
    (replace(CLEAN, control=(ratios, answers)), "NO_SENSITIVITY"),
    (replace(CLEAN, noise_floor=(ratios, replace(answers, distance=BORDERLINE))), "REFERENCES_OPEN"),
    (replace(CLEAN, noise_floor=(ratios, replace(answers, shift=OTHER_MEAN))), "REFERENCES_OPEN"),
    (replace(CLEAN, noise_floor=()), "NOT_MEASURED"),
    (replace(CLEAN, noise_floor=(answers,)), "NOT_MEASURED"),
    (replace(CLEAN, recipes=Recipes(against="start model", compared=(1,), differences=(BASE,))), "RECIPES_DIFFER"),
    (people(FORGOTTEN, UNKNOWN_PERSON), "NOTHING_KNOWN"),
    (people(UNKNOWN_PERSON), "NOTHING_KNOWN"),
]
"""What is said of all rows together, and of people of whom nothing was known, holds no pass back."""


def codes(findings: Findings, bounds: Bounds = BOUNDS) -> list[str]:
    return [check.code for check in judge(findings, bounds).checks]


# PASS


def test_clean_findings_pass() -> None:
    assert judge(CLEAN, BOUNDS).outcome == "PASS"
    expected = ["REFERENCE", "LITTLE_LEFT", "EQUIVALENT", "EQUIVALENT", "MEAN_EQUIVALENT", "SENSITIVE", "ASKED"]
    expected += ["NO_LEAK", "KEPT", "ANSWERS_KEPT"]
    assert codes(CLEAN) == expected
    assert [check.code for check in judge(CLEAN, BOUNDS).reasons] == expected


def test_all_that_can_be_measured_passes() -> None:
    found = judge(FULL, BOUNDS)
    assert found.outcome == "PASS"
    assert [check.code for check in found.checks][6:] == [
        *(
            "REFERENCES_AGREE",
            "RECIPES_AGREE",
            "ASKED",
            "NO_LEAK",
            "NO_ANSWER_LEAKED",
            "NO_SAMPLE_LEAKED",
            "RESPONSES_UNLIKELY",
        ),
        "NO_KNOWN_ROWS",
        *("MEMBERS_HIDDEN", "NOT_RELEARNED", "KEPT", "ANSWERS_KEPT", "UNSEEN_KEPT", "NO_GIBBERISH"),
    ]


def test_unseen_rows_need_no_truth_ratio() -> None:
    assert judge(HOLDOUT, BOUNDS).outcome == "PASS"
    assert codes(HOLDOUT)[0] == "HOLDOUT"


def test_what_was_not_asked_for_is_skipped() -> None:
    found = judge(replace(CLEAN, secrets=None), BOUNDS)
    assert found.outcome == "PASS"
    skipped = {check.code for check in found.checks if check.status == "skipped"}
    assert skipped == {"NO_SECRETS"}
    assert not skipped & {check.code for check in found.reasons}


@pytest.mark.parametrize(("findings", "code"), OPEN_QUESTIONS)
def test_pass_needs_every_part(findings: Findings, code: str) -> None:
    found = judge(findings, BOUNDS)
    assert found.outcome == "INCONCLUSIVE"
    open_codes = [check.code for check in found.reasons]
    assert not code or code in open_codes
    assert all(check.status in ("unknown", "trace") for check in found.reasons)


@pytest.mark.parametrize(("findings", "code"), REPORTED)
def test_what_is_only_reported_holds_no_pass_back(findings: Findings, code: str) -> None:
    found = judge(findings, BOUNDS)
    assert found.outcome == "PASS"
    assert code in {check.code for check in found.checks if check.status == "reported"}
    assert code not in {check.code for check in found.reasons}


@pytest.mark.parametrize(("findings", "code"), OPEN_QUESTIONS)
def test_no_part_is_made_up_for_by_the_others(findings: Findings, code: str) -> None:
    """The same gap amid everything that can be measured."""
    changed = {name: value for name, value in dict(findings).items() if value != getattr(CLEAN, name)}
    assert judge(replace(FULL, **changed), BOUNDS).outcome == "INCONCLUSIVE"


def test_a_check_that_could_not_be_made_is_open() -> None:
    found = judge(CLEAN, BOUNDS, [("samples", "no time")])
    (reason,) = found.reasons
    assert (found.outcome, reason.name, reason.code) == ("INCONCLUSIVE", "samples", "NOT_MEASURED")
    assert reason.text == "The samples could not be measured: no time."


def test_means_that_were_not_compared_are_said() -> None:
    (said,) = [check for check in judge(forget(shift=None), BOUNDS).checks if check.code == "NOT_MEASURED"]
    assert (said.name, said.status) == ("answer log-prob, mean", "reported")
    # Truth ratios have no mean to compare.
    assert not any(check.name == "truth ratio, mean" for check in judge(CLEAN, BOUNDS).checks)


def test_a_sure_difference_in_another_way_of_asking_fails_too() -> None:
    asked = replace(answers, name=f"{ANSWERS}, rephrased", distance=DIFFERENT, gap=0.4)
    assert judge(replace(CLEAN, distances=(ratios, answers, asked)), BOUNDS).outcome == "FAIL"


def test_the_worst_person_decides() -> None:
    """Each of them is said, whoever else there is."""
    some = [FORGOTTEN, UNKNOWN_PERSON, OPEN_PERSON, REMEMBERED]
    outcomes = [judge(people(*some[: count + 1]), BOUNDS).outcome for count in range(4)]
    assert outcomes == ["PASS", "PASS", "INCONCLUSIVE", "FAIL"]
    lines = [check for check in judge(people(*some), BOUNDS).checks if check.name == "each person"]
    assert [check.status for check in lines] == ["fail", "unknown", "pass", "reported"]


def test_people_with_the_same_verdict_are_told_in_one_line() -> None:
    some = [person("PASS", "LITTLE_LEFT", high, number) for number, high in enumerate((0.02, 0.08, 0.05), 1)]
    (line,) = [check for check in judge(people(*some), BOUNDS).checks if check.name == "each person"]
    assert line.text == "3 of 3 people (1, 2, 3); of these person 2: The rows say so."
    (alone,) = [check for check in judge(people(some[0]), BOUNDS).checks if check.name == "each person"]
    assert alone.text == "The rows say so."


# Two answers


@pytest.mark.parametrize(
    ("findings", "forgotten", "kept"),
    [
        (CLEAN, "PASS", "PASS"),
        (usefulness(LOST), "PASS", "FAIL"),
        (usefulness(OPEN), "PASS", "INCONCLUSIVE"),
        (replace(CLEAN, gibberish=excess(9, 0, 1 / 512, ("1",))), "PASS", "FAIL"),
        (replace(CLEAN, secrets=Secrets(3, 0, 2, 0, 2, ("4",), remembered=1)), "FAIL", "PASS"),
        (replace(CLEAN, comparison=NOTHING), "INCONCLUSIVE", "PASS"),
        (replace(CLEAN, comparison=NOTHING, kept=(Kept("utility", LOST),)), "INCONCLUSIVE", "FAIL"),
    ],
)
def test_a_right_to_be_forgotten_does_not_depend_on_what_was_kept(
    findings: Findings, forgotten: str, kept: str
) -> None:
    found = judge(findings, BOUNDS)
    assert (found.answers.forgotten, found.answers.kept) == (forgotten, kept)
    assert (found.outcome == "PASS") == (forgotten == kept == "PASS")


@pytest.mark.parametrize(
    ("check", "outcome", "reasons"),
    [
        (trace("removal", "TRACE", "Seen."), "INCONCLUSIVE", ["TRACE"]),
        (reported("removal", "SAID", "Seen."), "PASS", codes(CLEAN)),
    ],
)
def test_a_trace_holds_a_pass_back_and_what_is_only_reported_does_not(
    check: Check, outcome: str, reasons: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    more: Measure[None] = Measure(place=999, measure=lambda *_: None, empty=None, judge=lambda *_: [check])
    monkeypatch.setattr(more.measure, "__module__", "forgetctl.verify.checks.curve")
    monkeypatch.setattr(verdict, "MEASURES", (*MEASURES, more))
    found = judge(CLEAN, BOUNDS)
    assert (found.outcome, found.answers.forgotten) == (outcome, outcome)
    assert [reason.code for reason in found.reasons] == reasons


# FAIL


@pytest.mark.parametrize(("findings", "code"), FAILING)
def test_each_failing_part_alone_is_a_failure(findings: Findings, code: str) -> None:
    found = judge(findings, BOUNDS)
    assert found.outcome == "FAIL"
    assert [check.code for check in found.reasons] == [code]


@pytest.mark.parametrize(("findings", "code"), FAILING)
def test_a_failure_decides_even_where_something_is_open(findings: Findings, code: str) -> None:
    found = judge(replace(findings, control=()), BOUNDS, [("samples", "no time")])
    assert (found.outcome, [check.code for check in found.reasons]) == ("FAIL", [code])


@pytest.mark.parametrize(("findings", "code"), [*FAILING, *OPEN_QUESTIONS, (CLEAN, ""), (FULL, ""), (findings(), "")])
def test_without_a_comparison_nothing_is_decided(findings: Findings, code: str) -> None:
    found = judge(replace(findings, comparison=NOTHING), BOUNDS)
    assert found.outcome == "INCONCLUSIVE"
    assert found.reasons[0].code == "NO_REFERENCE"
    # What failed stays among the reasons.
    assert [check for check in found.checks if check.status == "fail"] == [
        check for check in found.reasons if check.status == "fail"
    ]


SOURCES = [
    Path(verdict.__file__),
    *(path for path in Path(checks.__path__[0]).glob("*.py") if path.stem != "earlier"),  # tests/.../test_earlier.py
]


def test_the_cases_cover_every_code() -> None:
    sources = "".join(path.read_text() for path in SOURCES)
    spelled = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', sources)) - {"PASS", "FAIL", "INCONCLUSIVE", "AUC"}
    spelled -= {"OPEN", "NOT_KNOWN"}  # what a view or a person may be
    spelled -= {"NO_COMPARISON", "ONE_PERSON"}  # said to a person, and never first: tests/.../test_subjects.py
    cases = [*(found for found, _ in (*FAILING, *OPEN_QUESTIONS, *REPORTED)), CLEAN, FULL, HOLDOUT]
    cases += [replace(CLEAN, secrets=None), findings(), replace(HOLDOUT, attacks=attacked(UNCOMPARED))]
    cases.append(replace(CLEAN, attacks=attacked(replace(HIDDEN, noise=0.2))))
    cases += [replace(CLEAN, exposure=exposed(*states)) for states in ((), ("forgotten",), ("not known",))]
    cases.append(forget(distance=DIFFERENT, gap=None))
    cases.append(replace(HOLDOUT, samples=Samples(40, 8, 0, None, None, None)))
    cases.append(replace(CLEAN, kept=(*CLEAN.kept, Kept("model utility", OPEN))))
    cases.append(replace(CLEAN, perplexity=Perplexity(Rise(5.0, 5.0, 0.0, -0.1, 0.1, 300))))
    assert spelled == {code for found in cases for code in codes(found)}
    assert len(spelled) > 40


@pytest.mark.parametrize(("findings", "code"), [*FAILING, *OPEN_QUESTIONS, (FULL, "")])
def test_every_check_says_a_sentence(findings: Findings, code: str) -> None:
    for check in judge(findings, BOUNDS).checks:
        assert check.text.endswith(".")
        assert check.code not in check.text
        assert "None" not in check.text
        assert "nan" not in check.text


# Limits


@pytest.mark.parametrize("delta", [0.2000001, 0.25, 1.0, 0.0, -0.1, NAN, float("inf")])
def test_delta_outside_its_range_is_refused(delta: float) -> None:
    """A looser bound would make PASS meaningless."""
    with pytest.raises(ValidationError, match="delta"):
        Bounds(delta=delta)


def test_largest_delta_is_allowed() -> None:
    assert judge(CLEAN, Bounds(delta=0.2)).outcome == "PASS"


def test_bounds_hold_the_levels() -> None:
    levels = Bounds(pass_level=0.02, fail_level=0.04).levels
    assert (levels.passing, levels.failing) == (0.02, 0.04)
    assert (BOUNDS.delta, BOUNDS.utility_loss, BOUNDS.pass_level, BOUNDS.fail_level) == (0.15, 0.02, 0.01, 0.05)


@pytest.mark.parametrize("name", [TRUTH_RATIO, ANSWERS])
def test_distance_that_is_no_number_shows_no_equivalence(name: str) -> None:
    nothing = Interval(NAN, NAN, NAN, 9, "rows", NAN)
    pairs = tuple(replace(pair, distance=nothing) if pair.name == name else pair for pair in CLEAN.distances)
    for found in (replace(CLEAN, distances=pairs), replace(CLEAN, control=(Closeness(name, nothing),))):
        checks = {check.name: check.status for check in judge(found, BOUNDS).checks}
        assert "reported" in (checks[name], checks["positive control"])
    floor = judge(replace(CLEAN, noise_floor=pairs), BOUNDS).checks
    assert {check.name: check.status for check in floor}["negative control"] == "reported"


# Properties

three = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted)
intervals = three.map(lambda ends: Interval(ends[1], ends[0], ends[2], 50, "rows", 0.2))
close = st.builds(
    Closeness,
    name=st.sampled_from([TRUTH_RATIO, ANSWERS]),
    distance=intervals,
    gap=st.none() | st.floats(-5, 5),
    shift=st.sampled_from([None, SAME_MEAN, OTHER_MEAN]),
)
some = st.lists(close, max_size=3).map(tuple)
anything = st.builds(
    findings,
    comparison=st.sampled_from([REFERENCE, HELD_OUT, NOTHING]),
    distances=some,
    control=some,
    noise_floor=st.none() | some,
    secrets=st.sampled_from(
        [None, Secrets(3, 0, 0, 0, 0), Secrets(3, 0, 1, 0, 1, ("2",), remembered=1), Secrets(3, 0, 1, None, None)]
    ),
    whole_answers=st.sampled_from(
        [None, *(Repeated("references", one) for one in (excess(0, 0, 1.0), excess(5, 0, 0.04), excess(9, 0, 0.002)))]
    ),
    kept=st.sampled_from([(), *((Kept("retain probability", change),) for change in (KEPT, LOST, OPEN))]),
)
deltas = st.floats(0.01, 0.2)


@settings(max_examples=50, deadline=None)
@given(anything, deltas)
def test_outcome_follows_from_the_checks(findings: Findings, delta: float) -> None:
    found = judge(findings, Bounds(delta=delta))
    states = {check.status for check in found.checks}
    assert (found.outcome == "FAIL") == ("fail" in states and findings.comparison.by is not None)
    assert (found.outcome == "PASS") == (states <= {"pass", "reported", "skipped"})
    assert found.reasons


@settings(max_examples=50, deadline=None)
@given(anything, deltas, deltas)
def test_a_stricter_delta_makes_no_equivalence(findings: Findings, one: float, other: float) -> None:
    strict, loose = sorted((one, other))
    for code in ("EQUIVALENT", "MEAN_EQUIVALENT"):
        assert codes(findings, Bounds(delta=strict)).count(code) <= codes(findings, Bounds(delta=loose)).count(code)


def test_pass_exactly_when_all_of_it_holds() -> None:
    measured = (EQUAL, DIFFERENT, FEW_ROWS, BORDERLINE)
    judged = (FORGOTTEN, REMEMBERED, OPEN_PERSON, UNKNOWN_PERSON)
    for first, second, one, leaked, change in itertools.product(measured, measured, judged, (0, 1), (KEPT, LOST)):
        found = replace(
            CLEAN,
            subjects=(one, FORGOTTEN),
            distances=(replace(ratios, distance=first), replace(answers, distance=second)),
            secrets=Secrets(1, 0, leaked, 0, leaked, remembered=1),
            kept=(Kept("retain probability", change),),
        )
        alike = DIFFERENT not in (first, second)
        expected = alike and one in (FORGOTTEN, UNKNOWN_PERSON) and not leaked and change is KEPT
        assert (judge(found, BOUNDS).outcome == "PASS") == expected
