"""How often the test of distributions is right: simulated models whose true distance from the reference is known.

Every case draws per-row scores of a reference and of an unlearned model, judges them with the very functions that
`verify` uses, and counts the outcomes, beside those of TOFU's rule (p > 0.05 is "forgotten"). PASS is the claim that
all rows together are indistinguishable; a person's verdict rests on another measure (`person`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..progress import Progress
from ..recipe.bounds import Bounds
from ..recipe.settings import Settings
from ..verify.checks import distances
from ..verify.checks.comparison import Comparison
from ..verify.checks.distances import ANSWERS, TRUTH_RATIO, Closeness
from ..verify.findings import Context
from ..verify.registry import findings
from ..verify.statistics.distances import ks, paired_distance
from ..verify.statistics.means import equivalence_margin, paired_shift
from ..verify.statistics.resampling import Units
from ._outcome import Outcome, Table
from ._settings import read_settings

Floats = NDArray[np.float64]
BOUNDS = Bounds()
TOFU_LEVEL = 0.05
START = 4.0
"""Standard deviations by which the start model knows the rows better than the reference."""


class CalibrationSettings(Settings):
    """recipes/paper/calibration.yaml."""

    description: str
    source: str
    rows: tuple[int, ...] = Field(min_length=1)
    correlations: tuple[float, ...] = Field(min_length=1)
    shifts: tuple[float, ...]
    repetitions: int = Field(ge=1)
    boundary_repetitions: int = Field(ge=1, description="of the cases in which D is exactly delta")
    retained_correlation: float = Field(gt=0, lt=1, description="that of two published retrained models")
    subjects: int = Field(ge=10)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell: how the unlearned model's scores differ from the reference's, and how far apart that truly is.

    shape: a key of SHAPES; size: its parameter. only_truth_ratio: the answers' scores are the reference's in law.
    subjects: 0 where rows are independent.
    """

    shape: str
    size: float
    distance: float
    rows: int
    correlation: float
    repetitions: int
    only_truth_ratio: bool = False
    subjects: int = 0

    @property
    def name(self) -> str:
        """The case in words."""
        words = self.shape + (f" {self.size:.2f}" if self.size else "")
        words += ", truth ratio only" if self.only_truth_ratio else ""
        return words + (f", {self.subjects} subjects" if self.subjects else "")


def _shifted(scores: Floats, size: float, random: np.random.Generator) -> Floats:
    return scores + size


def _widened(scores: Floats, size: float, random: np.random.Generator) -> Floats:
    return scores * size


def _partly_known(scores: Floats, size: float, random: np.random.Generator) -> Floats:
    """A share of the rows is known as the start model knows them."""
    return np.where(random.random(scores.size) < size, scores + START, scores)


def _two_values(scores: Floats, size: float, random: np.random.Generator) -> Floats:
    """Scores that are 0 or 1: the difference lies at a single point, the hardest case for a bound."""
    return (scores > -_quantile(0.5 + size)).astype(float)


SHAPES: dict[str, Callable[[Floats, float, np.random.Generator], Floats]] = {
    "equal": _shifted,
    "shift": _shifted,
    "spread": _widened,
    "known share": _partly_known,
    "two values": _two_values,
}


def study(progress: Progress) -> Outcome:
    """Run the shipped study."""
    return run(read_settings("calibration", CalibrationSettings), progress)


def run(settings: CalibrationSettings, progress: Progress) -> Outcome:
    """Rates of the three outcomes in every case, on all processors."""
    cases = list(all_cases(settings))
    with progress.bar("Judging", len(cases)) as bar, ProcessPoolExecutor(os.cpu_count()) as pool:
        counted = []
        for case, result in zip(cases, pool.map(rates, cases, range(len(cases))), strict=True):
            counted.append(_record(case, result))
            bar.advance(1, case.name)
    data = {"study": "calibration", "settings": settings.model_dump(mode="json"), "cases": counted}
    return Outcome(data, [_table(counted)], {})


def all_cases(settings: CalibrationSettings) -> Iterator[Case]:
    """The grid of sizes, correlations and shifts, then the shapes that put D exactly at delta in other ways."""
    few, many, delta = settings.repetitions, settings.boundary_repetitions, BOUNDS.delta
    margin = equivalence_margin(delta)
    for correlation in (*settings.correlations, settings.retained_correlation):
        for rows in settings.rows:
            of = partial(Case, rows=rows, correlation=correlation)
            yield of(shape="equal", size=0.0, distance=0.0, repetitions=few)
            yield of(shape="shift", size=margin, distance=delta, repetitions=many)
            for shift in settings.shifts:
                yield of(shape="shift", size=shift, distance=2 * float(_phi(shift / 2)) - 1, repetitions=few)
    for rows in settings.rows:
        at_delta = partial(Case, distance=delta, rows=rows, correlation=0.8, repetitions=many)
        yield at_delta(shape="shift", size=margin, only_truth_ratio=True)
        yield at_delta(shape="two values", size=delta, only_truth_ratio=True)
        yield at_delta(shape="spread", size=spread_at(delta), only_truth_ratio=True)
        yield at_delta(shape="known share", size=delta / (2 * float(_phi(START / 2)) - 1))
    for rows in (rows for rows in settings.rows if rows >= 5 * settings.subjects):
        clustered = partial(Case, rows=rows, correlation=0.8, subjects=settings.subjects)
        yield clustered(shape="equal", size=0.0, distance=0.0, repetitions=few)
        yield clustered(shape="shift", size=margin, distance=delta, repetitions=many)


