"""Successive halving (Jamieson & Talwalkar 2016, arXiv 1502.07943): many settings tried briefly, the best longer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Settings = Mapping[str, float]
KEEP = 3
"""Of so many settings one goes on to the next rung."""
RUNGS = 3


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of one setting on one rung.

    distance: of the forget rows' scores from where unseen rows lie, KS, in [0, 1]; utility: mean probability of kept
    rows, as a share of the start model's. Both None for a run that diverged.
    """

    number: int
    rung: int
    settings: Settings
    distance: float | None
    utility: float | None
    seconds: float


def draw(count: int, ranges: Mapping[str, tuple[float, float]], first: Settings, seed: int) -> list[Settings]:
    """`first`, then settings drawn evenly on a logarithmic scale between the ends of each range.

    The first settings of a longer list are those of a shorter one.
    """
    random = np.random.default_rng(seed)
    drawn: list[Settings] = [first]
    while len(drawn) < count:
        drawn.append({name: _rounded(_between(random, *ends)) for name, ends in ranges.items()})
    return drawn[:count]


def _between(random: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _rounded(value: float) -> float:
    """Three digits: whoever reads a recipe should not have to read more."""
    return float(f"{value:.3g}")


def rung_epochs(epochs: int) -> list[int]:
    """Epochs of each rung, the last one all of them; rungs that would be alike are one."""
    return sorted({max(1, round(epochs / 2 ** (RUNGS - 1 - rung))) for rung in range(RUNGS)})


def ranked(trials: Sequence[Trial], least_utility: float) -> list[Trial]:
    """Best first: those that keep enough by their distance, then the others by what they keep, diverged ones last."""

    def key(trial: Trial) -> tuple[int, float, int]:
        if trial.distance is None or trial.utility is None:
            return 2, 0.0, trial.number
        if trial.utility < least_utility:
            return 1, -trial.utility, trial.number
        return 0, trial.distance, trial.number

    return sorted(trials, key=key)


def promoted(trials: Sequence[Trial], least_utility: float) -> list[int]:
    """Numbers of the settings of a finished rung that go on: the best third, one at least, and none that diverged."""
    alive = [trial for trial in ranked(trials, least_utility) if trial.distance is not None]
    return [trial.number for trial in alive[: max(1, len(trials) // KEEP)]]
