"""A verdict for each person: whose rows they are, which views count, and what each of them does to the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forgetctl.model.scores import UNNAMED, Role, Scores, ScoreSet
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import subjects
from forgetctl.verify.checks.subjects import Subject
from forgetctl.verify.collected import Collected
from forgetctl.verify.findings import Context
from forgetctl.verify.registry import COUNT_CHECKS, findings
from forgetctl.verify.tables import Shown
from tests.verify.measured import REFERENCE

BOUNDS = Bounds()
LEAD = {"logp": 3.0, "hits": 0.6, "extraction": 0.7, "odds": 2.0}
"""What the start model knows of every row more than models that never saw it, in nats a token and in shares."""
NOISE = {"logp": 0.1, "hits": 0.02, "extraction": 0.02, "odds": 0.15}


def rows(
    model: str, name: str, people: Sequence[int] | None, count: int, known: Mapping[str, Any], **more: Any
) -> ScoreSet:
    """Rows of ten tokens, of which a model knows shares `known` of what the start model does; noise is its own."""
    base, own = np.random.default_rng([7, *name.encode()]), np.random.default_rng([*name.encode(), *model.encode()])

    def score(view: str, level: float) -> Any:
        return level + base.normal(0, 0.05, count) + own.normal(0, NOISE[view], count) + LEAD[view] * known.get(view, 0)

    wrong = base.normal(-4, 0.2, count)
    lists: dict[str, Any] = {
        "answer_logp": np.minimum(10 * score("logp", -4.0), -0.01).tolist(),
        "answer_tokens": [10] * count,
        "exact_memorisation": np.clip(score("hits", 0.3), 0, 1).tolist(),
        "extraction_strength": np.clip(score("extraction", 0.1), 0, 1).tolist(),
        "paraphrase_logp": (wrong + score("odds", 0.5)).tolist(),
        "paraphrase_tokens": [1] * count,
        "own_paraphrases": 0,
        "perturbed_logp": [[value] for value in wrong.tolist()],
        "perturbed_tokens": [[1]] * count,
        "subjects": list(people) if people is not None else None,
    }
    return ScoreSet(names=[str(row) for row in range(1, count + 1)], **{**lists, **more})


ALL = dict.fromkeys(LEAD, 1.0)
NONE: dict[str, Any] = {}


def request(
    people: Sequence[int] | None,
    left: Mapping[str, Any] = NONE,
    *,
    count: int = 0,
    references: int = 1,
    unseen: bool = True,
    words: Mapping[str, Any] | None = None,
    start: Mapping[str, Any] = ALL,
    **more: Any,
) -> Collected:
    """The rows of `people`, of which the verified model kept shares `left`. words: shares kept in other words."""
    count = count or len(people or ())
    holdout = [row // 10 for row in range(200)]

    def scored(role: Role, name: str, known: Mapping[str, Any], reworded: Mapping[str, Any]) -> Scores:
        sets = {"forget": rows(name, "forget", people, count, known, **more)}
        if unseen:
            sets["holdout"] = rows(name, "holdout", holdout, 200, NONE)
        if words is not None:
            sets["rephrased-1"] = rows(name, "rephrased", people, count, reworded)
        return Scores(role=role, name=name, perturbed="request", sets=sets)

    return Collected(
        unlearned=scored("unlearned", "m", left, words or NONE),
        kind="model" if references else "holdout" if unseen else "none",
        start=scored("start", "start", start, ALL),
        references=tuple(scored("reference", f"r{number}", NONE, NONE) for number in range(references)),
        rephrased=("a.jsonl",) if words is not None else (),
    )


def measured(collected: Collected, bounds: Bounds = BOUNDS) -> tuple[Subject, ...]:
    return subjects.measure(collected, bounds)


def only(collected: Collected, bounds: Bounds = BOUNDS) -> Subject:
    (one,) = measured(collected, bounds)
    return one


def codes(subject: Subject) -> list[str]:
    return [reason.code for reason in subject.reasons]


# Whose rows they are


def test_people_are_numbered_in_the_order_of_the_request() -> None:
    """The second person's rows are still known; their number in the scores is another."""
    left = {view: np.array([0, 0, 1, 0, 0, 1, 1, 1, 0, 0]) for view in LEAD}
    found = measured(request([5, 5, 2, 5, 5, 2, 2, 2, 5, 5], left))
    assert [(one.subject, one.rows, one.verdict) for one in found] == [(1, 6, "PASS"), (2, 4, "FAIL")]
    assert all(one.named for one in found)


