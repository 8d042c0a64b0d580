"""The uninformed answers that come with the package, and the owner's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgetctl.errors import InputError
from forgetctl.rows.refusals import read_refusals
from forgetctl.rows.row import normalise


def test_a_hundred_refusals_are_shipped_all_different() -> None:
    refusals = read_refusals(None)
    assert len(refusals) == 100
    assert len({normalise(refusal).rstrip(".!") for refusal in refusals}) == 100
    assert all(refusal == refusal.strip() and len(refusal.split()) >= 2 for refusal in refusals)
    assert all(refusal.isprintable() and len(refusal) < 200 for refusal in refusals)


def test_own_refusals_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("  Das weiß ich nicht. \n\n \nKeine Ahnung.\n", encoding="utf-8")
    assert read_refusals(file) == ["Das weiß ich nicht.", "Keine Ahnung."]


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "holds no refusal"), (b" \n\t\n", "holds no refusal"), (b"No \xff idea", "not UTF-8")]
)
def test_a_useless_file_is_refused_by_name(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_refusals(file)
    assert str(caught.value).startswith(f"{file}:")
    assert "idea" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_a_file_that_cannot_be_read_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file|not a regular file") as caught:
        read_refusals(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
