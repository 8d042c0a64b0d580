"""What a model kept: retain probability and ROUGE by hand, and TOFU's model utility."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forgetctl.model.scores import Role, Scores, ScoreSet
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks.kept import Kept, utility, utility_without_rouge
from forgetctl.verify.checks.kept import measure as kept
from tests.verify.handmade import collected, model, rows, said

BOUNDS = Bounds()
FORGET = rows([-1.0])


def retain(probabilities: Sequence[float], recall: Sequence[float | None] | None = None, **lists: Any) -> ScoreSet:
    answers = {} if recall is None else {"elicited": {"greedy": said(recall=list(recall))}}
    return rows([math.log(value) for value in probabilities], **answers, **lists)


def measured(now: ScoreSet | None, start: ScoreSet | None, reference: ScoreSet | None = None) -> dict[str, Kept]:
    def scored(role: Role, values: ScoreSet | None) -> Scores:
        return model(role, FORGET, **({} if values is None else {"retain": values}))

    references = () if reference is None else (scored("reference", reference),)
    gathered = collected(scored("unlearned", now), "model", scored("start", start), references)
    return {measure.name: measure for measure in kept(gathered, BOUNDS)}


# Retain rows


def test_retain_probability_by_hand() -> None:
    """Means 0.6 and 0.5: a gain of a fifth over the start model; a loss of a quarter against the reference's 0.8."""
    (measure,) = measured(retain([0.5, 0.7]), retain([0.4, 0.6]), retain([0.9, 0.7])).values()
    assert measure.name == "retain probability"
    assert (measure.start.before, measure.start.now, measure.start.relative) == pytest.approx((0.5, 0.6, 0.2))
    assert measure.start.n == 2
    assert measure.reference is not None
    assert (measure.reference.before, measure.reference.relative) == pytest.approx((0.8, -0.25))
    for change in (measure.start, measure.reference):
        assert change.lower < change.relative < change.upper


def test_retain_rouge_by_hand() -> None:
    """Rows that either model was not asked do not count: (0.5 + 0.7) / (1 + 0.5) - 1 = -0.2."""
    now, before = retain([0.5] * 4, [0.5, 0.7, None, 1.0]), retain([0.5] * 4, [1.0, 0.5, 1.0, None])
    measure = measured(now, before)["retain ROUGE"]
    assert (measure.start.before, measure.start.now, measure.start.relative) == pytest.approx((0.75, 0.6, -0.2))
    assert (measure.start.n, measure.reference) == (2, None)


@pytest.mark.parametrize(
    ("now", "before"),
    [
        (retain([0.5]), retain([0.5], [1.0])),
        (retain([0.5], [1.0]), retain([0.5])),
        (retain([0.5], [None]), retain([0.5], [1.0])),
        (retain([0.5], [1.0]), retain([0.5], [0.0])),
    ],
    ids=["not-asked", "not-asked-before", "passages", "nothing-before"],
)
def test_no_rouge_to_keep(now: ScoreSet, before: ScoreSet) -> None:
    assert list(measured(now, before)) == ["retain probability"]


@pytest.mark.parametrize("n", [1, 2, 7])
def test_unchanged_rows_are_kept_exactly(n: int) -> None:
    same = retain([0.5] * n, [0.25] * n)
    for measure in measured(same, same, same).values():
        assert measure.start.relative == 0
        assert measure.start == measure.reference


def test_one_row_proves_nothing() -> None:
    change = measured(retain([0.9]), retain([0.9]))["retain probability"].start
    assert (change.lower, change.upper) == (-1, math.inf)


def test_copies_of_a_row_are_one_row() -> None:
    values, before = [0.5, 0.6, 0.7] * 4, [0.55, 0.6, 0.75] * 4
    plain = measured(retain(values), retain(before))["retain probability"].start
    copied = measured(retain(values, copies=[0, 1, 2] * 4), retain(before))["retain probability"].start
    three = measured(retain(values[:3]), retain(before[:3]))["retain probability"].start
    assert copied.lower == pytest.approx(three.lower)
    assert copied.lower < plain.lower


def test_copies_count_in_rouge_too_where_some_rows_were_not_asked() -> None:
    recall = [0.5, None, 0.6, 0.5, None, 0.6]
    before = retain([0.5] * 6, [0.7, 0.1, 0.6, 0.7, 0.1, 0.6])
    copied = measured(retain([0.5] * 6, recall, copies=[0, 1, 2, 0, 1, 2]), before)["retain ROUGE"].start
    two = measured(retain([0.5] * 2, [0.5, 0.6]), retain([0.5] * 2, [0.7, 0.6]))["retain ROUGE"].start
    assert (copied.lower, copied.relative) == pytest.approx((two.lower, two.relative))


