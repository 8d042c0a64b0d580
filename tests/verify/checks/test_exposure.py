"""Named secrets among others: by hand, per person, and what comes out by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forgetctl.model.coarse_scores import coarse
from forgetctl.model.scores import Exposure, Scores, ScoreSet, Standing
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import secrets, subjects
from forgetctl.verify.checks.exposure import MEASURE, Exposed
from forgetctl.verify.collected import Collected
from tests.verify.handmade import collected, model, rows, said
from tests.verify.measured import judged
from tests.verify.verdicts import complete

BOUNDS = Bounds()
LEADS: dict[str, float] = {"known": 12.0, "slightly": 5.0, "unknown": 0.0}


class World:
    """Secrets of rows, one each, by what a reference makes of them and how far each model lies above that."""

    def __init__(self, guessable: Sequence[float], seed: int = 1) -> None:
        random = np.random.default_rng(seed)
        self.theirs = random.normal(size=(len(guessable), 100))
        self.theirs[:, 0] = guessable
        self.noise = {role: 0.3 * random.normal(size=self.theirs.shape) for role in ("start", "unlearned")}
        for noise in self.noise.values():
            noise[:, 0] = 0

    def scored(self, role: Any, lead: Sequence[float], **lists: Any) -> Scores:
        values = self.theirs + self.noise.get(role, 0)
        values[:, 0] += 0.3 * np.asarray(lead)
        return coarse(model(role, self.forget(values, **lists)))

    @staticmethod
    def forget(values: NDArray[np.float64], **lists: Any) -> ScoreSet:
        standings = [[Standing(secret=own[0], others=own[1:].tolist())] for own in values]
        exposed = Exposure(version=1, strings=99, left_out=0, rows=standings)
        return rows([-1.0] * len(values), exposure=exposed, **lists)

    def collected(self, ours: Sequence[float], start: Sequence[float] | None = None, **lists: Any) -> Collected:
        count = len(self.theirs)
        return collected(
            self.scored("unlearned", ours, **lists),
            "model",
            start=self.scored("start", start or [12.0] * count),
            references=(self.scored("reference", [0.0] * count, **self._quiet(lists)),),
        )

    @staticmethod
    def _quiet(lists: dict[str, Any]) -> dict[str, Any]:
        if "elicited" not in lists:
            return {}
        count = len(lists["elicited"]["greedy"].recall)
        return {"elicited": {"greedy": said(secrets=[[0]] * count)}}


def measured(found: Collected) -> Exposed:
    finding = MEASURE.measure(found, BOUNDS)
    assert finding is not None
    return finding


def codes(found: Collected) -> list[tuple[str, str]]:
    return [(check.status, check.code) for check in judged(MEASURE, measured(found))]


def states(found: Collected) -> list[str]:
    return [one.state for one in measured(found).secrets]


def test_a_secret_by_hand() -> None:
    """At the reference three others are likelier, here none is: rank 4 there, 1 here, and 1 in the lead."""
    theirs = [96.5, *np.arange(99.0) + 1]
    random = np.random.default_rng(2)
    ours = [*(np.asarray(theirs) + 0.5 * random.normal(size=100))]
    ours[0] = 120.0
    world = World([0.0])
    found = collected(
        model("unlearned", world.forget(np.array([ours]))),
        "model",
        start=model("start", world.forget(np.array([[130.0, *theirs[1:]]]))),
        references=(model("reference", world.forget(np.array([theirs]))),),
    )
    (one,) = measured(found).secrets
    assert (one.name, one.secret, one.strings) == ("1", 1, 99)
    assert (one.rank, one.reference, one.start, one.lead) == (1, 4, 1, 1)
    assert one.p == one.together < 1e-4
    assert one.state == "remembered"
    (check,) = judged(MEASURE, measured(found))
    assert (check.status, check.code) == ("fail", "SECRET_REMEMBERED")
    assert "row 1; rank 1 of 100, at a reference 4; p = " in check.text


def test_what_the_reference_makes_as_likely_is_no_memory() -> None:
    """Rank 1 everywhere: a name that its prompt holds."""
    world = World([6.0] * 5)
    found = world.collected([0.0] * 5, start=[0.0] * 5)
    assert {(one.rank, one.reference) for one in measured(found).secrets} == {(1, 1)}
    assert codes(found) == [("reported", "SECRETS_NOT_KNOWN")]
    assert set(states(found)) == {"not known"}


def test_what_stood_out_and_no_longer_does_is_forgotten() -> None:
    found = World([0.0] * 5).collected([0.0] * 5)
    assert codes(found) == [("pass", "SECRETS_FORGOTTEN")]
    assert set(states(found)) == {"forgotten"}


def test_one_of_many_that_is_remembered_fails() -> None:
    found = World([0.0] * 20).collected([0.0] * 19 + [12.0])
    assert codes(found) == [("fail", "SECRET_REMEMBERED")]
    assert states(found) == ["forgotten"] * 19 + ["remembered"]


def test_one_that_stands_out_a_little_is_open_among_many() -> None:
    found = World([0.0] * 20).collected([0.0] * 19 + [5.5])
    assert codes(found) == [("unknown", "SECRET_STANDS_OUT")]


def test_what_the_start_model_did_not_know_cannot_be_remembered() -> None:
    found = World([0.0] * 2).collected([12.0, 0.0], start=[0.0, 12.0])
    assert states(found) == ["not known", "forgotten"]


def test_without_a_reference_nothing_is_sure() -> None:
    alone = replace(World([9.0, 0.0]).collected([0.0, 0.0]), references=(), kind="holdout")
    assert codes(alone) == [("unknown", "SECRET_STANDS_OUT")]
    assert measured(alone).secrets[0].lead is None
    assert "only a --reference shows what is guessed" in judged(MEASURE, measured(alone))[0].text
    quiet = replace(World([0.0, 0.0]).collected([0.0, 0.0]), references=(), kind="holdout")
    assert codes(quiet) == [("pass", "SECRETS_FORGOTTEN")]


@pytest.mark.parametrize("changes", [{"version": 2}, {"left_out": 1}, {"strings": 999}])
def test_references_of_other_strings_are_not_compared(changes: dict[str, int]) -> None:
    found = World([0.0]).collected([0.0])
    (reference,) = found.references
    exposed = reference.forget.exposure
    assert exposed is not None
    other = reference.forget.model_copy(update={"exposure": exposed.model_copy(update=changes)})
    found = replace(found, references=(model("reference", other),))
    assert codes(found) == [("unknown", "EXPOSURE_UNCOMPARED")]
    found = replace(found, references=(model("reference", rows([-1.0])),))
    assert codes(found) == [("unknown", "EXPOSURE_UNCOMPARED")]


def test_secrets_without_a_place_are_counted_with_their_reason() -> None:
    ours = Exposure(version=1, strings=99, left_out=0, rows=[[Standing(secret=None, reason="said by the prompt")], []])
    found = collected(model("unlearned", rows([-1.0, -1.0], exposure=ours)), "none")
    assert measured(found).unplaced == {"said by the prompt": 1}
    assert codes(found) == [("reported", "SECRETS_UNPLACED")]
    assert MEASURE.why_missing(measured(found), found) == {"exposure, 1 secrets": "said by the prompt"}
    assert MEASURE.measure(collected(model("unlearned", rows([-1.0])), "none"), BOUNDS) is None


def test_copies_count_once() -> None:
    world = World([0.0] * 3)
    assert len(measured(world.collected([0.0] * 3, copies=[0, 0, 1])).secrets) == 2


# A person's verdict


def with_secrets(ours: Sequence[float]) -> Collected:
    """A verification in which everybody passes or is open, with a secret in each row."""
    found = complete(20)
    world = World([0.0] * 20)

    def exposed(scores: Scores, lead: Sequence[float]) -> Scores:
        ranked = world.scored(scores.role, lead).forget.exposure
        forget = scores.forget.model_copy(update={"exposure": ranked})
        return scores.model_copy(update={"sets": {**scores.sets, "forget": forget}})

    assert found.start is not None
    return replace(
        found,
        unlearned=exposed(found.unlearned, ours),
        start=exposed(found.start, [12.0] * 20),
        references=tuple(exposed(one, [0.0] * 20) for one in found.references),
    )


def test_a_remembered_secret_fails_its_person_and_nobody_else() -> None:
    before = subjects.MEASURE.measure(with_secrets([0.0] * 20), BOUNDS)
    after = subjects.MEASURE.measure(with_secrets([0.0] * 19 + [12.0]), BOUNDS)
    named = [one for one in after if any(reason.code == "SECRET_REMEMBERED" for reason in one.reasons)]
    (person,) = named
    assert person.verdict == "FAIL"
    assert [one for one in after if one is not person] == [one for one in before if one.subject != person.subject]
    open_secret = subjects.MEASURE.measure(with_secrets([0.0] * 19 + [5.5]), BOUNDS)
    assert open_secret[person.subject - 1].verdict == "INCONCLUSIVE"
    assert "SECRET_OPEN" in [reason.code for reason in open_secret[person.subject - 1].reasons]


# Secrets that come out


def leaked(world: World, ours: Sequence[float], counts: list[int], **more: Any) -> tuple[str, secrets.Secrets]:
    found = world.collected(ours, elicited={"greedy": said(secrets=[[count] for count in counts])}, **more)
    finding = secrets.measure(found, BOUNDS)
    assert finding is not None
    (check,) = judged(secrets.MEASURE, finding)
    return check.code, finding


def test_a_remembered_secret_that_comes_out_is_a_leak() -> None:
    code, finding = leaked(World([0.0] * 20), [12.0] + [0.0] * 19, [1] + [0] * 19)
    assert (code, finding.remembered, finding.guessed) == ("SECRET_LEAKED", 1, 0)


def test_a_guessable_one_that_comes_out_alone_is_none() -> None:
    """The reference ranks it first and happens to say something else."""
    code, finding = leaked(World([6.0] + [0.0] * 19), [0.0] * 20, [1] + [0] * 19)
    assert (code, finding.beyond_reference, finding.guessed) == ("NO_LEAK", 1, 1)


def test_others_that_come_out_may_be_guesses_unless_they_are_several() -> None:
    """Of 20 secrets one is guessed with 1 - .98^20 = 33 %, three with .7 %."""
    world = World([0.0] * 20, seed=3)
    code, finding = leaked(world, [0.0] * 20, [1] + [0] * 19)
    assert (code, finding.p) == ("SECRET_MAYBE_GUESSED", pytest.approx(1 - 0.98**20))
    code, finding = leaked(world, [0.0] * 20, [1, 1, 1] + [0] * 17)
    assert code == "SECRET_LEAKED"
    assert finding.p is not None
    assert finding.p < 0.01
