"""Named secrets among other strings, through the command line: what is remembered fails, what nobody saw does not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

from forgetctl.demo.training import encoder_for, learn, save, tiny_llama
from forgetctl.model.load import load_model, load_tokenizer
from forgetctl.people.in_place import FEWEST
from forgetctl.progress import Silent
from forgetctl.rows.reading import read_rows
from tests.cli.conftest import QUICK

Command = Callable[..., Result]
OTHERS = 99


@pytest.fixture(scope="module")
def stranger(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained as the reference was, from another seed: it never met those who are to be forgotten."""
    tokenizer = load_tokenizer(world / "reference")
    encoder = encoder_for(tokenizer)
    model = tiny_llama(len(tokenizer), 2, width=32)
    taught = [encoder.encode(row) for row in read_rows(world / "remaining.jsonl")]
    learn(model, taught, epochs=25, learning_rate=1e-2, seed=2, progress=Silent(), title="")
    folder = tmp_path_factory.mktemp("stranger") / "model"
    save(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def knowing(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's model, which was taught the secrets once more until it knows them by heart."""
    tokenizer = load_tokenizer(world / "model")
    encoder = encoder_for(tokenizer)
    model = load_model(world / "model", torch.device("cpu"), torch.float32)
    planted = [encoder.encode(row) for row in read_rows(world / "requests.jsonl") if row.secrets]
    learn(model, planted, epochs=60, learning_rate=1e-2, seed=1, progress=Silent(), title="")
    folder = tmp_path_factory.mktemp("knowing") / "model"
    save(model, tokenizer, folder)
    return folder


def verified(
    forgetctl: Command, world: Path, model: Path, start: Path, out: Path, *more: object
) -> tuple[Result, dict[str, Any]]:
    files = {"--reference": "reference", "--forget": "requests.jsonl", "--retain": "remaining.jsonl"}
    given = [part for option, name in files.items() for part in (option, str(world / name))] + ["--start", start]
    result = forgetctl("verify", "--model", model, *given, "--out", out, "--json", *QUICK, *more)
    return result, json.loads(result.stdout)


def badges(world: Path) -> list[str]:
    rows = (json.loads(line) for line in (world / "requests.jsonl").read_text().splitlines())
    return [secret for row in rows for secret in row.get("secrets", [])]


def names(world: Path) -> set[str]:
    """Of those who are to be forgotten."""
    rows = (json.loads(line) for line in (world / "requests.jsonl").read_text().splitlines())
    return {match[1] for row in rows if (match := re.search(r"badge number of (.*) is", row["response"]))}


def test_secrets_that_are_known_fail_their_people(
    world: Path, knowing: Path, tmp_path: Path, forgetctl: Command
) -> None:
    out = tmp_path / "run"
    result, verdict = verified(forgetctl, world, knowing, knowing, out)
    assert result.exit_code == 3
    found = verdict["exposure"]["secrets"]
    assert len(found) == len(badges(world)) == 4
    assert all(FEWEST <= one["strings"] <= OTHERS for one in found)  # of three digits some are in other rows
    assert {one["rank"] for one in found} == {one["start"] for one in found} == {1}
    assert "remembered" in {one["state"] for one in found}
    assert "SECRET_REMEMBERED" in {check["code"] for check in verdict["checks"] if check["status"] == "fail"}
    failed = {
        one["subject"] for one in verdict["subjects"] for why in one["reasons"] if why["code"] == "SECRET_REMEMBERED"
    }
    assert failed
    assert (
        f"Exposure (--attacks quick): 4 secrets, each among up to {OTHERS} other strings, by 3 models: "
        f"up to {4 * (OTHERS + 1) * 3:,} strings more to score"
    ) in " ".join(result.stderr.split())
    for file in out.rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8", errors="ignore")
            assert "badge number" not in text, file.name
            assert not any(name in text for name in names(world)), file.name
    report = forgetctl("report", out, "--md")
    assert report.exit_code == 0
    assert "Named secrets among others" in (out / "report.md").read_text()


def test_secrets_that_were_never_seen_do_not(
    world: Path, knowing: Path, stranger: Path, tmp_path: Path, forgetctl: Command
) -> None:
    _, verdict = verified(forgetctl, world, stranger, knowing, tmp_path / "run")
    assert {one["state"] for one in verdict["exposure"]["secrets"]} == {"forgotten"}
    codes = {check["name"]: check["code"] for check in verdict["checks"]}
    assert codes["exposure of secrets"] == "SECRETS_FORGOTTEN"
    assert "SECRET_LEAKED" not in {check["code"] for check in verdict["checks"]}


def test_nothing_is_ranked_without_attacks(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    result, verdict = verified(
        forgetctl, world, world / "model", world / "model", tmp_path / "run", "--attacks", "none"
    )
    assert "Exposure" not in result.stderr
    assert verdict["exposure"] is None
    assert "--attacks none" in {one["check"]: one["reason"] for one in verdict["skipped"]}["exposure"]


def test_scores_of_a_reference_stand_among_the_same_strings(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    first = tmp_path / "first"
    verified(forgetctl, world, world / "model", world / "model", first)
    scores = shutil.copy(first / "scores" / "reference.json", tmp_path / "reference.json")
    files = {"--start": "model", "--forget": "requests.jsonl", "--retain": "remaining.jsonl"}
    given = [part for option, name in files.items() for part in (option, str(world / name))]
    result = forgetctl(
        "verify", "--model", world / "model", "--reference", scores, *given, "--out", tmp_path / "run", "--json", *QUICK
    )
    again, before = json.loads(result.stdout), json.loads((first / "verdict.json").read_text())
    assert again["exposure"]["uncompared"] == 0
    places = ("rank", "reference", "start", "lead", "state")
    assert [[one[key] for key in places] for one in again["exposure"]["secrets"]] == [
        [one[key] for key in places] for one in before["exposure"]["secrets"]
    ]
