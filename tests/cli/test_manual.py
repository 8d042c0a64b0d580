"""Pages of docs/ that are made from the code are current, and there is something to say of everything in them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgetctl.cli.manual import PAGES
from forgetctl.losses.methods import METHODS, OBJECTIVES
from forgetctl.recipe.recipe import Recipe, load_recipe, shipped_recipes
from forgetctl.recipe.settings import keys

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, made in a process of their own: click keeps a help option as it was first asked for."""
    folder = tmp_path_factory.mktemp("docs")
    subprocess.run([sys.executable, "-m", "forgetctl.cli.manual", str(folder)], check=True)
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_current(name: str, made: Path) -> None:
    current = (DOCS / name).read_text(encoding="utf-8") == (made / name).read_text(encoding="utf-8")
    assert current, f"docs/{name} is not what the code says; run: python -m forgetctl.cli.manual docs"


def shown(page: str) -> Iterator[str]:
    """First cells of a page's tables."""
    for line in PAGES[page]().splitlines():
        if line.startswith("| `"):
            yield line.split("`")[1]


def test_everything_that_can_be_chosen_is_in_the_page() -> None:
    known = [*METHODS, *OBJECTIVES, *shipped_recipes(), *(key.name for key in keys(Recipe))]
    assert sorted(shown("methods.md")) == sorted(known)


@pytest.mark.parametrize("key", list(keys(Recipe)), ids=lambda key: key.name)
def test_a_key_is_described(key: object) -> None:
    assert getattr(key, "description", "")
    assert getattr(key, "values", "")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_term_is_described(name: str) -> None:
    assert OBJECTIVES[name].summary.endswith(".")


def test_a_key_is_known_wherever_it_is_set() -> None:
    """Every dotted name is one that --set takes."""
    overrides = ["lora.rank=2", "calibration.share=0.4"]  # groups that may be left out
    values = load_recipe(overrides=overrides).model_dump()
    for key in keys(Recipe):
        place: object = values
        for part in key.name.split("."):
            assert isinstance(place, dict)
            place = place[part]
