"""A finished and verified run made by hand, without a model: records, scores and a verdict that follows from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from forgetctl.files.writing import file_digest, model_digest, now, write_json
from forgetctl.recipe.bounds import Bounds
from forgetctl.recipe.recipe import load_recipe
from forgetctl.rows.row import Row
from forgetctl.runs.commitments import Part
from forgetctl.runs.run import Run
from forgetctl.verify.basis import bounds_of, store
from forgetctl.verify.collected import Tracked
from forgetctl.verify.judge import conclude
from forgetctl.verify.record import Given, Verdict
from tests.verify.verdicts import complete

PERSONAL = "Velmira Oskandt lives at Quillfeather Lane"
COUNT = 40
INPUTS = [
    {"role": "start", "name": "start", "kind": "model", "sha256": "ab"},
    {"role": "reference", "name": "reference", "kind": "model", "sha256": "ab"},
    {"role": "rephrased", "name": "a.jsonl", "kind": "rows", "commitment": "hmac-sha256:" + "cd" * 32},
]
TERMS = [{"name": name, "weight": 1, "formula": "-logp", "source": "a paper"} for name in ("npo", "rt")]
FLAG = {"rule": "common", "rows": 1, "of": COUNT, "lines": [3], "figure": "of 4 words", "stops": True}
BOUNDS = Bounds().model_dump()


def request_rows(count: int = COUNT) -> list[Row]:
    return [
        Row(n, (("user", f"Who is person {n}?"),), f"{PERSONAL} {n}.", request_id=f"r{n % 2}")
        for n in range(1, count + 1)
    ]


def write_request(path: Path, rows: Sequence[Row]) -> Path:
    lines = ({"prompt": row.prompt, "response": row.response, "request_id": row.request_id} for row in rows)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def verified_run(folder: Path, name: str = "one", count: int = COUNT) -> Run:
    """folder/runs/<name>, about the rows of folder/request.jsonl. Another count makes another run of it throughout."""
    rows = request_rows(count)
    request = write_request(folder / "request.jsonl", rows)
    recipe = load_recipe(method="npo-rt", overrides=[f"seed={count}"])
    record: dict[str, Any] = {
        "kind": "unlearn",
        "versions": {"forgetctl": "0.1.0", "python": "3.11"},
        "argv": ["forgetctl", "unlearn"],
        "options": {"model": str(folder / "start")},
        "seed": count,
        "objective": {"method": recipe.name, "formula": "1 * npo + 1 * rt", "terms": TERMS},
        "inputs": {
            "model": {"name": "start", "path": str(folder / "start"), "sha256": "ab"},
            "forget": {"path": str(request), "rows": len(rows)},
            "retain": {"path": str(folder / "train.jsonl"), "rows": 9, "sha256": "cd" * 32},
        },
    }
    run = Run.create(folder / "runs" / name, record)
    run.stage("precheck", "done", flags=[FLAG], skipped={}, approved=["common"])
    run.freeze(recipe.to_yaml(), BOUNDS)
    run.commit_rows([Part("R-0", tuple(rows[1::2])), Part("R-1", tuple(rows[::2]))])
    run.record["inputs"]["forget"]["commitment"] = run.commit(request)
    write_json(run.pairs_file, {"train": [1, 2], "check": [count], "excluded": {}})
    run.bind()
    run.stage("pairing", "done", retain_rows=2, check_rows=1, excluded={})
    run.stage("unlearn", "running")
    write_json(run.start_file, {"logp": [-1.0], "tokens": [3]})
    (run.checkpoints / "checkpoint-1").mkdir(parents=True)
    (run.checkpoints / "checkpoint-1" / "optimizer.pt").write_bytes(b"state")
    run.log({"step": 1, "loss": 1 / count})
    write_model(run.model_dir, name)
    log = file_digest(run.log_file)
    run.stage("unlearn", "done", steps=2, epochs=2, log_sha256=log, model_sha256=model_digest(run.model_dir))
    verify_again(run, count)
    return run


def write_model(directory: Path, content: str) -> None:
    """Files of a model's names, and no model."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_text(content)
    (directory / "tokenizer.json").write_text("{}")
    (directory / "README.md").write_text("card")


def verify_again(run: Run, count: int = COUNT, **changes: Any) -> dict[str, Any]:
    """What `verify` does once the models are scored."""
    digest = model_digest(run.model_dir)
    run.stage("verify", "running")
    found = complete(count)
    found = replace(found, unlearned=found.unlearned.model_copy(update={"sha256": digest}), **changes)
    for step in (1, 2):
        write_json(run.tracked_file(step), found.unlearned.model_dump(mode="json"))
    found = replace(found, tracked=tuple(Tracked(step, float(step), found.unlearned) for step in (1, 2)))
    skipped, unmeasured = {"deployed precision": "not asked for"}, (("relearning attack", "no reason"),)
    found = replace(found, skipped=skipped, unmeasured=unmeasured)
    verdict = Verdict(
        **dict(conclude(found, bounds_of(run))),
        inputs=tuple(Given(**given) for given in INPUTS),
        basis=store(run, found, run.model_dir),
        created=now(),
        digest="ef" * 32,
    ).content()
    write_json(run.verdict_file, verdict)
    run.stage("verify", "done", verdict=verdict["verdict"], verdict_sha256=file_digest(run.verdict_file))
    return verdict