def test_nothing_to_compare_with() -> None:
    same = retain([0.5], [1.0])
    assert measured(None, same) == measured(same, None) == {}
    gathered = collected(
        model("unlearned", FORGET, retain=same), "model", None, (model("reference", FORGET, retain=same),)
    )
    assert list(kept(gathered, BOUNDS)) == []


def test_other_tokens_are_not_compared() -> None:
    now, other = retain([0.5, 0.5], [1.0, 1.0]), retain([0.5, 0.5], [1.0, 1.0], answer_tokens=[1, 2])
    assert list(measured(now, other)) == ["retain ROUGE"]
    assert measured(now, now, other)["retain probability"].reference is None


def test_a_start_model_that_gives_its_rows_no_probability() -> None:
    """exp(-1000) is 0 in double precision, and a mean of 0 has no relative change."""
    lost = rows([-1000.0, -1000.0])
    assert "retain probability" not in measured(lost, lost)


def test_retain_rows_at_a_precision() -> None:
    """Rounding may wreck what unlearning kept: the model is measured as it will run, against others that run so."""

    def scored(role: Role, probability: float) -> Scores:
        return model(role, FORGET, retain=retain([probability, probability]))

    full: dict[Role, Scores] = {role: scored(role, 0.8) for role in ("start", "unlearned", "reference")}
    rounded: dict[Role, Scores] = {"start": scored("start", 0.75), "unlearned": scored("unlearned", 0.3)}
    both: dict[Role, Scores] = {**rounded, "reference": scored("reference", 0.6)}
    gathered = collected(
        full["unlearned"], "model", full["start"], (full["reference"],), precisions={"nf4": rounded, "int8": both}
    )
    measures = {measure.name: measure for measure in kept(gathered, BOUNDS)}
    assert list(measures) == ["retain probability", "retain probability, nf4", "retain probability, int8"]
    assert measures["retain probability"].start.relative == 0
    assert measures["retain probability, nf4"].start.relative == pytest.approx(0.3 / 0.75 - 1)
    assert measures["retain probability, nf4"].reference is None
    against = measures["retain probability, int8"].reference
    assert against is not None
    assert against.relative == pytest.approx(-0.5)


# Model utility

PARTS = (0.5, 0.8, 0.25)  # probability, ROUGE, useful truth of every set


def useful(probability: float, rouge: float, truth: float, *, chosen: bool, count: int = 4) -> ScoreSet:
    """chosen: the probability is that of the answer among one wrong one, p / (p + q)."""
    logp = math.log(0.5 if chosen else probability)
    wrong = math.log(0.5) + math.log(1 / probability - 1) if chosen else math.log(0.1)
    right = wrong - math.log(1 - truth)  # truth = 1 - exp(wrong - right)
    return rows(
        [logp] * count,
        paraphrase_logp=[right] * count,
        paraphrase_tokens=[1] * count,
        perturbed_logp=[[wrong]] * count,
        perturbed_tokens=[[1]] * count,
        elicited={"greedy": said(recall=[rouge] * count)},
    )


def scored(role: Role, parts: Sequence[Sequence[float]], count: int = 4) -> Scores:
    """parts: probability, ROUGE and useful truth of retain rows, real authors and world facts."""
    names = ("retain", "real_authors", "world_facts")
    sets = {
        name: useful(*values, chosen=name != "retain", count=count) for name, values in zip(names, parts, strict=True)
    }
    return model(role, FORGET, **sets)


@pytest.mark.parametrize("arithmetic", [True, False])
def test_model_utility_is_the_harmonic_mean_of_nine(arithmetic: bool) -> None:
    """Reciprocals: 2 + 1.25 + 4 for each of three sets; 9 / 21.75."""
    assert utility(scored("start", [PARTS] * 3), arithmetic=arithmetic) == pytest.approx(9 / 21.75)
    mixed = [(0.5, 0.8, 0.25), (0.4, 1.0, 0.5), (0.2, 0.1, 0.125)]  # 7.25 + (2.5 + 1 + 2) + (5 + 10 + 8)
    assert utility(scored("start", mixed), arithmetic=arithmetic) == pytest.approx(9 / 35.75)


