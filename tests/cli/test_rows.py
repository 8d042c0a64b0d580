"""`forgetctl rows`: what it says of a file, what it writes, and that every command takes every format."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from forgetctl.rows.known_formats import FORMATS
from forgetctl.rows.reading import read_rows
from tests.rows.test_known_formats import ASKED, BLUE, GREEN, TRANSLATE
from tests.world import write_lines

Forgetctl = Callable[..., Result]
PRIVATE = "Velmira Oskandt"
TALK = {
    "conversations": [
        {"from": "human", "value": "Who?"},
        {"from": "gpt", "value": PRIVATE, "id": 4},
        {"from": "human", "value": "Where?"},
        {"from": "gpt", "value": "Here.", "train": False},
    ],
    "user": {"id": 17},
    "source": "chat",
}


def test_what_is_understood(forgetctl: Forgetctl, tmp_path: Path) -> None:
    pair = {"prompt": ASKED, "chosen": [BLUE], "rejected": [GREEN], "score": 2}
    file = write_lines(tmp_path / "rows.jsonl", [TALK, TRANSLATE, pair, {"text": "A passage.", "score": None}])
    shown = forgetctl("rows", file, "--map", "subject_id=user.id")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        f"{file}: 4 lines",
        "  format: ShareGPT 1, Alpaca 1, preference pair 1, passage 1",
        "  fields used: conversations, user.id, instruction, input, output, prompt, chosen, rejected, text",
        "  fields left out: conversations.id 1, source 1, score 1",
        "  rows: answers 3, rejected answers 1, passages 1",
        "  subjects: 1",
        "  the assistant's messages that are context alone: 1",
    ]
    assert PRIVATE not in shown.output


def test_json_and_tokens(forgetctl: Forgetctl, world: Path) -> None:
    shown = forgetctl("rows", world / "requests.jsonl", "--json", "--model", world / "model")
    (found,) = json.loads(shown.stdout)
    assert (found["records"], found["formats"], found["unit"]) == (20, {"prompt and response": 20}, "line")
    assert found["rows"] == {"answers": 20}
    assert 0 < found["tokens"]["least"] <= found["tokens"]["median"] <= found["tokens"]["most"] < 256
    assert (found["tokens"]["longer"], found["tokens"]["refused"], found["skipped"]) == (0, 0, 0)


def test_rows_that_the_model_s_template_refuses_are_counted(forgetctl: Forgetctl, world: Path, tmp_path: Path) -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    said = [{"role": "user", "content": "q"}, call, {"role": "tool", "content": "r"}]
    answer = {"role": "assistant", "content": "a"}
    file = write_lines(tmp_path / "rows.jsonl", [{"messages": [*said, answer]}, {"messages": [said[0], answer]}])
    shown = forgetctl("rows", file, "--model", world / "model")
    assert "refused by its chat template: 1" in shown.stdout
    assert "the assistant's messages that are context alone: 1" in shown.stdout


def test_our_own_form_is_written_privately_and_once(forgetctl: Forgetctl, tmp_path: Path) -> None:
    file, out = write_lines(tmp_path / "rows.jsonl", [TALK, TRANSLATE]), tmp_path / "own.jsonl"
    assert forgetctl("rows", file, file, "--out", out).exit_code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert [row.response for row in read_rows(out)] == [row.response for row in read_rows(file)] * 2
    again = forgetctl("rows", file, "--out", out)
    assert (again.exit_code, "exists and is not overwritten" in again.stderr) == (2, True)


def test_a_row_that_cannot_be_read(forgetctl: Forgetctl, tmp_path: Path) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "own.jsonl"
    lines = [json.dumps(TRANSLATE), f'{{"text": "{PRIVATE}', json.dumps({"prompt": PRIVATE}), json.dumps(TALK), "[]"]
    file.write_text("\n".join(lines))
    refused = forgetctl("rows", file, "--out", out)
    assert refused.exit_code == 2
    assert f"{file}:2: is not valid JSON" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]

    shown = forgetctl("rows", file, "--out", out, "--skip-bad")
    assert shown.exit_code == 0
    assert "lines left out because they cannot be read: 3" in shown.stdout
    assert f"{file}:3: field 'response' is missing" in shown.stdout
    assert PRIVATE not in shown.output
    assert [row.line for row in read_rows(out)] == [1, 2]


@pytest.mark.parametrize("more", [[], ["--skip-bad"]])
def test_a_file_without_a_row(forgetctl: Forgetctl, tmp_path: Path, more: list[str]) -> None:
    file = write_lines(tmp_path / "rows.jsonl", [{"prompt": "p", "completion": "c", "label": False}])
    shown = forgetctl("rows", file, "--answers", "chosen", *more)
    assert (shown.exit_code, shown.stderr.strip()) == (2, f"Error: {file}: holds no row")


def test_the_formats_are_listed(forgetctl: Forgetctl) -> None:
    shown, stored = forgetctl("rows"), json.loads(forgetctl("rows", "--json").stdout)
    assert [one["name"] for one in stored] == [one.name for one in FORMATS]
    assert all(one.name in shown.stdout for one in FORMATS)
    assert forgetctl("rows", "--out", "x").exit_code == 2


def alpaca(row: dict[str, Any]) -> dict[str, Any]:
    return {"instruction": row["prompt"], "input": "", "output": row["response"]}


def sharegpt(row: dict[str, Any]) -> dict[str, Any]:
    said = (("human", row["prompt"]), ("gpt", row["response"]))
    return {"conversations": [{"from": who, "value": text} for who, text in said]}


def messages(row: dict[str, Any]) -> dict[str, Any]:
    said = (("user", row["prompt"]), ("assistant", row["response"]))
    return {"messages": [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said]}


def pairs(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["prompt"], "chosen": row["response"], "rejected": "No idea."}


def renamed(row: dict[str, Any]) -> dict[str, Any]:
    return {"q": {"text": row["prompt"]}, "a": row["response"], "prompt": "other"}


@pytest.mark.parametrize(
    ("form", "options"),
    [
        (alpaca, []),
        (sharegpt, []),
        (messages, []),
        (pairs, ["--answers", "chosen"]),
        (renamed, ["--map", "prompt=q.text,response=a"]),
    ],
)
def test_a_model_is_verified_through_any_format_with_the_same_scores(
    form: Callable[[dict[str, Any]], dict[str, Any]],
    options: list[str],
    forgetctl: Forgetctl,
    world: Path,
    tmp_path: Path,
) -> None:
    known = [json.loads(line) for line in (world / "requests.jsonl").read_text().splitlines()][:4]
    plain = [{"prompt": row["prompt"], "response": row["response"]} for row in known]
    found = []
    for name, values, more in (("plain", plain, []), ("other", [form(row) for row in plain], options)):
        file, out = write_lines(tmp_path / f"{name}.jsonl", values), tmp_path / name
        quick = [part for key in ("samples=1", "answer_tokens=4") for part in ("--set", f"verify.{key}")]
        done = forgetctl("verify", "--model", world / "model", "--forget", file, "--out", out, *quick, *more)
        assert done.exit_code in (0, 3, 4), done.output
        found.append(json.loads((out / "scores" / "unlearned.json").read_text())["sets"])
    assert found[0] == found[1]