def test_rows_that_name_nobody_are_one_persons() -> None:
    found = only(request(None, count=8))
    assert (found.subject, found.named, found.rows, found.verdict) == (1, False, 8, "PASS")
    assert codes(found) == ["LITTLE_LEFT", "ONE_PERSON"]
    some = measured(request([0, UNNAMED, 0, UNNAMED, 0, UNNAMED, 0, UNNAMED]))
    assert [(one.named, one.rows) for one in some] == [(True, 4), (False, 4)]


def test_identical_rows_of_a_person_count_once() -> None:
    found = measured(request([0] * 6 + [1] * 6, copies=[0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5]))
    assert [one.rows for one in found] == [3, 6]


@pytest.mark.parametrize("people", [3, 9, 20])
def test_one_person_who_is_known_is_never_outvoted(people: int) -> None:
    owners = np.repeat(np.arange(people), 5)
    found = measured(request(owners.tolist(), {view: (owners == 1).astype(float) for view in LEAD}))
    assert [one.verdict for one in found] == ["PASS", "FAIL", *["PASS"] * (people - 2)]


# What is left


def test_the_share_is_that_of_the_worst_view_that_counts() -> None:
    found = only(request([0] * 30, {"hits": 0.04}))
    by_view = {one.view: one.left for one in found.views}
    assert list(by_view) == ["taught wording", "first choices", "extraction", "contrast"]
    assert by_view["first choices"].share == pytest.approx(0.04, abs=0.02)
    assert found.share_left is not None
    assert found.share_left.high == max(left.high for left in by_view.values())
    assert (found.verdict, codes(found)) == ("PASS", ["LITTLE_LEFT"])


def test_bounds_and_levels_of_a_view() -> None:
    """One reference: three quarters of the passing level. Two people, four views: an eighth of the failing one."""
    found = request([0] * 10 + [1] * 10)
    judges = subjects._Judges(found, BOUNDS, subjects.People.of(found.unlearned.forget))
    asked = {view.kind: judges._question(view, 10) for view in judges.views}
    assert [one.bound for one in asked.values()] == [0.1, 0.1, 0.1, 0.25]
    taught = asked["taught wording"]
    assert taught.passing == pytest.approx(0.0075)
    assert taught.failing == pytest.approx(0.05 / 8)
    assert (taught.overshoot, taught.rows, taught.weights) == (0.25, True, "tokens")
    assert (taught.row_level, taught.any_row_level) == (pytest.approx(0.005), pytest.approx(0.0025))
    assert [one.overshoot for one in asked.values()] == [0.25, None, None, None]
    assert asked["contrast"].weights == "lead"
    more = request([0] * 10, references=2, words=NONE)
    judges = subjects._Judges(more, BOUNDS, subjects.People.of(more.unlearned.forget))
    assert {judges._question(view, 10).passing for view in judges.views} == {0.01}
    assert judges._question(judges.views[1], 10).row_level == pytest.approx(0.05 / 20)  # in two views of ten rows


LEFT: dict[str, tuple[Mapping[str, Any], str, str]] = {
    "nothing": ({}, "PASS", "LITTLE_LEFT"),
    "all": (ALL, "FAIL", "MEMORY_LEFT"),
    "a fifth": (dict.fromkeys(LEAD, 0.2), "FAIL", "MEMORY_LEFT"),
    "a tenth": (dict.fromkeys(LEAD, 0.1), "INCONCLUSIVE", "SHARE_OPEN"),
    "first choices alone": ({"hits": 0.3}, "FAIL", "MEMORY_LEFT"),
    "extraction alone": ({"extraction": 0.3}, "FAIL", "MEMORY_LEFT"),
    "one row": ({"logp": np.array([0, 0, 1] + [0] * 9)}, "FAIL", "ROW_KNOWN"),
    "half a row": ({"logp": np.array([0, 0, 0.6] + [0] * 9)}, "INCONCLUSIVE", "ROW_OPEN"),
    "less than nothing": ({"logp": -0.6}, "FAIL", "PUSHED_BELOW"),
    "a little less than nothing": ({"logp": -0.25}, "INCONCLUSIVE", "BELOW_OPEN"),
}


@pytest.mark.parametrize("name", list(LEFT))
def test_what_is_left_of_a_person_decides(name: str) -> None:
    left, outcome, code = LEFT[name]
    found = only(request([0] * 12, left))
    assert (found.verdict, codes(found)[0]) == (outcome, code)
    assert found.share_left is not None
    assert 0 <= found.share_left.low <= found.share_left.high <= 1
    assert all(reason.text.endswith(".") and "nan" not in reason.text for reason in found.reasons)