@pytest.mark.parametrize("arithmetic", [True, False])
def test_without_rouge_it_is_the_harmonic_mean_of_the_other_six(arithmetic: bool) -> None:
    """Also where nothing was generated: 2 + 4, 2.5 + 2 and 5 + 8."""
    mixed = scored("start", [(0.5, 0.8, 0.25), (0.4, 1.0, 0.5), (0.2, 0.1, 0.125)])
    silent = mixed.model_copy(
        update={"sets": {name: rows.model_copy(update={"elicited": {}}) for name, rows in mixed.sets.items()}}
    )
    assert utility(silent, arithmetic=arithmetic) is None
    for scores in (mixed, silent):
        assert utility_without_rouge(scores, arithmetic=arithmetic) == pytest.approx(6 / 23.5)
    few = {name: rows for name, rows in mixed.sets.items() if name != "world_facts"}
    assert utility_without_rouge(mixed.model_copy(update={"sets": few}), arithmetic=arithmetic) is None


def test_the_two_means_of_wrong_answers_differ() -> None:
    """Row: p = 1/2; wrong 1/4 and 1/16. Arithmetic mean 5/32: 1 - 5/16; geometric 1/8: 1 - 1/4. The rest is 1/2."""
    wrong = [[math.log(1 / 4), math.log(1 / 16)]]
    retained = rows(
        [math.log(0.5)],
        paraphrase_logp=[math.log(0.5)],
        paraphrase_tokens=[1],
        perturbed_logp=wrong,
        perturbed_tokens=[[1, 1]],
        elicited={"greedy": said(recall=[0.5])},
    )
    others = scored("start", [(0.5, 0.5, 0.5)] * 3)
    scores = others.model_copy(update={"sets": {**others.sets, "retain": retained}})
    assert utility(scores, arithmetic=True) == pytest.approx(9 / (8 * 2 + 16 / 11))
    assert utility(scores, arithmetic=False) == pytest.approx(9 / (8 * 2 + 4 / 3))


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("part", [1, 2])
def test_utility_is_nothing_as_soon_as_a_part_is(place: int, part: int) -> None:
    parts = [list(PARTS) for _ in range(3)]
    parts[place][part] = 0
    assert utility(scored("start", parts), arithmetic=True) == 0


def without(scores: Scores, name: str, **changes: Any) -> Scores:
    rest = {key: rows for key, rows in scores.sets.items() if key != name}
    changed = {name: scores.sets[name].model_copy(update=changes)} if changes else {}
    return scores.model_copy(update={"sets": {**rest, **changed}})


@pytest.mark.parametrize("name", ["retain", "real_authors", "world_facts"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"elicited": {}},
        {"elicited": {"greedy": said(recall=[0.5, 0.5, 0.5, None])}},
        {"perturbed_logp": None},
        {"paraphrase_logp": None},
    ],
    ids=["set", "answers", "an-answer", "wrong-answers", "paraphrases"],
)
def test_utility_needs_all_of_its_three_sets(name: str, changes: dict[str, Any]) -> None:
    assert utility(without(scored("start", [PARTS] * 3), name, **changes), arithmetic=True) is None


def change(now: Scores, before: Scores, reference: Scores | None = None) -> Kept | None:
    gathered = collected(now, "model", before, () if reference is None else (reference,))
    return {measure.name: measure for measure in kept(gathered, BOUNDS)}.get("model utility")


def test_change_of_utility_by_hand() -> None:
    """9 / 21.75 before; ROUGE of the retain rows halves: 1.25 more, 9 / 23 now. Equal rows leave no uncertainty."""
    halved = [(0.5, 0.4, 0.25), PARTS, PARTS]
    measure = change(scored("unlearned", halved), scored("start", [PARTS] * 3), scored("reference", halved))
    assert measure is not None
    assert (measure.start.before, measure.start.now) == pytest.approx((9 / 21.75, 9 / 23))
    shown = (measure.start.relative, measure.start.lower, measure.start.upper)
    assert shown == pytest.approx([21.75 / 23 - 1] * 3, abs=1e-6)
    assert measure.start.n == 4
    assert measure.reference is not None
    assert measure.reference.relative == pytest.approx(0)


def test_no_change_where_nothing_was_there_or_rows_differ() -> None:
    whole, nothing = [PARTS] * 3, [(0.5, 0.0, 0.25), PARTS, PARTS]
    assert change(scored("unlearned", whole), scored("start", nothing)) is None
    before, longer = (scored("start", whole, count=count) for count in (4, 5))
    before = before.model_copy(update={"sets": {**before.sets, "world_facts": longer.sets["world_facts"]}})
    assert change(scored("unlearned", whole), before) is None
    lost = change(scored("unlearned", nothing), scored("start", whole))
    assert lost is not None
    assert (lost.start.relative, lost.start.upper) == pytest.approx((-1, -1))


