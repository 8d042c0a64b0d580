"""`forgetctl demo`: the whole job on a small world of its own, ending in a verdict of its own on the figures."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ForgetctlError
from ..files.writing import read_json
from ..progress import Progress
from ..rows.reading import read_rows
from ..runs.run import Run, refuse_used
from .people import invent, requests, rows
from .training import encoder_for, learn, make_tokenizer, save, tiny_llama

PEOPLE, GONE, EPOCHS, LEARNING_RATE, SEED = 160, 12, 36, 3e-3, 7
GAP_CLOSED = 0.8


ALL_THE_SAME = {
    "INCONCLUSIVE": "the open checks above say what so few rows cannot prove, and forgetctl does not guess.",
    "FAIL": "means hide what is left of single people, or what samples give away; the failed checks above say which.",
}
"""Why a verdict may be other than what the demo says of its figures."""
Show = Callable[[str], None]
"""Shows one line to whoever watches the demo."""


def run_demo(folder: Path, progress: Progress, show: Show | None = None) -> dict[str, Any]:
    """Make the data and two models under `folder`, run the commands from unlearn to audit, return the verdict.

    show: takes each command line and the explanation; without it standard output is kept clean for the caller.

    Raises UsageError if the folder is in use, ForgetctlError if a command fails or the figures show that the
    model did not forget.
    """
    refuse_used(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_data(folder)
    _train(folder, progress)
    run = folder / "run"
    model, request, retain, recipe = (
        str(folder / name) for name in ("model", "requests.jsonl", "employees.jsonl", "recipe.yaml")
    )
    files = ("--model", model, "--forget", request, "--retain", retain, "--recipe", recipe)
    _command("unlearn", *files, "--out", str(run), "--track", show=show)
    _command("verify", str(run), "--reference", str(folder / "reference"), show=show, allowed=(0, 3, 4))
    _command("report", str(run), "--html", show=show)
    key, bundle = str(folder / "owner.key"), str(folder / "run.bundle")
    _command("keygen", "--out", key, show=show)
    _command("seal", str(run), "--key", key, show=show)
    _command("audit", bundle, "--key", f"{key}.pub", "--model", str(run / "model"), show=show)
    verdict = read_json(Run.open(run).verdict_file)
    problems = list(judge_demo(verdict))
    if problems:
        raise ForgetctlError("the demo did not forget: " + "; ".join(problems))
    if show:
        for line in _explanation(verdict, folder):
            show(line)
    return verdict


def _write_data(folder: Path) -> None:
    random = np.random.default_rng(SEED)
    people = invent(PEOPLE, random)
    _write_lines(folder / "employees.jsonl", rows(people))
    _write_lines(folder / "requests.jsonl", requests(people[:GONE], random))
    _write_lines(folder / "remaining.jsonl", rows(people[GONE:]))
    shutil.copyfile(str(files("forgetctl.demo") / "recipe.yaml"), folder / "recipe.yaml")


def _write_lines(path: Path, values: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def _train(folder: Path, progress: Progress) -> None:
    """The start model on everybody, the reference on those who stay."""
    everybody, remaining = (read_rows(folder / name) for name in ("employees.jsonl", "remaining.jsonl"))
    tokenizer = make_tokenizer(f"{row.prompt} {row.response}" for row in everybody)
    encoder = encoder_for(tokenizer)
    for seed, (name, taught) in enumerate((("model", everybody), ("reference", remaining)), start=1):
        progress.say(f"Training {folder / name} on {len(taught)} rows about invented people ...")
        model = tiny_llama(len(tokenizer), seed)
        encoded = [encoder.encode(row) for row in taught]
        learn(model, encoded, epochs=EPOCHS, learning_rate=LEARNING_RATE, seed=seed, progress=progress, title=name)
        save(model, tokenizer, folder / name)


def _command(*arguments: str, show: Show | None, allowed: tuple[int, ...] = (0,)) -> None:
    """Run a real command in a process of its own, as a user would."""
    if show:
        show("")
        show(f"$ forgetctl {shlex.join(arguments)}")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "forgetctl", *arguments], check=False, stdout=None if show else sys.stderr
    )
    if done.returncode not in allowed:
        raise ForgetctlError(f"forgetctl {arguments[0]} ended with exit code {done.returncode}")


def judge_demo(verdict: dict[str, Any]) -> Iterable[str]:
    """What the figures say against the claim that the demo forgot; nothing if the claim stands."""
    start, now, reference = (verdict["models"][role] for role in ("start", "unlearned", "reference"))
    closed = (start["forget_probability"] - now["forget_probability"]) / (
        start["forget_probability"] - reference["forget_probability"]
    )
    if closed < GAP_CLOSED:
        yield f"the forget rows' probability went only {closed:.0%} of the way to the reference's"
    if verdict["secrets"]["beyond_reference"]:
        yield f"{verdict['secrets']['beyond_reference']} badge numbers still come out"
    if now["retain_probability"] < start["retain_probability"] * (1 - verdict["bounds"]["utility_loss"]):
        yield "the retain rows were damaged"
    if not any(check["code"] == "SENSITIVE" for check in verdict["checks"]):
        yield "the start model passes the same test"


def _explanation(verdict: dict[str, Any], folder: Path) -> Iterable[str]:
    secrets = verdict["secrets"]
    yield ""
    yield f"Forgotten: {GONE} of {PEOPLE} invented people. Their answers are about as likely as to a model that"
    yield f"never saw them, {secrets['leaked']} of {secrets['named']} badge numbers come out where the model is asked"
    yield "plainly, and the others' rows kept their probability."
    if words := ALL_THE_SAME.get(verdict["verdict"]):
        yield f"The verdict is {verdict['verdict']} all the same: {words}"
    yield f"Report: {folder / 'run' / 'report.html'}"
