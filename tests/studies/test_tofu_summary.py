"""Lines of the study's table by hand: what is made of seeds and epochs, and a table that crashes cannot spoil."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forgetctl.errors import RunError
from forgetctl.studies.tofu._figures import draw
from forgetctl.studies.tofu._summary import SHOWN, summarise, tables
from forgetctl.studies.tofu._table import RunKey, Table


def line(method: str, seed: int, epoch: int, quality: float, *, weight: float = 1.0, **more: Any) -> dict[str, Any]:
    """Two epochs of three steps."""
    figures = dict.fromkeys(SHOWN, 0.5) | {"forget_quality": quality, "D": quality / 2}
    where = {"split": "05", "method": method, "retain_weight": weight, "seed": seed, "step": 3 * epoch, "steps": 6}
    return {**where, "epoch": epoch, "status": "measured", "n": 200, **figures, **more}


def run(method: str, seed: int, *qualities: float, weight: float = 1.0) -> list[dict[str, Any]]:
    return [line(method, seed, epoch, quality, weight=weight) for epoch, quality in enumerate(qualities, start=1)]


def end(method: str) -> dict[str, Any]:
    return {**line(method, 0, 0, 1.0, weight=0.0), "steps": 0}


def test_quality_is_the_median_over_seeds_and_the_rest_are_means() -> None:
    (found,) = summarise([*run("npo", 1, 0.1, 1e-9), *run("npo", 2, 0.3, 0.2), *run("npo", 3, 0.2, 0.01)])
    assert found["seeds"] == [1, 2, 3]
    assert [point["forget_quality"] for point in found["points"]] == [0.2, 0.01]
    assert found["final"]["D"] == pytest.approx((1e-9 + 0.2 + 0.01) / 6)
    assert found["final"]["per_seed"]["forget_quality"] == [1e-9, 0.2, 0.01]
    assert (found["best"]["epoch"], found["final"]["epoch"]) == (1, 2)


def test_a_run_that_is_not_at_its_end_does_not_count() -> None:
    (found,) = summarise([*run("npo", 1, 0.1, 0.2), *run("npo", 2, 0.9)])
    assert found["seeds"] == [1]
    assert found["points"][0]["forget_quality"] == 0.1
    (none,) = summarise(run("npo", 1, 0.1))
    assert (none["seeds"], none["points"], none["final"], none["best"]) == ([], [], None, None)


def test_runs_that_diverged_are_counted_apart() -> None:
    lost = {"split": "05", "method": "ga", "retain_weight": 1.0, "seed": 2, "step": 4, "steps": 6, "status": "diverged"}
    (found,) = summarise([*run("ga", 1, 0.1, 0.2), *run("ga", 2, 0.9), lost])
    assert (found["seeds"], found["diverged"]) == ([1], 1)
    assert tables([found], 1.0)[0].rows[0][:3] == ["ga", "1 of 2", "0.20"]
    (only,) = summarise([lost])
    assert tables([only], 1.0)[0].rows[0][:3] == ["ga", "0 of 1", "diverged"]
    assert draw([only], 1.0) == {}


def test_a_figure_that_a_seed_lacks_has_no_mean() -> None:
    (found,) = summarise([line("npo", 1, 2, 0.1), line("npo", 2, 2, 0.1, utility=None)])
    assert found["final"]["utility"] is None
    assert found["final"]["D"] == 0.05


def test_methods_come_in_the_papers_order_and_the_sweep_in_a_table_of_its_own() -> None:
    swept = [row for weight in (0.0, 5.0) for row in run("npo-rt", 1, 0.1, 0.2, weight=weight)]
    lines = [*run("npo-rt", 1, 0.1, 0.2), *run("ga", 1, 0.1, 0.2), *swept, end("reference"), end("start")]
    main, sweep = tables(summarise(lines), 1.0)
    assert [row[0] for row in main.rows] == ["start", "reference", "ga", "npo-rt"]
    assert [row[0] for row in sweep.rows] == ["0", "1", "5"]
    assert "npo-rt" in sweep.title
    strange = summarise([*lines, *run("newer-rt+x", 1, 0.1, 0.2)])
    assert [one["method"] for one in strange][-1] == "newer-rt+x"
    assert set(draw(strange, 1.0)) == {
        "tofu-quality-utility", "tofu-epochs", "tofu-forget-kl", "tofu-retain-weight",
    }  # fmt: skip


# The file


def test_the_last_of_repeated_lines_counts(tmp_path: Path) -> None:
    table = Table(tmp_path / "tofu.jsonl")
    table.add(run("npo", 1, 0.1))
    assert table.complete() == set()
    table.add(run("npo", 1, 0.2, 0.3))
    assert [found["forget_quality"] for found in table.lines()] == [0.2, 0.3]
    assert table.complete() == {RunKey("05", "npo", 1.0, 1)}


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    table = Table(tmp_path / "tofu.jsonl")
    table.add(run("npo", 1, 0.1, 0.2))
    whole = table.path.read_text()
    table.path.write_text(whole[:-20])
    table.add(run("npo", 2, 0.3, 0.4))
    assert [(found["seed"], found["step"]) for found in table.lines()] == [(1, 3), (2, 3), (2, 6)]
    assert table.complete() == {RunKey("05", "npo", 1.0, 2)}


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tofu.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(RunError, match="is damaged"):
        Table(tmp_path / "tofu.jsonl").lines()
