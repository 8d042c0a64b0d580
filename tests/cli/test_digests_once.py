"""A command reads each model's bytes once to name it by their digest, and looks at the file again when it is done."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

import forgetctl.files.writing as writing
import forgetctl.studies.tofu.study as study
import forgetctl.tune.tune as tuning
from forgetctl.cli.main import cli
from forgetctl.errors import RunError
from forgetctl.files.writing import SETTLED
from forgetctl.seal.keys import generate_key
from tests.cli.conftest import SETTINGS, unlearn_arguments
from tests.studies.tofu_world import arguments as study_arguments
from tests.studies.tofu_world import build


def run(*arguments: object, codes: tuple[int, ...] = (0,)) -> Result:
    done = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code in codes, done.output
    return done


@contextmanager
def hashed(*models: Path) -> Iterator[Counter[str]]:
    """Counts how often the bytes of these models' weights are hashed, by file, in what is then a process of its own."""
    files = {file.stat().st_ino: str(file) for model in models for file in model.glob("*.safetensors")}
    counts: Counter[str] = Counter()
    plain = hashlib.file_digest

    def counted(file: Any, digest: Any, /, **options: Any) -> Any:
        if (name := files.get(os.fstat(file.fileno()).st_ino)) is not None:
            counts[name] += 1
        return plain(file, digest, **options)

    writing._KNOWN.clear()
    time.sleep(SETTLED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "file_digest", counted)
        yield counts
    assert counts, "nothing was hashed, so nothing was counted"
    assert set(counts.values()) == {1}, counts


def other(model: Path, place: Path) -> Path:
    """A model of the same kind with other numbers."""
    shutil.copytree(model, place)
    weights = load_file(model / "model.safetensors")
    torch.manual_seed(0)
    save_file(
        {name: value + 1e-3 * torch.randn_like(value) for name, value in weights.items()}, place / "model.safetensors"
    )
    return place


def test_unlearn_verify_seal_and_audit(world: Path, tmp_path: Path) -> None:
    start, references = world / "model", (world / "reference", other(world / "reference", tmp_path / "second"))
    with hashed(start):
        run(*unlearn_arguments(world, tmp_path / "run"))
    made = tmp_path / "run" / "model"
    verify = ["verify", tmp_path / "run", *(part for reference in references for part in ("--reference", reference))]
    with hashed(start, made, *references) as counts:
        run(*verify, codes=(0, 3, 4))
    assert len(counts) == 4
    with hashed(start, made, *references):
        run(*verify, "--deep", codes=(0, 3, 4))
    key = tmp_path / "officer"
    generate_key(key)
    with hashed(made):
        run("seal", tmp_path / "run", "--key", key, "--out", tmp_path / "bundle")
    with hashed(made):
        run("audit", tmp_path / "bundle", "--key", f"{key}.pub", "--model", made)


def tune_arguments(world: Path, strangers: Path, out: Path) -> list[object]:
    files = {"--model": "model", "--forget": "requests.jsonl", "--retain": "employees.jsonl"}
    named = [part for option, name in files.items() for part in (option, world / name)]
    few = ("--set", "epochs=1", "--trials", "1", "--utility-loss", "0.9")
    return ["tune", *named, "--holdout", strangers, "--out", out, *SETTINGS, *few]


def touched(model: Path) -> None:
    """As another program would that writes the same weights again."""
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes())


def test_tune(world: Path, strangers: Path, tmp_path: Path) -> None:
    with hashed(world / "model"):
        run(*tune_arguments(world, strangers, tmp_path / "tune"))


def test_tune_looks_again(world: Path, strangers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shutil.copytree(world / "model", tmp_path / "model")
    arguments = [
        model if one == world / "model" else one for one in tune_arguments(world, strangers, tmp_path / "tune")
    ]
    plain = tuning.make_yardstick
    monkeypatch.setattr(tuning, "make_yardstick", lambda *a: (plain(*a), touched(model))[0])
    assert "was changed while the model was in use" in run(*arguments, codes=(RunError.exit_code,)).output


def test_study(tmp_path: Path) -> None:
    (tmp_path / "tofu").mkdir()
    world = build(tmp_path / "tofu")
    with hashed(world / "start" / "seed-1", world / "references" / "forget05" / "seed-1"):
        run(*study_arguments(world, tmp_path / "study", "--methods", "ga"))


def test_a_study_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tofu").mkdir()
    world = build(tmp_path / "tofu")
    monkeypatch.setattr(study, "_measure", lambda plan, *_: touched(plan.references["05"]))
    refused = run(*study_arguments(world, tmp_path / "study"), codes=(RunError.exit_code,))
    assert "was changed while the model was in use" in refused.output
