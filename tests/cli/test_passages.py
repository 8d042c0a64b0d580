"""Passages longer than the model's context, from the request to the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median_high
from typing import Any

import pytest
from click.testing import Result

from forgetctl.demo.training import encoder_for
from forgetctl.model.coarse_scores import length_class
from forgetctl.model.encoding import encode_rows
from forgetctl.model.load import load_tokenizer
from forgetctl.model.windows import row_tokens
from forgetctl.rows.reading import read_rows
from tests.cli.conftest import SETTINGS

Command = Callable[..., Result]
CONTEXT = 256


@pytest.fixture
def request_file(world: Path, tmp_path: Path) -> Path:
    """Two passages of all that is known of people, which do not fit, and one that does."""
    rows = [json.loads(line) for line in (world / "employees.jsonl").read_text().splitlines()]
    texts = [" ".join(f"{row['prompt']} {row['response']}" for row in rows[start : start + 45]) for start in (0, 35)]
    file = tmp_path / "passages.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in (*texts, "Nobody lives here.")))
    return file


def unlearning(world: Path, forget: Path, out: Path, *more: str) -> list[str]:
    files = {"--model": world / "model", "--forget": forget, "--retain": world / "employees.jsonl", "--out": out}
    parts = [str(part) for pair in files.items() for part in pair]
    return ["unlearn", *parts, *SETTINGS, "--set", "epochs=1", *more]


def test_from_the_request_to_the_verdict(world: Path, request_file: Path, tmp_path: Path, forgetctl: Command) -> None:
    run = tmp_path / "run"
    made = forgetctl(*unlearning(world, request_file, run))
    assert made.exit_code == 0, made.output
    encoder = encoder_for(load_tokenizer(world / "model"))
    encoded, _ = encode_rows(encoder, read_rows(request_file), request_file, CONTEXT, None)
    assert len(encoded) > 6
    assert json.loads((run / "start.json").read_text())["tokens"] == [window.tokens for window in encoded]
    forget: dict[str, Any] = json.loads((run / "run.json").read_text())["inputs"]["forget"]
    assert (forget["rows"], forget["cut"], forget["windows"]) == (3, 0, len(encoded))
    verified = forgetctl("verify", run, "--reference", world / "reference", "--deep")
    assert verified.exit_code in (3, 4), verified.output
    assert (
        f"2 of 3 forget rows are passages longer than a window: cut into {len(encoded) - 1} windows" in verified.stderr
    )
    for name in ("start", "unlearned", "reference", "unlearned-relearned"):
        scores = json.loads((run / "scores" / f"{name}.json").read_text())["sets"]["forget"]
        tokens = row_tokens(encoded)
        assert tokens == [encoder.encode(row).tokens for row in read_rows(request_file)]
        assert scores["answer_tokens"] == [length_class(count, median_high(tokens)) for count in tokens]
        assert len(scores["answer_logp"]) == 3


def test_a_dry_run_counts_the_windows(world: Path, request_file: Path, tmp_path: Path, forgetctl: Command) -> None:
    arguments = unlearning(world, request_file, tmp_path / "run", "--dry-run", "--json")
    facts = [
        json.loads(forgetctl(*arguments, *more).stdout)["windows"]
        for more in (
            (),
            ("--set", "passages.window=64"),
            ("--set", "passages.window=64", "--set", "passages.overlap=0.5"),
        )
    ]
    assert facts[0] < facts[1] < facts[2]


@pytest.mark.parametrize("method", ["kto", "dpo-rt", "idk-rt"])
def test_terms_that_answer_anew_take_no_windows(
    method: str, world: Path, request_file: Path, tmp_path: Path, forgetctl: Command
) -> None:
    """A window that begins in the middle of a passage has no question to refuse."""
    result = forgetctl(*unlearning(world, request_file, tmp_path / "run", "--method", method))
    assert result.exit_code == 2
    assert f"passages.jsonl: holds passages longer than a window, which {method} cannot unlearn" in result.stderr
    assert not (tmp_path / "run").exists()
