"""A request that marks parts of its responses, from the file to the verdict, the report and the proof."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from forgetctl.cli.main import cli
from forgetctl.demo.people import TEMPLATES
from forgetctl.demo.training import encoder_for
from forgetctl.model.encoding import Encoded, Encoder, encode_rows
from forgetctl.model.load import load_model, load_tokenizer
from forgetctl.model.rests import unmarked
from forgetctl.model.scoring import score
from forgetctl.rows.reading import read_rows
from forgetctl.rows.row import Row
from forgetctl.runs.commitments import find_row, read_key
from forgetctl.runs.run import Run
from tests.cli.conftest import SETTINGS
from tests.world import write_lines

Command = Callable[..., Result]
OWN = ("prompt", "response", "subject_id", "secrets")


def with_spans(world: Path) -> list[dict[str, Any]]:
    """The world's request with the fact of each response marked: the town, the team, the badge number."""
    rows = []
    for number, line in enumerate((world / "requests.jsonl").read_text().splitlines()):
        row = {key: value for key, value in json.loads(line).items() if key in OWN}
        start, end = TEMPLATES[number % len(TEMPLATES)].answer.split("{value}")
        name = next(iter(part for part in start.split("{name}") if part), "")
        begin = row["response"].index(name) + len(name)
        rows.append({**row, "spans": [[begin, len(row["response"]) - len(end)]]})
    return rows


def unlearning(world: Path, forget: Path, out: Path, *more: str) -> list[str]:
    files = {"--model": world / "model", "--forget": forget, "--retain": world / "employees.jsonl", "--out": out}
    return ["unlearn", *(str(part) for pair in files.items() for part in pair), *SETTINGS, "--approve", "common", *more]


@pytest.fixture(scope="module")
def folder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the request, and two runs: `marked`, and `whole` of the same rows without spans."""
    folder = tmp_path_factory.mktemp("spans")
    marked = with_spans(world)
    write_lines(folder / "marked.jsonl", marked)
    write_lines(folder / "whole.jsonl", ({key: row[key] for key in OWN if key in row} for row in marked))
    for name in ("marked", "whole"):
        done = CliRunner().invoke(cli, unlearning(world, folder / f"{name}.jsonl", folder / name))
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def encoder(world: Path) -> Encoder:
    return encoder_for(load_tokenizer(world / "model"))


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[Row]:
    return read_rows(folder / "marked.jsonl")


def per_token(model: Path, rows: Sequence[Encoded]) -> float:
    loaded = load_model(model, torch.device("cpu"), torch.float32)
    return float(np.sum(score(loaded, rows)) / sum(row.tokens for row in rows))


def test_what_is_marked_is_forgotten_and_the_rest_is_kept(
    world: Path, folder: Path, rows: list[Row], encoder: Encoder
) -> None:
    """Nats a token: of the marked tokens and of the others, before, after, and after a run that marks nothing."""
    own = [encoder.encode(row) for row in rows]
    rests, _ = encode_rows(encoder, rows, folder, None, None, part=unmarked)
    plain = [encoder.encode(row.answering(row.response)) for row in rows]
    assert sum(row.tokens for row in (*own, *rests)) == sum(row.tokens for row in plain)
    models = {"start": world / "model", **{name: folder / name / "model" for name in ("marked", "whole")}}
    facts, others = ({name: per_token(model, part) for name, model in models.items()} for part in (own, rests))
    assert facts["marked"] < facts["start"] - 1.2
    assert facts["whole"] < facts["start"] - 1.2
    assert others["marked"] > others["start"] - 0.15
    assert others["whole"] < others["start"] - 0.5


def test_the_run_scores_what_is_marked(folder: Path, rows: list[Row], encoder: Encoder) -> None:
    tokens = json.loads((folder / "marked" / "start.json").read_text())["tokens"]
    assert tokens == [encoder.encode(row).tokens for row in rows]
    inputs = json.loads((folder / "marked" / "run.json").read_text())["inputs"]["forget"]
    assert (inputs["rows"], inputs["marked"]) == (20, 20)
    assert json.loads((folder / "whole" / "run.json").read_text())["inputs"]["forget"]["marked"] == 0


@pytest.fixture(scope="module")
def verified(world: Path, folder: Path) -> Path:
    run = folder / "marked"
    done = CliRunner().invoke(cli, ["verify", str(run), "--reference", str(world / "reference"), "--deep"])
    assert done.exit_code in (0, 3, 4), done.output
    return run


def test_the_verdict_is_of_what_is_marked(verified: Path, rows: list[Row], encoder: Encoder) -> None:
    """Every score of the request, also of wrong answers, which say something else in the same places."""
    tokens = [encoder.encode(row).tokens for row in rows]
    for name in ("unlearned", "reference"):
        one = json.loads((verified / "scores" / f"{name}.json").read_text())
        forget = one["sets"]["forget"]
        assert one["perturbed"] == "nearest answers"
        assert forget["answer_tokens"] == forget["paraphrase_tokens"] == tokens
        assert max(count for row in forget["perturbed_tokens"] for count in row) <= max(tokens)
        assert all(count is None for mode in forget["elicited"].values() for count in mode["whole"])
    verdict = json.loads((verified / "verdict.json").read_text())
    assert {one["name"] for one in verdict["distances"]} >= {"truth ratio", "answer log-prob"}


def test_the_report_says_that_only_parts_were_forgotten(verified: Path, forgetctl: Command) -> None:
    assert forgetctl("report", verified, "--html").exit_code == 0
    text = (verified / "report.html").read_text()
    assert "Of 20 of 20 rows only the parts that the request marks were to be forgotten" in text


def test_the_commitments_bind_the_spans(folder: Path, rows: list[Row]) -> None:
    """Whoever proves that a row was in the request must know what of it was to be forgotten."""
    keys = {run: [read_key(file) for file in Run(folder / run).row_keys.iterdir()] for run in ("marked", "whole")}
    committed = {run: json.loads(Run(folder / run).commitments_file.read_text()) for run in keys}
    proofs = [
        [find_row(committed[run], key, row) is not None for row in (rows[3], rows[3].answering(rows[3].response))]
        for run, (key,) in keys.items()
    ]
    assert proofs == [[True, False], [False, True]]


def test_terms_that_answer_anew_take_no_spans(world: Path, folder: Path, tmp_path: Path, forgetctl: Command) -> None:
    for method in ("dpo-rt", "idk-rt"):
        refused = forgetctl(*unlearning(world, folder / "marked.jsonl", tmp_path / "run", "--method", method))
        assert refused.exit_code == 2
        why = f"has spans, and {method} teaches a refusal in place of the whole response"
        assert f"marked.jsonl:1: {why}" in refused.stderr
    assert not (tmp_path / "run").exists()
