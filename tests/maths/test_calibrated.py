"""The pull to a level: by hand, from both sides, and where it rests."""

from dataclasses import replace

import pytest
from complete import gradient, rows, tensor

from forgetctl.maths.calibrated import level
from forgetctl.maths.objectives import Rows


def at(logp: list[float], tokens: list[float], levels: list[float]) -> Rows:
    return replace(rows(tensor(logp), tokens), level=tensor(levels))


def test_level_by_hand() -> None:
    """A token -1 and -3, levels -4 and -3.5: the first is 3 too high, 3 - 1/2; the second 1/2, half its square."""
    assert level(at([-2.0, -12.0], [2.0, 4.0], [-4.0, -3.5])).item() == pytest.approx((2.5 + 0.125) / 2)


def test_level_pulls_down_from_above_and_up_from_below_and_rests_between() -> None:
    whole = at([-2.0, -20.0, -12.0], [2.0, 4.0, 4.0], [-3.0, -3.0, -3.0])
    pull = gradient(lambda logp: level(replace(whole, logp=logp)), whole.logp)
    assert pull.tolist() == pytest.approx([1 / 2 / 3, -1 / 4 / 3, 0.0])


def test_level_needs_levels() -> None:
    with pytest.raises(ValueError, match="the level of each row"):
        level(rows(tensor([-2.0])))
