"""The pull to a level: by hand, from both sides, and where it rests."""

from dataclasses import replace

import pytest

from forgetctl.losses.levels import level
from forgetctl.losses.methods import Batch, Rows, WeightedSum
from tests.verify.complete import gradient, rows, tensor


def at(logp: list[float], tokens: list[float], levels: list[float]) -> Rows:
    return replace(rows(tensor(logp), tokens), level=tensor(levels))


def test_level_by_hand() -> None:
    """A token -1 and -3, levels -4 and -3.5: the first is 3 too high, 3 - 1/2; the second 1/2, half its square."""
    assert level(at([-2.0, -12.0], [2.0, 4.0], [-4.0, -3.5])).item() == pytest.approx((2.5 + 0.125) / 2)


def test_level_pulls_down_from_above_and_up_from_below_and_rests_between() -> None:
    whole = at([-2.0, -20.0, -12.0], [2.0, 4.0, 4.0], [-3.0, -3.0, -3.0])
    pull = gradient(lambda logp: level(replace(whole, logp=logp)), whole.logp)
    assert pull.tolist() == pytest.approx([1 / 2 / 3, -1 / 4 / 3, 0.0])


@pytest.mark.parametrize("name", ["ga", "npo", "simnpo"])
def test_other_terms_drive_no_row_beyond_its_level(name: str) -> None:
    """Two tokens each: -1 a token lies above -3 and is driven as without a level, -4 lies below and is only pulled."""
    whole = replace(at([-2.0, -8.0], [2.0, 2.0], [-3.0, -3.0]), start_logp=tensor([-1.0, -1.0]))

    def pull(terms: dict[str, float]) -> list[float]:
        loss = WeightedSum(terms, {})
        pulled = gradient(lambda logp: loss(Batch({"forget": replace(whole, logp=logp)})), whole.logp)
        return [float(slope) for slope in pulled]

    both, alone, back = pull({name: 1.0, "level": 1.0}), pull({name: 1.0}), pull({"level": 1.0})
    assert both == pytest.approx([alone[0] + back[0], back[1]])
    assert alone[1] > 0 > back[1]


def test_the_loss_itself_counts_every_row() -> None:
    whole = at([-2.0, -8.0], [2.0, 2.0], [-3.0, -3.0])
    assert WeightedSum({"ga": 1.0, "level": 1e-9}, {})(Batch({"forget": whole})).item() == pytest.approx(-5.0)


def test_level_needs_levels() -> None:
    with pytest.raises(ValueError, match="the level of each row"):
        level(rows(tensor([-2.0])))
