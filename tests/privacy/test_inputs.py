"""No text of a row, whatever file and format it comes from, is left in a cache, a temporary file, a run or an error."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from tests.privacy.canaries import Planted, canary, found_below, found_in
from tests.privacy.conftest import SETTINGS, Command, run
from tests.world import write_lines

TEXTS: dict[str, str] = {}


def text(place: str) -> str:
    TEXTS[place] = canary(place)
    return f"{TEXTS[place]} is the word"


def talk() -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": text("argument")})}}
    messages = [
        {"role": "system", "content": text("system")},
        {"role": "user", "content": [{"type": "text", "text": text("part")}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": text("result")},
        {"role": "assistant", "content": text("answer"), "note": text("unknown field")},
    ]
    return {"messages": messages, "subject_id": text("subject"), "secrets": [text("secret")]}


def alpaca() -> dict[str, Any]:
    return {"instruction": text("instruction"), "input": text("input"), "output": text("output")}


def pair() -> dict[str, Any]:
    return {"prompt": text("asked"), "chosen": text("chosen"), "rejected": text("rejected")}


BAD = [
    {"messages": [{"role": "user", "content": text("bad message")}, {"role": text("bad role"), "content": "x"}]},
    {"prompt": text("bad prompt"), "completion": {"role": "assistant", "content": {"a": text("bad content")}}},
    {"instruction": text("bad instruction"), "output": text("bad output"), "images": [text("bad image")]},
    {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": text("bad call")}}]}]},
]


def as_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    lines = [",".join(names), *(",".join(json.dumps(row[name], ensure_ascii=False) for name in names) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    """A column has one type, so texts in parts become plain ones."""
    for message in (message for row in rows for message in row.get("messages", ())):
        if isinstance(message["content"], list):
            message["content"] = message["content"][0]["text"]
    return pa.Table.from_pylist(rows)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Any]] = {
    "rows.jsonl": write_lines,
    "rows.json": lambda path, rows: path.write_text(json.dumps(rows)),
    "rows.csv": as_csv,
    "rows.jsonl.gz": lambda path, rows: path.write_bytes(
        gzip.compress("\n".join(map(json.dumps, rows)).encode(), mtime=0)
    ),
    "rows.parquet": lambda path, rows: parquet.write_table(as_table(rows), path),
    "rows.arrow": lambda path, rows: feather.write_feather(as_table(rows), path),
}


def check_clean(folder: Path, commands: list[Command], owned: list[Path], texts: dict[str, str]) -> list[int]:
    """The exit codes, once nothing was found outside of the owner's files."""
    nothing = Path()
    trial = run(folder, Planted(nothing, nothing, nothing, nothing, nothing, texts), commands)
    assert found_below(folder, texts, [*owned, folder / "commands.json"]) == {}
    assert found_in(trial.output.encode(), texts) == set()
    assert "NETWORK" not in trial.output
    return trial.exits


def test_no_container_and_no_format_leaves_text_behind(tmp_path: Path) -> None:
    commands: list[Command] = []
    owned = []
    for name, write in WRITERS.items():
        for rows in ([talk()], [alpaca()], [pair()]):
            if name == "rows.csv" and "messages" in rows[0]:
                continue
            file = tmp_path / f"{len(owned)}-{name}"
            write(file, rows)
            owned += [file, tmp_path / f"own-{len(owned)}.jsonl"]
            commands.append((["rows", str(file), "--out", str(owned[-1]), "-v"], None))
    refused = [write_lines(tmp_path / f"bad-{number}.jsonl", [row]) for number, row in enumerate(BAD)]
    commands += [(["rows", str(file), "-v"], None) for file in refused]
    exits = check_clean(tmp_path, commands, [*owned, *refused], dict(TEXTS))
    assert exits == [0] * (len(commands) - len(BAD)) + [2] * len(BAD)


@pytest.mark.parametrize("kind", ["rows.parquet", "folder"])
def test_a_run_on_such_files_leaves_none_either(kind: str, world: Path, tmp_path: Path) -> None:
    """Nor the name of a file in a folder, which may say whom it is about."""
    name = canary("file name")
    forget = tmp_path / (kind if kind != "folder" else "people")
    said = [("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")]
    rows = [
        {
            "messages": [
                {"role": role, "content": text(f"{kind} {place} {turn}")} for turn, (role, place) in enumerate(said)
            ]
        }
        for _ in range(2)
    ]
    if kind == "folder":
        forget.mkdir()
        owned = [write_lines(forget / f"{name}.jsonl", rows)]
    else:
        WRITERS[kind](forget, rows)
        owned = [forget]
    retain = tmp_path / "kept.csv"
    known = (world / "employees.jsonl").read_text().splitlines()[20:40]
    as_csv(retain, [json.loads(line) for line in known])
    arguments = ["--model", str(world / "model"), "--forget", str(forget), "--retain", str(retain)]
    commands: list[Command] = [(["unlearn", *arguments, "--out", "runs/a", *SETTINGS, "-v"], None)]
    texts = {place: value for place, value in TEXTS.items() if place.startswith(kind)}
    assert check_clean(tmp_path, commands, [*owned, retain], texts) == [0]
    for path in (tmp_path / "runs").rglob("*"):
        assert path.is_dir() or name.encode() not in path.read_bytes(), path
    scores = json.loads((tmp_path / "runs/a/commitments.json").read_text())["requests"][0]["rows"]
    assert [row["row"] for row in scores][:2] == [f"{'1:' * (kind == 'folder')}1, turn {turn}" for turn in (1, 2)]
