"""What was copied halfway, has a flipped bit, or is not what it was: used no further than it is good, or refused."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from .breakage import At
from .processes import forgetctl
from .trial import Workshop, told_in_a_line


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# Checkpoints


@pytest.mark.parametrize(
    ("spoil", "name"),
    [(flip, "optimizer.pt"), pytest.param(truncate, "model.safetensors", marks=pytest.mark.slow)],
)
def test_the_checkpoint_before_a_spoilt_one_is_used(
    spoil: Callable[[Path], None], name: str, workshop: Workshop, stopped: Path
) -> None:
    spoil(stopped / "checkpoints" / "checkpoint-18" / name)
    resumed = forgetctl("unlearn", "--resume", stopped)
    assert resumed.code == 0
    assert f"checkpoint-18 is not used: {name} is damaged." in resumed.err
    assert "Continuing after step 15." in resumed.err
    assert workshop.model_differences(stopped) == []


@pytest.mark.slow
def test_without_a_good_checkpoint_it_begins_again(workshop: Workshop, stopped: Path) -> None:
    for checkpoint in (stopped / "checkpoints").iterdir():
        flip(checkpoint / "scheduler.pt")
    resumed = forgetctl("unlearn", "--resume", stopped)
    assert resumed.code == 0
    assert "Continuing" not in resumed.err
    assert workshop.model_differences(stopped) == []


def test_a_spoilt_checkpoint_that_was_written_again_is_used(workshop: Workshop, stopped: Path) -> None:
    flip(stopped / "checkpoints" / "checkpoint-18" / "optimizer.pt")
    forgetctl("unlearn", "--resume", stopped, prepare=At("*/checkpoint-21", _die))
    resumed = forgetctl("unlearn", "--resume", stopped)
    assert "Continuing after step 18." in resumed.err
    assert workshop.model_differences(stopped) == []


def _die(_: Path) -> None:
    raise SystemExit(9)


# Copies cut short


def copy_of_part(source: Path, target: Path, share: float) -> list[Path]:
    """A copy of the run with its keys that ended in the middle of a file. Returns what is missing or cut."""
    files = sorted(path for path in source.parent.rglob("*") if path.is_file() and not path.is_symlink())
    whole = round(share * len(files))
    for path in files[: whole + 1]:
        copied = target / path.relative_to(source.parent)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
    cut = target / files[whole].relative_to(source.parent)
    truncate(cut)
    return [target / path.relative_to(source.parent) for path in files[whole:]]


def shares(quick: float, *slow: float) -> list[Any]:
    return [quick, *(pytest.param(share, marks=pytest.mark.slow) for share in slow)]


@pytest.mark.parametrize("share", shares(0.2, 0.4, 0.6, 0.8))
def test_an_unfinished_run_copied_halfway(share: float, workshop: Workshop, stopped: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied" / "run"
    missing = copy_of_part(stopped, copied.parent, share)
    resumed = forgetctl("unlearn", "--resume", copied)
    if resumed.code == 0:
        assert workshop.model_differences(copied) == []
    else:
        assert told_in_a_line(resumed), resumed.err
        assert any(str(path) in resumed.err for path in (*missing, copied)), resumed.err


@pytest.mark.parametrize("share", shares(0.5, 0.1, 0.3, 0.7, 0.9))
@pytest.mark.parametrize("stage", ["verify", "report"])
def test_a_finished_run_copied_halfway(
    stage: str, share: float, workshop: Workshop, finished: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copied" / "run"
    missing = copy_of_part(finished, copied.parent, share)
    ended = forgetctl(*workshop.command("verify" if stage == "verify" else "report", copied))
    assert told_in_a_line(ended), ended.err
    if ended.code in (1, 2):
        assert any(str(path) in ended.err for path in (*missing, copied)), ended.err
    elif stage == "verify":
        assert workshop.differences(copied) == []


@pytest.mark.parametrize("spoil", [flip, truncate, Path.unlink])
def test_a_model_that_is_not_the_one_that_was_made_is_not_verified(
    spoil: Callable[[Path], None], workshop: Workshop, finished: Path
) -> None:
    spoil(finished / "model" / "model.safetensors")
    ended = forgetctl(*workshop.command("verify", finished))
    assert ended.code == 1
    why = f"{finished / 'model'} has changed since {finished} made it; copy it elsewhere to use it as it is"
    assert ended.err == f"Error: {why}\n"


# Changed inputs


@contextmanager
def changed(path: Path, change: Callable[[Path], None]) -> Iterator[None]:
    before = path.read_bytes()
    try:
        change(path)
        yield
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("name", ["requests.jsonl", "employees.jsonl", "model/model.safetensors"])
def test_a_changed_input_is_named_at_resume(name: str, workshop: Workshop, stopped: Path) -> None:
    """A flipped bit, so that even the size is the same; in the rows it changes a letter."""
    with changed(workshop.world / name, flip):
        resumed = forgetctl("unlearn", "--resume", stopped)
    named = workshop.world / ("model" if name.startswith("model") else name)
    assert resumed.code == 1
    assert resumed.err == f"Error: {named} has changed since {stopped} was started; start a new run\n"
    assert not (stopped / "model").exists()


@pytest.mark.parametrize("name", ["recipe.yaml", "plan.json"])
@pytest.mark.parametrize("spoil", [flip, Path.unlink])
def test_what_was_frozen_is_named_at_resume(spoil: Callable[[Path], None], name: str, stopped: Path) -> None:
    spoil(stopped / name)
    resumed = forgetctl("unlearn", "--resume", stopped)
    assert resumed.code == 1
    assert told_in_a_line(resumed)
    assert str(stopped / name) in resumed.err


# Numbers that are none


def _poison(_: Path) -> None:
    from transformers import LlamaForCausalLM

    for model in [found for found in gc.get_objects() if isinstance(found, LlamaForCausalLM)]:
        with torch.no_grad():
            model.model.norm.weight[0] = torch.nan


def test_after_a_number_that_is_none_the_last_good_state_is_kept(workshop: Workshop, stopped: Path) -> None:
    """The fault passes, so that what was kept must lead to the weights of a run without it."""
    ended = forgetctl("unlearn", "--resume", stopped, prepare=At("*/checkpoint-24/complete.json", _poison))
    assert ended.code == 1
    good = stopped / "checkpoints" / "checkpoint-24"
    why = f"the loss is not finite at step 25; lower the learning rate; last good state: {good}"
    assert ended.err.splitlines()[-1] == f"Error: {why}"
    resumed = forgetctl("unlearn", "--resume", stopped)
    assert resumed.code == 0
    assert "Continuing after step 24." in resumed.err
    assert workshop.model_differences(stopped) == []