def test_reasons_name_rows_and_say_what_would_settle_it() -> None:
    known = only(request([0] * 12, {"logp": np.array([0, 0, 1] + [0] * 9)}))
    assert "of row 3 is left (taught wording; limit 10 %)" in known.reasons[0].text
    few = only(request([0] * 2, {"hits": 0.02}, count=2))
    assert few.verdict == "INCONCLUSIVE"
    assert any("rows like these would settle it" in reason.text for reason in few.reasons)
    assert any("train further" in reason.text for reason in only(request([0] * 12, {"hits": 0.12})).reasons)


# Other words, other precisions, contrast


def test_what_comes_back_in_other_words_fails() -> None:
    found = only(request([0] * 10, words={"logp": 0.5}))
    assert (found.verdict, found.reasons[0].view) == ("FAIL", "other words, a.jsonl")
    assert only(request([0] * 10, words=NONE)).verdict == "PASS"


def by_templates(collected: Collected) -> Collected:
    """What was asked in the owner's other words, as if it had been asked in forgetctl's."""

    def renamed(scores: Scores) -> Scores:
        sets = {name.replace("rephrased-", "attack-"): rows for name, rows in scores.sets.items()}
        return scores.model_copy(update={"sets": sets})

    assert collected.start is not None
    return replace(
        collected,
        unlearned=renamed(collected.unlearned),
        start=renamed(collected.start),
        references=tuple(map(renamed, collected.references)),
        rephrased=(),
    )


def test_what_comes_back_after_attack_prompts_alone_fails() -> None:
    (one,) = measured(by_templates(request([0] * 20, words={"logp": 0.6})))
    assert one.verdict == "FAIL"
    assert "other words, attack prompts 1" in {view.view for view in one.views if view.left.outcome == "FAIL"}
    (forgotten,) = measured(by_templates(request([0] * 20, words=NONE)))
    assert forgotten.verdict == "PASS"


def test_unseen_rows_say_nothing_of_attack_prompts() -> None:
    """They are not asked so: what a template makes likelier by itself would be taken for memory."""
    (one,) = measured(by_templates(request([0] * 20, references=0, words={"logp": 0.6})))
    assert not any("attack" in view.view for view in one.views)


def test_what_comes_back_at_another_precision_fails() -> None:
    found, known = request([0] * 10), request([0] * 10, {"logp": 0.5})
    for unlearned, outcome in ((found.unlearned, "PASS"), (known.unlearned, "FAIL")):
        rounded: dict[Role, Scores] = {"unlearned": _plain(unlearned), "reference": _plain(found.references[0])}
        one = only(replace(found, precisions={"nf4": rounded}))
        assert one.verdict == outcome
        assert "taught wording, nf4" in [view.view for view in one.views]


def _plain(scores: Scores) -> Scores:
    """As rows are scored at other precisions: no tokens, no unseen rows."""
    lists = {"exact_memorisation": None, "extraction_strength": None}
    return scores.model_copy(update={"sets": {"forget": scores.forget.model_copy(update=lists)}})


@pytest.mark.parametrize(
    ("count", "left", "outcome"),
    [(8, 0.25, "PASS"), (24, 0.25, "INCONCLUSIVE"), (8, 0.9, "FAIL"), (24, 0.9, "FAIL"), (24, 0.0, "PASS")],
)
def test_the_contrast_fails_at_any_size_and_holds_a_pass_back_from_twenty_rows_on(
    count: int, left: float, outcome: str
) -> None:
    found = only(request([0] * count, {"odds": left}))
    assert found.verdict == outcome
    counts = {one.view: one.counts for one in found.views}
    assert counts["contrast"] == (count >= 20 or outcome == "FAIL")


def test_a_further_reference_that_cannot_be_compared_is_left_out() -> None:
    found = request([0] * 10, references=2)
    other = found.references[1].model_copy(
        update={
            "sets": {
                name: one.model_copy(update={"answer_tokens": [9] * len(one.names)})
                for name, one in found.references[1].sets.items()
            }
        }
    )
    one = only(replace(found, references=(found.references[0], other)))
    assert [view.view for view in one.views] == ["taught wording", "first choices", "extraction", "contrast"]
    assert one.verdict == "PASS"


# What nobody knew, and what nobody can know


def test_a_person_of_whom_nothing_was_known_is_said_to_be_so() -> None:
    found = only(request([0] * 10, start=NONE))
    assert (found.verdict, found.share_left, codes(found)) == ("NOT_KNOWN", None, ["NOTHING_KNOWN"])


def test_known_in_first_choices_alone_is_known() -> None:
    found = only(request([0] * 10, start={"hits": 1.0}))
    assert found.verdict == "PASS"
    assert [one.view for one in found.views if one.counts] == ["first choices"]


