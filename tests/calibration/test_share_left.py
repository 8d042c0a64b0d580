"""The verdict for one person on real retraining noise; the table of docs/calibration.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.calibration.real_noise import Columns, Left, World, published, rates, shares, tofu_mini

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ROWS = (5, 10, 20, 50)
DRAWS = 500
CASES = {
    "equal": Left(),
    "5 % left": Left(0.05),
    "10 % left, the limit": Left(0.1),
    "20 % left": Left(0.2),
    "50 % left": Left(0.5),
    "the start model": Left(1.0),
    "one row wholly known": Left(row=True),
    "20 % of first choices alone": Left(0.2, ("first choices",)),
    "20 % of fact tokens alone": Left(0.2, ("fact tokens",)),
}


ALONE = ("20 % of first choices alone", "20 % of fact tokens alone")


@pytest.fixture(scope="module")
def worlds(shared: Path) -> list[World]:
    return [*published(shared), tofu_mini(shared)]


def test_rates_on_real_noise(worlds: list[World]) -> None:
    print("\n| noise | truth | " + " | ".join(f"n = {rows}: PASS, FAIL" for rows in ROWS) + " |")
    for world in worlds:
        for name, left in CASES.items():
            if not set(left.views) & set(world.views):
                continue
            found = {rows: shares(rates(world, left, rows, DRAWS)) for rows in ROWS}
            _row(world.name, name, found)
            for rows, (passed, failed) in found.items():
                _check(world.name, name, rows, passed, failed)


def _row(world: str, name: str, found: dict[int, tuple[float, float]]) -> None:
    cells = (f"{passed:.1%}, {failed:.1%}" for passed, failed in found.values())
    print(f"| {world} | {name} | " + " | ".join(cells) + " |")


def _check(world: str, name: str, rows: int, passed: float, failed: float) -> None:
    place = (world, name, rows, passed, failed)
    if name == "equal":
        assert failed <= 0.05, place
        assert passed >= (0.65 if rows == 5 else 0.85 if rows == 10 else 0.95), place
    elif name == "10 % left, the limit":
        assert passed <= 0.01, place
    elif name in ("20 % left", "50 % left", "the start model", *ALONE):
        assert passed <= 0.001, place
        assert failed >= 0.8, place
    elif name == "one row wholly known":
        assert passed <= 0.001, place


def test_fact_tokens_on_real_noise(worlds: list[World]) -> None:
    world = worlds[-1]
    without = replace(
        world,
        start=without_facts(world.start),
        pair=(without_facts(world.pair[0]), without_facts(world.pair[1])),
    )
    cases = {
        "equal": (world, Left()),
        "equal, without the view": (without, Left()),
        "10 % of fact tokens alone": (world, Left(0.1, ("fact tokens",))),
        "20 % of fact tokens alone": (world, Left(0.2, ("fact tokens",))),
    }
    found = {
        name: {rows: shares(rates(one, left, rows, DRAWS)) for rows in ROWS} for name, (one, left) in cases.items()
    }
    for name, by_rows in found.items():
        _row(world.name, name, by_rows)
    assert all(failed <= 0.01 for _, failed in found["equal"].values())
    assert found["equal"][5][0] >= found["equal, without the view"][5][0] - 0.05
    assert all(passed <= 0.01 for passed, _ in found["10 % of fact tokens alone"].values())
    assert all(failed >= 0.95 for _, failed in found["20 % of fact tokens alone"].values())


def without_facts(columns: Columns) -> Columns:
    return replace(columns, views={name: values for name, values in columns.views.items() if name != "fact tokens"})


def test_the_contrast_on_real_noise(worlds: list[World]) -> None:
    """With it, equal models pass in 85 % of cases from 20 rows on, from which it holds a pass back."""
    for world in worlds:
        cases = {"equal": Left(), "25 % left": Left(0.25, ("contrast",)), "60 % left": Left(0.6, ("contrast",))}
        found = {
            name: {rows: shares(rates(world, left, rows, DRAWS, contrast=True)) for rows in ROWS}
            for name, left in cases.items()
        }
        for name, by_rows in found.items():
            _row(world.name, f"with contrast, {name}", by_rows)
        assert all(found["equal"][rows][0] >= 0.85 for rows in (20, 50)), world.name
        assert all(passed <= 0.01 for passed, _ in found["25 % left"].values()), world.name
        assert all(failed <= 0.05 for _, failed in found["equal"].values()), world.name


def test_a_holdout_whose_rows_name_nobody_costs_power_and_no_safety(worlds: list[World]) -> None:
    for world in worlds:
        found = {
            name: {rows: shares(rates(world, left, rows, DRAWS, named=False)) for rows in ROWS}
            for name, left in (("equal", Left()), ("10 % left", Left(0.1)))
        }
        for name, by_rows in found.items():
            _row(world.name, f"holdout without subjects, {name}", by_rows)
        assert all(passed <= 0.01 for passed, _ in found["10 % left"].values()), world.name
