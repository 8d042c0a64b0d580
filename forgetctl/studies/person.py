"""How often the verdict for one person is right: simulated people of whom a known share is left.

Every case draws the scores of models that never saw a person's rows, and of one that kept a known share of the start
model's lead, and judges them with the very functions that `verify` uses. One view stands for all: scores a row with
the noise, and the lead in standard deviations of that noise, that two published retrained Llama-2-7B models have.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..progress import Progress
from ..recipe.bounds import Bounds
from ..recipe.settings import Settings
from ..verify.statistics.share_left import SINGLE_REFERENCE, Question, Scored, noise_of, share_left
from ._outcome import Outcome, Table
from ._settings import read_settings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BOUNDS = Bounds()
UNSEEN_PEOPLE, UNSEEN_ROWS = 20, 20
"""People in the holdout, and rows of each."""
REUSED = 5
"""Repetitions that share the noise of one holdout; a rate's own error grows a little by that."""
KNOWN = 8.0
"""Standard deviations by which the start model leads, at least, on a row that stays known."""


class PersonSettings(Settings):
    """recipes/paper/person.yaml."""

    description: str
    source: str
    rows: tuple[int, ...] = Field(min_length=1)
    shares: tuple[float, ...] = Field(min_length=1, description="of the start model's lead that are left, evenly")
    people: tuple[int, ...] = Field(min_length=1, description="in one request")
    people_rows: int = Field(ge=1, description="rows of each of them")
    lead: float = Field(gt=0, description="mean lead of the start model, in standard deviations of a row's noise")
    lead_spread: float = Field(ge=0, description="standard deviation of the lead from row to row, relative to it")
    repetitions: int = Field(ge=1)
    request_repetitions: int = Field(ge=1, description="of requests of several people")


@dataclass(frozen=True)
class Evidence:
    """What a model is compared with. unseen: whether there is a holdout, and whether its rows say whose they are."""

    name: str
    references: int = 1
    unseen: Literal["named", "unnamed", "none"] = "named"


EVIDENCE = (
    Evidence("one reference"),
    Evidence("one reference, holdout without subjects", unseen="unnamed"),
    Evidence("two references", references=2),
    Evidence("one reference, no holdout", unseen="none"),
)


@dataclass(frozen=True, kw_only=True)
class Stress:
    """How the noise of a person's rows is not what is assumed. correlation: of rows of one person, in the holdout as
    in the request. scale: of the request's noise, in that of unseen rows. uncorrelated: the holdout's rows are not."""

    name: str
    correlation: float = 0.0
    scale: float = 1.0
    heavy: bool = False
    uncorrelated: bool = False


PLAIN = Stress(name="as assumed")
STRESSES = (
    Stress(name="heavy tails (t of 3 degrees)", heavy=True),
    Stress(name="correlation .1", correlation=0.1),
    Stress(name="correlation .3", correlation=0.3),
    Stress(name="noise 1.5 times that of unseen rows", scale=1.5),
)
UNPROTECTED = Stress(name="correlation .3, and none in the holdout", correlation=0.3, uncorrelated=True)
"""Nothing that is measured shows it: said in the docs, and no claim."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell. left: the share of the lead that the known people keep, evenly or, where `row` says so, the whole of
    one row each. known: how many of the people they are."""

    rows: int
    left: float
    repetitions: int
    lead: float
    lead_spread: float
    evidence: Evidence = EVIDENCE[0]
    stress: Stress = PLAIN
    row: bool = False
    people: int = 1
    known: int = 1

    @property
    def truth(self) -> str:
        """What is left, in words."""
        words = "one row wholly known" if self.row else f"{self.left:.0%} left"
        return words if self.people == 1 else f"{words} of {self.known} of {self.people} people"


def study(progress: Progress) -> Outcome:
    """Run the shipped study."""
    return run(read_settings("person", PersonSettings), progress)


def run(settings: PersonSettings, progress: Progress) -> Outcome:
    """Rates of the outcomes in every case, on all processors."""
    cases = list(all_cases(settings))
    with progress.bar("Judging", len(cases)) as bar, ProcessPoolExecutor(os.cpu_count()) as pool:
        counted = []
        for case, result in zip(cases, pool.map(rates, cases, range(len(cases))), strict=True):
            counted.append(_record(case, result))
            bar.advance(1, case.truth)
    data = {"study": "person", "settings": settings.model_dump(mode="json"), "cases": counted}
    return Outcome(data, [_table(counted)], {})


def all_cases(settings: PersonSettings) -> Iterator[Case]:
    """Shares and single rows; equal models and ones at the limit by evidence and stress; requests of several people."""
    of = partial(Case, lead=settings.lead, lead_spread=settings.lead_spread, repetitions=settings.repetitions, left=0.0)
    for rows in settings.rows:
        for share in settings.shares:
            yield of(rows=rows, left=share)
        yield of(rows=rows, row=True)
        for evidence in EVIDENCE[1:]:
            for share in (0.0, BOUNDS.share_left, 1.0):
                yield of(rows=rows, left=share, evidence=evidence)
        for evidence in EVIDENCE:
            for stress in STRESSES:
                yield of(rows=rows, left=BOUNDS.share_left, evidence=evidence, stress=stress)
        for stress in STRESSES:
            yield of(rows=rows, stress=stress)
        yield of(rows=rows, left=BOUNDS.share_left, stress=UNPROTECTED)
    request = partial(of, rows=settings.people_rows, repetitions=settings.request_repetitions)
    for people in settings.people:
        yield request(people=people)
        yield request(people=people, left=BOUNDS.share_left, known=people)
        yield request(people=people, left=1.0)


