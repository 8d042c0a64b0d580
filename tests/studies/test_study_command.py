"""`forgetctl study`, and the files a study leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from forgetctl.cli.main import cli
from forgetctl.recipe.recipe import shipped_recipes
from forgetctl.studies import LARGE, STUDIES, theorem2
from forgetctl.studies import _settings as settings
from forgetctl.studies.theorem2 import Theorem2Settings


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    full = settings.read_settings("theorem2", Theorem2Settings)
    quick = full.model_copy(update={"seeds": (1,), "steps": 60, "every": 20})
    monkeypatch.setattr(theorem2, "read_settings", lambda *_: quick)


def test_list_names_every_study_that_has_settings() -> None:
    done = CliRunner().invoke(cli, ["study", "list", "--json"])
    assert json.loads(done.stdout) == dict(STUDIES)
    paper = {path.stem for path in (settings.recipes_folder() / "paper").glob("*.yaml")}
    assert paper - {name.removeprefix("paper/") for name in shipped_recipes()} == set(STUDIES) - LARGE
    assert not set(STUDIES) & set(shipped_recipes())
    assert "Theorem 2" in CliRunner().invoke(cli, ["study", "list"]).stdout


@pytest.mark.usefixtures("short")
def test_a_study_writes_data_and_figures_of_stable_bytes(tmp_path: Path) -> None:
    written = []
    for out in (tmp_path / "a", tmp_path / "b"):
        done = CliRunner().invoke(cli, ["study", "theorem2", "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert "a + b log t" in done.stdout
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert set(written[0]) == {"theorem2.json", "theorem2-growth.png", "theorem2-growth.svg"}
    assert written[0] == written[1]
    data = json.loads(written[0]["theorem2.json"])
    assert data["settings"]["steps"] == 60
    assert data["steps"] == [20, 40, 60]


def test_a_folder_that_cannot_be_is_an_error_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(cli, ["study", "theorem2", "--out", str(tmp_path / "file" / "below")])
    assert done.exit_code == 2
    assert "cannot be written to" in done.output
