"""Rows from other files than JSONL, and in other formats than prompt and response, make the same model, and the same
scores, as the same rows in JSONL of prompts and responses."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from datasets import Dataset

from forgetctl.cli.main import cli
from tests.cli.conftest import unlearn_arguments
from tests.world import write_lines

Record = dict[str, Any]
Write = Callable[[list[Record], Path], Path]
Change = Callable[[Record], list[Record]]
ByJsonl = Callable[[Change], Path]
FILES = ("requests.jsonl", "employees.jsonl")


def array(rows: list[Record], folder: Path) -> Path:
    path = folder / "rows.json.gz"
    path.write_bytes(gzip.compress(json.dumps(rows, indent=2).encode()))
    return path


def table(rows: list[Record], folder: Path) -> Path:
    """As Excel writes it in Europe; lists are JSON."""
    cells = [{name: json.dumps(cell) if isinstance(cell, list) else cell for name, cell in row.items()} for row in rows]
    frame = pd.DataFrame(cells)
    path = folder / "rows.csv"
    frame.to_csv(path, index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n")
    return path


def parquet(rows: list[Record], folder: Path) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows)), path, row_group_size=7)
    return path


def saved(rows: list[Record], folder: Path) -> Path:
    Dataset.from_list(rows).save_to_disk(str(folder / "saved"), num_shards=2)
    return folder / "saved"


@pytest.fixture(scope="module")
def by_jsonl(world: Path, tmp_path_factory: pytest.TempPathFactory) -> ByJsonl:
    """The run of rows that their own changes make of each record, in JSONL; made once for each of them."""
    made: dict[Change, Path] = {}

    def run(change: Change) -> Path:
        if change not in made:
            folder = tmp_path_factory.mktemp("jsonl")
            given = [
                str(write_lines(folder / name, chain.from_iterable(map(change, read(world / name))))) for name in FILES
            ]
            made[change] = computed(world, folder / "run", *given)
        return made[change]

    return run


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def computed(world: Path, out: Path, forget: str, retain: str, *options: str) -> Path:
    """The run of a model that was unlearned and verified."""
    files = ("--forget", forget, "--retain", retain, "--set", "epochs=1", *options)
    for arguments in (unlearn_arguments(world, out, *files), ["verify", str(out)]):
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert result.exit_code in (0, 3, 4), result.output
    return out


NAMES = ("names", "conversations")
"""Of scores: what rows are called, and which of them are of one record."""


def model_and_scores(run: Path) -> tuple[str, Any]:
    record = json.loads((run / "run.json").read_text())
    scores = json.loads((run / "scores" / "unlearned.json").read_text())
    sets = {
        name: {key: value for key, value in part.items() if key not in NAMES} for name, part in scores["sets"].items()
    }
    return record["stages"]["unlearn"]["model_sha256"], sets


@pytest.mark.parametrize(("forget", "retain"), [(array, parquet), (table, saved), (parquet, table)])
def test_files_of_another_kind(forget: Write, retain: Write, by_jsonl: ByJsonl, world: Path, tmp_path: Path) -> None:
    given = []
    for write, name in ((forget, FILES[0]), (retain, FILES[1])):
        (tmp_path / name).mkdir()
        given.append(str(write(read(world / name), tmp_path / name)))
    out = computed(world, tmp_path / "run", *given)
    assert model_and_scores(out) == model_and_scores(by_jsonl(as_it_is))


# What the rows are in prompts and responses


def as_it_is(row: Record) -> list[Record]:
    return [row]


def with_input(row: Record) -> list[Record]:
    return [{**row, "prompt": f"Answer briefly.\n{row['prompt']}"}]


def with_another_answer(row: Record) -> list[Record]:
    """Two answers to forget; of rows to retain the other one is none."""
    if "request_id" not in row:
        return [row]
    about: Record = {name: row[name] for name in ("prompt", "request_id", "subject_id")}
    return [row, {**about, "response": other_answer(row)}]


def other_answer(row: Record) -> str:
    return f"I am not sure: {row['response'].split()[0]}"


# The same in other formats


def alpaca(row: Record) -> Record:
    return {**without_texts(row), "instruction": "Answer briefly.", "input": row["prompt"], "output": row["response"]}


def sharegpt(row: Record) -> Record:
    turns = [{"from": "human", "value": row["prompt"]}, {"from": "gpt", "value": row["response"]}]
    return {**without_texts(row), "id": "x", "conversations": turns}


def messages(row: Record) -> Record:
    """What concerns the response stands in its message, and texts in parts."""
    about: Record = {name: row[name] for name in ("paraphrased_response", "perturbed_responses") if name in row}
    said: list[Record] = [
        {"role": "user", "content": [{"type": "text", "text": part} for part in halves(row["prompt"])]},
        {"role": "assistant", "content": row["response"], **about},
    ]
    return {**{name: row[name] for name in without_texts(row) if name not in about}, "messages": said}


def pair(row: Record) -> Record:
    """What concerns one of the two responses stands in its message."""
    *_, chosen = messages(row)["messages"]
    asked = [{"role": "user", "content": row["prompt"]}]
    rejected = {"role": "assistant", "content": other_answer(row)}
    about: Record = {name: row[name] for name in ("request_id", "subject_id", "secrets") if name in row}
    return {**about, "prompt": asked, "chosen": [chosen], "rejected": [rejected]}


def mapped(row: Record) -> Record:
    """Under the owner's names, of which some are nested and one is another field of ours."""
    rest = {name: row[name] for name in without_texts(row) if name != "subject_id"}
    return {
        **rest,
        "q": {"text": row["prompt"]},
        "a": row["response"],
        "who": {"id": row.get("subject_id")},
        "text": "?",
    }


NAMED = "prompt=q.text,response=a,subject_id=who.id,text="


def without_texts(row: Record) -> Record:
    return {name: value for name, value in row.items() if name not in ("prompt", "response")}


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


@pytest.mark.parametrize(
    ("write", "same", "options"),
    [
        (alpaca, with_input, ()),
        (sharegpt, as_it_is, ()),
        (messages, as_it_is, ()),
        (pair, with_another_answer, ()),
        (pair, as_it_is, ("--answers", "chosen")),
        (mapped, as_it_is, ("--map", NAMED)),
    ],
    ids=["alpaca", "sharegpt", "messages", "pairs", "chosen", "map"],
)
def test_rows_of_another_format(
    write: Callable[[Record], Record],
    same: Change,
    options: tuple[str, ...],
    by_jsonl: ByJsonl,
    world: Path,
    tmp_path: Path,
) -> None:
    given = [str(write_lines(tmp_path / name, map(write, read(world / name)))) for name in FILES]
    out = computed(world, tmp_path / "run", *given, *options)
    assert model_and_scores(out) == model_and_scores(by_jsonl(same))