def spread_at(delta: float) -> float:
    """The factor by which a normal distribution must be widened to be `delta` away from itself in D."""
    from scipy.optimize import brentq

    grid = np.linspace(0, 8, 4001)

    def excess_distance(factor: float) -> float:
        return float(np.max(_phi(grid) - _phi(grid / factor))) - delta

    return float(brentq(excess_distance, 1.0, 20.0))


def rates(case: Case, seed: int) -> Counter[str]:
    """How often each outcome, and TOFU's rule, came out."""
    random, counted = np.random.default_rng(seed), Counter[str]()
    for _ in range(case.repetitions):
        unlearned, reference, subjects = _draw(case, random)
        units = Units.of(case.rows, subjects)
        compared = tuple(_closeness(name, unlearned[name], reference[name], units) for name in (TRUTH_RATIO, ANSWERS))
        counted[_outcome(compared)] += 1
        counted["TOFU"] += ks(unlearned[TRUTH_RATIO], reference[TRUTH_RATIO]).p > TOFU_LEVEL
    return counted


def _outcome(compared: tuple[Closeness, ...]) -> str:
    """PASS where every distance and mean is surely within its limit, FAIL where a distance is surely beyond."""
    context = Context(
        findings=findings(comparison=Comparison(kind="model", name=None, others=())), bounds=BOUNDS, count_level=0.0
    )
    states = {check.status for check in distances.judge(compared, context)}
    if "fail" in states:
        return "FAIL"
    return "PASS" if states == {"pass"} else "INCONCLUSIVE"


def _draw(case: Case, random: np.random.Generator) -> tuple[dict[str, Floats], dict[str, Floats], list[int] | None]:
    """Truth ratios and answer scores of both models, and the rows' subjects."""
    subjects = [row * case.subjects // case.rows for row in range(case.rows)] if case.subjects else None
    unlearned: dict[str, Floats] = {}
    reference: dict[str, Floats] = {}
    for name in (TRUTH_RATIO, ANSWERS):
        common, own, other = (_noise(case, random, subjects) for _ in range(3))
        shared, alone = np.sqrt(case.correlation) * common, np.sqrt(1 - case.correlation)
        shape = "equal" if case.only_truth_ratio and name == ANSWERS else case.shape
        size = 0.0 if shape == "equal" else case.size
        reference[name] = shared + alone * other
        changed = SHAPES[shape](shared + alone * own, size, random)
        if shape == "two values":
            reference[name] = SHAPES[shape](reference[name], 0.0, random)
        unlearned[name] = changed
    return unlearned, reference, subjects


def _noise(case: Case, random: np.random.Generator, subjects: list[int] | None) -> Floats:
    """Standard normal scores; half of their variance is the subject's where there are subjects."""
    own = random.normal(size=case.rows)
    if subjects is None:
        return own
    shared: Floats = random.normal(size=case.subjects)[np.asarray(subjects)]
    both: Floats = np.sqrt(0.5) * (own + shared)
    return both


def _closeness(name: str, ours: Floats, theirs: Floats, units: Units) -> Closeness:
    distance = paired_distance(ours, theirs, units, BOUNDS.levels)
    if name == TRUTH_RATIO:
        return Closeness(name=name, distance=distance, gap=None, shift=None, p=None, tofu_p=None)
    gap = float(np.median(ours) - np.median(theirs))
    shift = paired_shift(ours, theirs, units, BOUNDS.levels)
    return Closeness(name=name, distance=distance, gap=gap, shift=shift, p=None, tofu_p=None)


def _phi(value: Any) -> Any:
    from scipy.stats import norm

    return norm.cdf(value)


def _quantile(share: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(share))


def _record(case: Case, counted: Counter[str]) -> dict[str, Any]:
    shares = {name: counted[name] / case.repetitions for name in ("PASS", "FAIL", "INCONCLUSIVE", "TOFU")}
    return {
        "case": case.name,
        "D": round(case.distance, 4),
        "rows": case.rows,
        "correlation": case.correlation,
        "repetitions": case.repetitions,
        **shares,
    }


def _table(counted: list[dict[str, Any]]) -> Table:
    columns = ["case", "true D", "rows", "correlation", "PASS", "FAIL", "INCONCLUSIVE", "TOFU p > .05"]
    rows = [
        [
            case["case"],
            f"{case['D']:.3f}",
            str(case["rows"]),
            f"{case['correlation']:g}",
            *(f"{case[name]:.1%}" for name in ("PASS", "FAIL", "INCONCLUSIVE", "TOFU")),
        ]
        for case in counted
    ]
    return Table(f"The test of distributions where the truth is known; limit of D {BOUNDS.delta}", columns, rows)