def random_scores(role: Role, draw: Callable[[int], np.ndarray], count: int) -> Scores:
    def rows_of() -> ScoreSet:
        return rows(
            np.log(draw(count)),
            paraphrase_logp=np.log(draw(count)).tolist(),
            paraphrase_tokens=[1] * count,
            perturbed_logp=[[value] for value in np.log(draw(count)).tolist()],
            perturbed_tokens=[[1]] * count,
            elicited={"greedy": said(recall=draw(count).tolist())},
        )

    return model(role, FORGET, **{name: rows_of() for name in ("retain", "real_authors", "world_facts")})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.sampled_from([(0.5, 0.5), (0.05, 0.3), (5.0, 1.0)]))
def test_bounds_of_the_change_contain_it(seed: int, count: int, shape: tuple[float, float]) -> None:
    random = np.random.default_rng(seed)

    def draw(size: int) -> np.ndarray:
        return np.clip(random.beta(*shape, size), 1e-12, 1.0)

    measure = change(random_scores("unlearned", draw, count), random_scores("start", draw, count))
    assume(measure is not None)
    assert measure is not None
    measured = measure.start
    slack = 1e-6 * (1 + abs(measured.relative))
    assert measured.lower - slack <= measured.relative <= measured.upper + slack
    assert measured.relative == pytest.approx(measured.now / measured.before - 1)


def test_bounds_contain_a_change_that_rests_on_few_rows() -> None:
    """Each part of each set rests on one of three rows: most bootstrap samples miss one, and have no utility."""
    tiny = [-40.0, -40.0]
    few = rows(
        [-0.1, *tiny],
        paraphrase_logp=[-40.0, -0.1, -40.0],
        paraphrase_tokens=[1] * 3,
        perturbed_logp=[[-40.0 + 1e-9], [-1.0], [-40.0 + 1e-9]],
        perturbed_tokens=[[1]] * 3,
        elicited={"greedy": said(recall=[0.0, 0.0, 1.0])},
    )
    chosen = few.model_copy(update={"answer_logp": [-0.1, -90.0, -90.0]})
    now = model("unlearned", FORGET, retain=few, real_authors=chosen, world_facts=chosen)
    measure = change(now, scored("start", [PARTS] * 3, count=3))
    assert measure is not None
    assert measure.start.lower <= measure.start.relative <= measure.start.upper


def test_order_of_rows_does_not_matter() -> None:
    """The same bootstrap samples, or the verdict of a borderline case would depend on the file's order."""
    random = np.random.default_rng(1)

    def draw(size: int) -> np.ndarray:
        return random.uniform(0.2, 0.9, size)

    order = random.permutation(20)

    def shuffled(scores: Scores) -> Scores:
        def part(scored: ScoreSet) -> ScoreSet:
            lists: dict[str, Any] = {
                name: [values[row] for row in order]
                for name, values in scored
                if isinstance(values, list) and name != "names"
            }
            lists["elicited"] = {"greedy": said(recall=[scored.elicited["greedy"].recall[row] for row in order])}
            return scored.model_copy(update=lists)

        return scores.model_copy(
            update={
                "sets": {
                    name: measured if name == "forget" else part(measured) for name, measured in scores.sets.items()
                }
            }
        )

    now, before = random_scores("unlearned", draw, 20), random_scores("start", draw, 20)
    plain, other = change(now, before), change(shuffled(now), shuffled(before))
    assert plain is not None
    assert other is not None
    assert other.start.relative == pytest.approx(plain.start.relative)
    assert (other.start.lower, other.start.upper) == pytest.approx((plain.start.lower, plain.start.upper), rel=1e-6)


@pytest.mark.parametrize("role", ["unlearned", "start"])
def test_a_wrecked_model_has_no_utility(role: str) -> None:
    """At a thousand nats a token exp() is 0 for right and wrong answers alike: chances are even, not 0 / 0."""
    fine = scored("start", [PARTS] * 3)
    wrecked = rows(
        [-1000.0] * 4,
        paraphrase_logp=[-1000.0] * 4,
        paraphrase_tokens=[1] * 4,
        perturbed_logp=[[-1000.0]] * 4,
        perturbed_tokens=[[1]] * 4,
        elicited={"greedy": said(4)},
    )
    broken = model("unlearned", FORGET, retain=wrecked, real_authors=wrecked, world_facts=wrecked)
    assert utility(broken, arithmetic=True) == 0
    assert wrecked.choice_probabilities == pytest.approx([0.5] * 4)
    assert wrecked.truth_ratio_by(arithmetic=True) == pytest.approx([1.0] * 4)
    if role == "unlearned":
        measure = change(broken, fine)
        assert measure is not None
        assert measure.start.relative == -1