def rates(case: Case, seed: int) -> Counter[str]:
    """How often a request of that kind came out in each way."""
    random, counted = np.random.default_rng(seed), Counter[str]()
    unseen: Scored | None = None
    for repetition in range(case.repetitions):
        if repetition % REUSED == 0:
            unseen = _unseen(case, random)
        counted[_outcome(case, _request(case, random), unseen)] += 1
    return counted


def _noise(case: Case, stress: Stress, people: Ints, random: np.random.Generator) -> Floats:
    """Of the verified model, the start model and the references, on rows of these people: (models, rows). Two models
    differ by a standard deviation of 1."""
    models, rows = 2 + case.evidence.references, len(people)

    def draw(*shape: int) -> Floats:
        drawn: Floats = random.standard_t(3, shape) / np.sqrt(3) if stress.heavy else random.normal(size=shape)
        drawn *= stress.scale / np.sqrt(2)
        return drawn

    own, shared = draw(models, rows), draw(models, int(people.max()) + 1)[:, people]
    noise: Floats = np.sqrt(1 - stress.correlation) * own + np.sqrt(stress.correlation) * shared
    return noise


def _unseen(case: Case, random: np.random.Generator) -> Scored | None:
    if case.evidence.unseen == "none":
        return None
    people = np.repeat(np.arange(UNSEEN_PEOPLE), UNSEEN_ROWS)
    stress = replace(case.stress, scale=1.0, correlation=0.0 if case.stress.uncorrelated else case.stress.correlation)
    model, start, *references = _noise(case, stress, people, random)
    return Scored(
        model=model,
        start=start,
        references=np.array(references),
        tokens=np.ones(len(people)),
        subjects=people if case.evidence.unseen == "named" else None,
    )


def _request(case: Case, random: np.random.Generator) -> Scored:
    people = np.repeat(np.arange(case.people), case.rows)
    model, start, *references = _noise(case, case.stress, people, random)
    lead = np.maximum(case.lead * (1 + case.lead_spread * random.normal(size=len(people))), 0.0)
    left = np.where(people < case.known, case.left, 0.0)
    if case.row:
        chosen = np.arange(case.known) * case.rows
        lead[chosen], left[chosen] = np.maximum(lead[chosen], KNOWN), 1.0
    return Scored(
        model=model + left * lead,
        start=start + lead,
        references=np.array(references),
        tokens=np.ones(len(people)),
        subjects=people,
    )


def _outcome(case: Case, request: Scored, unseen: Scored | None) -> str:
    """Of the whole request: one that fails makes it FAIL, else one that is open INCONCLUSIVE."""
    noise, start_noise = noise_of(request, unseen), noise_of(request.of_start, unseen.of_start if unseen else None)
    if noise is None:
        return "INCONCLUSIVE"
    question = Question(
        bound=BOUNDS.share_left,
        overshoot=BOUNDS.overshoot,
        rows=True,
        weights="tokens",
        passing=BOUNDS.pass_level * (SINGLE_REFERENCE if case.evidence.references < 2 else 1.0),
        failing=BOUNDS.fail_level / case.people,
        row_level=BOUNDS.fail_level / case.rows,
        any_row_level=BOUNDS.fail_level / (case.rows * case.people),
    )
    parts = (request.of_rows(np.arange(case.rows) + first * case.rows) for first in range(case.people))
    found = [share_left(part, noise, start_noise, question) for part in parts]
    outcomes = {one.outcome for one in found if one.control}
    if "FAIL" in outcomes:
        return "FAIL"
    return "INCONCLUSIVE" if "OPEN" in outcomes or not outcomes else "PASS"


def _record(case: Case, counted: Counter[str]) -> dict[str, Any]:
    return {
        "truth": case.truth,
        "rows": case.rows,
        "evidence": case.evidence.name,
        "noise": case.stress.name,
        "people": case.people,
        "left": case.left,
        "repetitions": case.repetitions,
        **{outcome: counted[outcome] / case.repetitions for outcome in ("PASS", "FAIL", "INCONCLUSIVE")},
    }


def _table(counted: list[dict[str, Any]]) -> Table:
    outcomes = ("PASS", "FAIL", "INCONCLUSIVE")
    rows = [
        [one["truth"], str(one["rows"]), one["evidence"], one["noise"], *(f"{one[name]:.1%}" for name in outcomes)]
        for one in counted
    ]
    columns = ["truth", "rows", "evidence", "noise", *outcomes]
    return Table(f"Verdicts for one person where the truth is known; limit {BOUNDS.share_left:.0%} left", columns, rows)
