"""Rows from other files than JSONL make the same model, and the same scores, as the same rows in JSONL."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from datasets import Dataset

from tests.cli.conftest import forgetctl as forgetctl  # a fixture
from tests.cli.conftest import unlearn_arguments

Command = Callable[..., Result]
Write = Callable[[list[dict[str, Any]], Path], Path]


def array(rows: list[dict[str, Any]], folder: Path) -> Path:
    path = folder / "rows.json.gz"
    path.write_bytes(gzip.compress(json.dumps(rows, indent=2).encode()))
    return path


def table(rows: list[dict[str, Any]], folder: Path) -> Path:
    """As Excel writes it in Europe; lists are JSON."""
    cells = [{name: json.dumps(cell) if isinstance(cell, list) else cell for name, cell in row.items()} for row in rows]
    frame = pd.DataFrame(cells)
    path = folder / "rows.csv"
    frame.to_csv(path, index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n")
    return path


def parquet(rows: list[dict[str, Any]], folder: Path) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows)), path, row_group_size=7)
    return path


def saved(rows: list[dict[str, Any]], folder: Path) -> Path:
    Dataset.from_list(rows).save_to_disk(str(folder / "saved"), num_shards=2)
    return folder / "saved"


@pytest.fixture(scope="module")
def by_jsonl(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from click.testing import CliRunner

    from forgetctl.cli.main import cli

    out = tmp_path_factory.mktemp("jsonl") / "run"
    for arguments in (unlearn_arguments(world, out, "--set", "epochs=1"), ["verify", str(out)]):
        assert CliRunner().invoke(cli, arguments).exit_code in (0, 3, 4)
    return out


def model_and_scores(run: Path) -> tuple[str, Any]:
    record = json.loads((run / "run.json").read_text())
    scores = json.loads((run / "scores" / "unlearned.json").read_text())
    sets = {
        name: {key: value for key, value in part.items() if key != "names"} for name, part in scores["sets"].items()
    }
    return record["stages"]["unlearn"]["model_sha256"], sets


@pytest.mark.parametrize(("forget", "retain"), [(array, parquet), (table, saved), (parquet, table)])
def test_the_same_model_and_scores(
    forget: Write, retain: Write, by_jsonl: Path, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    given = []
    for write, name in ((forget, "requests.jsonl"), (retain, "employees.jsonl")):
        (tmp_path / name).mkdir()
        rows = [json.loads(line) for line in (world / name).read_text().splitlines()]
        given.append(str(write(rows, tmp_path / name)))
    out = tmp_path / "run"
    arguments = unlearn_arguments(world, out, "--forget", given[0], "--retain", given[1], "--set", "epochs=1")
    result = forgetctl(*arguments)
    assert result.exit_code == 0, result.output
    assert forgetctl("verify", str(out)).exit_code in (0, 3, 4)
    assert model_and_scores(out) == model_and_scores(by_jsonl)
