"""What scores tell somebody who has them, the texts of many people, and no model."""

from __future__ import annotations

from pathlib import Path

from tests.privacy.guessing import experiment


def test_at_most_one_of_twelve_people_is_told_beyond_chance(shared: Path) -> None:
    """From scores as they were measured all of them are, so the guesser is no fool."""
    beyond = experiment(shared, draws=8)
    assert beyond["measured"] > 9
    assert beyond["written"] <= 1