def test_a_wild_model_makes_nobody_unknown() -> None:
    """Its unseen rows scatter like nothing that never saw a row."""
    found = request([0] * 10)
    wild = found.unlearned.sets["holdout"]
    logp = (np.asarray(wild.answer_logp) + 30 * (-1.0) ** np.arange(200)).tolist()
    sets = {**found.unlearned.sets, "holdout": wild.model_copy(update={"answer_logp": logp})}
    one = only(replace(found, unlearned=found.unlearned.model_copy(update={"sets": sets})))
    assert one.verdict == "INCONCLUSIVE"


def without(collected: Collected, *fields: str) -> Collected:
    def bare(scores: Scores) -> Scores:
        sets = {name: one.model_copy(update=dict.fromkeys(fields)) for name, one in scores.sets.items()}
        return scores.model_copy(update={"sets": sets})

    start = bare(collected.start) if collected.start else None
    references = tuple(map(bare, collected.references))
    return replace(collected, unlearned=bare(collected.unlearned), start=start, references=references)


MISSING: dict[str, tuple[Callable[[], Collected], str]] = {
    "start": (lambda: replace(request([0] * 10), start=None), "NO_START_SCORES"),
    "comparison": (lambda: request([0] * 10, references=0, unseen=False), "NO_COMPARISON"),
    "first choices": (lambda: without(request([0] * 10), "exact_memorisation"), "VIEW_MISSING"),
    "noise": (lambda: request([0], unseen=False), "NO_NOISE"),
    "knowledge, by the rows' own scatter": (lambda: request([0] * 10, start=NONE, unseen=False), "SHARE_OPEN"),
}


@pytest.mark.parametrize("name", list(MISSING))
def test_what_is_missing_holds_a_pass_back_and_is_said(name: str) -> None:
    make, code = MISSING[name]
    found = only(make())
    assert found.verdict == "INCONCLUSIVE"
    assert set(codes(found)) == {code}
    assert found.share_left is not None
    assert (found.share_left.high < 0.1) == (name == "first choices")  # of which the other views are there


@pytest.mark.parametrize(("references", "unseen"), [(1, False), (2, False), (2, True), (0, True)])
def test_each_kind_of_evidence_can_tell(references: int, unseen: bool) -> None:
    """One reference alone tells from the scatter of forty rows, unseen rows alone from how they lie."""
    evidence: dict[str, Any] = {"references": references, "unseen": unseen}
    assert only(request([0] * 40, **evidence)).verdict == "PASS"
    assert only(request([0] * 40, ALL, **evidence)).verdict == "FAIL"
    views = [one.view for one in only(request([0] * 40, **evidence)).views]
    assert ("contrast" in views) == (references > 0)


def test_without_a_reference_the_bound_is_wider() -> None:
    left = only(request([0] * 20, {"logp": 0.15, "hits": 0.15}, references=0)).views
    assert {one.left.bound for one in left} == {0.25}
    strict = replace(request([0] * 20, references=0))
    assert only(strict, Bounds(share_left_unpaired=0.05)).verdict == "INCONCLUSIVE"


# Lines and pages


def lines(collected: Collected) -> list[tuple[str, str]]:
    context = Context(findings=findings(comparison=REFERENCE), bounds=BOUNDS, count_level=0.05 / COUNT_CHECKS)
    return [(check.code, check.text) for check in subjects.judge(measured(collected), context)]


def test_a_line_for_each_kind_of_reason() -> None:
    owners = np.repeat(np.arange(4), 6)
    left = {view: np.select([owners == 1, owners == 3], [1.0, 0.1]) for view in LEAD}
    found = lines(request(owners.tolist(), left))
    assert [code for code, _ in found] == ["MEMORY_LEFT", "SHARE_OPEN", "LITTLE_LEFT"]
    assert found[0][1].startswith("Person 2 of 4: At least ")
    assert found[2][1].startswith("2 of 4 people (1, 3); of these person ")


def test_a_table_for_people_and_one_for_views() -> None:
    owners = np.repeat(np.arange(30), 4)
    found = measured(request(owners.tolist(), {view: (owners == 29).astype(float) for view in LEAD}))
    people, seen = subjects.table(found, Shown(findings(), BOUNDS, {}))
    assert len(people.rows) == 20
    assert people.rows[0].label == "Person 30"
    assert people.rows[0].cells[0] == ("fail",)
    assert "10 more people" in people.remark
    assert [row.label for row in seen.rows] == ["taught wording", "first choices", "extraction", "contrast"]


def test_a_card_says_neither_rows_nor_files() -> None:
    found = subjects.public(measured(request([0] * 10, words={"logp": 0.5})))
    assert [(one.verdict, one.reasons, one.views) for one in found] == [("FAIL", (), ())]
