"""A request that marks parts of its responses, from the file to the verdict, the report and the proof."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median_high
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from forgetctl.cli.main import cli
from forgetctl.demo.people import TEMPLATES
from forgetctl.model.encoding import Encoded, Encoder, encode_rows
from forgetctl.model.load import load_model
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


FACT = re.compile("|".join(one.answer.format(name=".*", value="(.*)") for one in TEMPLATES))


def marked(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the world with the fact of its response marked: the town, the team, the badge number."""
    match = FACT.fullmatch(row["response"])
    assert match is not None
    assert match.lastindex is not None
    return {**{key: row[key] for key in OWN if key in row}, "spans": [list(match.span(match.lastindex))]}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def unlearning(world: Path, forget: Path, out: Path, *more: str) -> list[str]:
    files = {"--model": world / "model", "--forget": forget, "--retain": world / "employees.jsonl", "--out": out}
    return ["unlearn", *(str(part) for pair in files.items() for part in pair), *SETTINGS, "--approve", "common", *more]


@pytest.fixture(scope="module")
def folder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the request, and two runs: `marked`, and `whole` of the same rows without spans."""
    folder = tmp_path_factory.mktemp("spans")
    asked = list(map(marked, lines(world / "requests.jsonl")))
    write_lines(folder / "marked.jsonl", asked)
    write_lines(folder / "whole.jsonl", ({key: row[key] for key in OWN if key in row} for row in asked))
    for name in ("marked", "whole"):
        done = CliRunner().invoke(cli, unlearning(world, folder / f"{name}.jsonl", folder / name))
        assert done.exit_code == 0, done.output
    return folder


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
    assert facts["whole"] < facts["start"] - 0.5
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
        assert forget["answer_tokens"] == forget["paraphrase_tokens"] == [median_high(tokens)] * len(tokens)
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


@pytest.fixture(scope="module")
def unseen(strangers: Path, folder: Path) -> Path:
    """Rows that nobody saw, marked as the request."""
    return write_lines(folder / "unseen.jsonl", map(marked, lines(strangers)))


def last_logp(run: Path) -> float:
    return float(json.loads((run / "log.jsonl").read_text().splitlines()[-1])["forget_logp_per_token"])


def test_levels_are_those_of_marked_parts(
    folder: Path, unseen: Path, world: Path, encoder: Encoder, tmp_path: Path, forgetctl: Command
) -> None:
    """A calibrated run ends nearer to its levels than one without; it is judged by marked parts of unseen rows."""
    run, holdout = tmp_path / "run", ("--holdout", str(unseen))
    made = forgetctl(*unlearning(world, folder / "marked.jsonl", run, *holdout, "--approve", "unknown"))
    assert made.exit_code == 0, made.output
    goal = float(np.mean(json.loads((run / "levels.json").read_text())["levels"]))
    assert abs(last_logp(run) - goal) < abs(last_logp(folder / "marked") - goal)
    verified = forgetctl("verify", run, *holdout)
    assert verified.exit_code in (0, 3, 4), verified.output
    scored = json.loads((run / "scores" / "unlearned.json").read_text())["sets"]["holdout"]["answer_tokens"]
    assert set(scored) <= {encoder.encode(row).tokens for row in read_rows(unseen)}


def test_a_holdout_without_spans_is_refused(
    folder: Path, strangers: Path, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    asked = unlearning(world, folder / "marked.jsonl", tmp_path / "run", "--holdout", str(strangers))
    for command in (asked, ("verify", folder / "marked", "--holdout", strangers)):
        refused = forgetctl(*command)
        assert refused.exit_code == 2
        assert f"{strangers}: no row has spans, and rows to forget have" in refused.stderr


def test_a_dry_run_shows_what_is_marked(folder: Path, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    shown = forgetctl(*unlearning(world, folder / "marked.jsonl", tmp_path / "run", "--dry-run"))
    assert shown.exit_code == 0, shown.output
    assert "Of 20 of 20 forget rows only the spans are forgotten; the rest, " in " ".join(shown.stderr.split())
    alone = forgetctl(*unlearning(world, folder / "marked.jsonl", tmp_path / "run", "--dry-run", "--method", "npo"))
    assert "is left to itself: npo has no term on retain rows" in " ".join(alone.stderr.split())


def test_a_later_run_is_judged_by_what_an_earlier_one_was_to_forget(
    folder: Path, verified: Path, forgetctl: Command
) -> None:
    """`--also`: the marked tokens of the earlier request again."""
    judged = forgetctl("verify", folder / "whole", "--also", verified)
    assert judged.exit_code in (0, 3, 4), judged.output
    scores = {
        when: json.loads((folder / "whole" / "scores" / f"unlearned-{when}1.json").read_text())["sets"]["earlier"]
        for when in ("then", "now")
    }
    assert scores["now"]["answer_tokens"] == scores["then"]["answer_tokens"]
    assert scores["now"]["answer_logp"] != scores["then"]["answer_logp"]


def test_terms_that_answer_anew_take_no_spans(world: Path, folder: Path, tmp_path: Path, forgetctl: Command) -> None:
    for method in ("dpo-rt", "idk-rt"):
        refused = forgetctl(*unlearning(world, folder / "marked.jsonl", tmp_path / "run", "--method", method))
        assert refused.exit_code == 2
        why = f"has spans, and {method} teaches a refusal in place of the whole response"
        assert f"marked.jsonl:1: {why}" in refused.stderr
    assert not (tmp_path / "run").exists()
