"""A full disk is told as such, wherever it shows: by the system, torch or safetensors, or before the work begins."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from forgetctl.cli.main import cli
from forgetctl.errors import RunError, UsageError
from forgetctl.files import disk
from forgetctl.files.disk import FULL, refusal, refuse_beyond_disk, wrapped_refusal
from forgetctl.files.folders import saving
from forgetctl.files.writing import write_bytes, write_new, writing
from forgetctl.model.load import inspect_model
from forgetctl.recipe.recipe import load_recipe
from forgetctl.train.plan import disk_bytes
from tests.world import untrained_model, write_lines

WEIGHTS = {"weight": torch.zeros(300_000)}
SIZE = 512 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    command = (str(mount), "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place))
    if not (mount and unmount) or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("nobody but a superuser may mount a disk")
    yield place
    # At once, although torch holds a file open that it could not write.
    subprocess.run((unmount, "--lazy", str(place)), check=True)


def saved_to_a_file(place: Path) -> None:
    with (place / "x.pt").open("wb") as file:
        torch.save(WEIGHTS, file)


SAVING: dict[str, Callable[[Path], object]] = {
    "torch": lambda place: torch.save(WEIGHTS, place / "x.pt"),
    "torch to a file": saved_to_a_file,
    "torch as before": lambda place: torch.save(WEIGHTS, place / "x.pt", _use_new_zipfile_serialization=False),
    "safetensors": lambda place: save_file(WEIGHTS, place / "x.safetensors"),
    "tokenizers": lambda place: Tokenizer(WordLevel({f"word {n}": n for n in range(20_000)})).save(str(place / "x")),
    "bytes": lambda place: (place / "x").write_bytes(bytes(2 * SIZE)),
}


@pytest.mark.parametrize("name", SAVING)
@pytest.mark.parametrize("left", [0, 4096, 300_000])
def test_what_saves_weights_says_what_the_disk_said(name: str, left: int, small: Path) -> None:
    (small / "ballast").write_bytes(bytes(SIZE - left))
    with pytest.raises(RunError) as caught, saving(small):
        SAVING[name](small)
    assert str(caught.value) == f"{small} cannot be written: no space left on the disk"


def test_a_record_on_a_full_disk(small: Path) -> None:
    for write in (write_bytes, write_new):
        with pytest.raises(RunError, match=r"record\.json cannot be written: no space left on the disk"):
            write(small / "record.json", bytes(2 * SIZE))
    assert list(small.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, FULL),
        (errno.EDQUOT, f"{FULL} for this user (quota)"),
        (errno.EROFS, "Read-only file system"),
        (errno.EIO, "Input/output error"),
        (errno.EACCES, "Permission denied"),
        (errno.ENAMETOOLONG, "File name too long"),
    ],
)
def test_every_refusal_has_its_words_however_it_is_wrapped(code: int, words: str, tmp_path: Path) -> None:
    error = OSError(code, os.strerror(code))
    assert refusal(error) == words
    wrapped = Exception(f"Error while serializing: I/O error: {os.strerror(code)} (os error {code})")
    assert wrapped_refusal(wrapped, tmp_path) == words
    assert wrapped_refusal(RuntimeError(f"write(): fd 3 failed with {os.strerror(code)}"), tmp_path) == words
    archive = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")
    archive.__context__ = error
    assert wrapped_refusal(archive, tmp_path) == words
    with pytest.raises(RunError, match=f"^{tmp_path} cannot be written: "), writing(tmp_path):
        raise error


def test_a_place_that_cannot_be_used_is_a_wrong_choice_unless_its_disk_is_full(tmp_path: Path) -> None:
    full = disk.unmade(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert (type(full), str(full)) == (RunError, f"{tmp_path} cannot be made: no space left on the disk")
    assert type(disk.unmade(tmp_path, OSError(errno.EACCES, "Permission denied"))) is UsageError


def test_output_that_nobody_can_take(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has a disk that is always full")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "forgetctl", "methods", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: no space left on the disk\n")


def test_an_error_about_something_else_stays_one(tmp_path: Path) -> None:
    assert wrapped_refusal(ValueError("a row that says Permission denied"), tmp_path) is None
    assert wrapped_refusal(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), tmp_path) is None
    with pytest.raises(RuntimeError, match="shapes"), saving(tmp_path):
        raise RuntimeError("shapes")


def test_what_torch_does_not_tell_is_not_guessed_on_a_disk_with_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = RuntimeError("PytorchStreamWriter failed writing file data.pkl: file write failed")
    monkeypatch.setattr(disk, "free_bytes", lambda _: 10**9)
    assert wrapped_refusal(archive, tmp_path) == "the file system refused"
    monkeypatch.setattr(disk, "free_bytes", lambda _: 0)
    assert wrapped_refusal(archive, tmp_path) == FULL


def test_what_cannot_fit_is_refused_where_it_would_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "not" / "there" / "yet"
    assert disk.free_bytes(place) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    monkeypatch.setattr(disk, "free_bytes", lambda _: 2_000_000)
    refuse_beyond_disk(place, 2_000_000, "the model")
    with pytest.raises(RunError) as caught:
        refuse_beyond_disk(place, 5_100_000_000, "the model")
    needed = "about 5.1 GB are needed and 2.0 MB are free"
    assert str(caught.value) == f"{place}: no space left on the disk for the model: {needed}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_model(tmp_path_factory.mktemp("small") / "model")


@pytest.mark.parametrize(
    ("settings", "checkpoints", "models", "trained", "moments"),
    [
        (("epochs=1",), 1, 1, "all", 8.0),
        (("epochs=2",), 2, 1, "all", 8.0),
        (("epochs=10",), 3, 0, "all", 8.0),  # a third is larger than the model
        (("epochs=10", "lora={rank: 2}"), 2, 1, "adapters", 8.0),  # and here it is not
    ],
)
def test_what_a_run_takes_on_its_disk(
    settings: tuple[str, ...], checkpoints: int, models: int, trained: str, moments: float, model: Path
) -> None:
    facts = inspect_model(model)
    recipe = load_recipe(method="npo-rt", overrides=settings)
    width, layers, inner = 16, 2, 48
    # q, k, v, o; gate, up, down: a pair of matrices of rank 2 each, inputs and outputs.
    adapters = layers * 2 * (4 * 2 * width + 3 * (width + inner))
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", framework="pt") as weights:
        parameters = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    count = parameters if trained == "all" else adapters
    assert disk_bytes(facts, recipe) == int(checkpoints * count * (4 + moments)) + models * facts.bytes


@pytest.mark.parametrize("command", ["unlearn", "dry run", "reference"])
def test_no_training_begins_that_cannot_be_saved(
    command: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = write_lines(tmp_path / "forget.jsonl", [{"prompt": f"Who? {n}", "response": f"a {n}"} for n in range(8)])
    retain = write_lines(tmp_path / "retain.jsonl", [{"prompt": f"Who? {n}", "response": f"b {n}"} for n in range(80)])
    monkeypatch.setattr(disk, "free_bytes", lambda _: 20_000)
    asked = ["unlearn", "--model", model, "--forget", forget, "--retain", retain, "--out", tmp_path / "out"]
    given = {
        "unlearn": asked,
        "dry run": [*asked, "--dry-run"],
        "reference": ["reference", "--base", model, "--retain", retain, "--out", tmp_path / "out"],
    }
    ended = CliRunner().invoke(cli, [str(part) for part in given[command]])
    assert ended.exit_code == 1
    assert ended.output.splitlines()[-1].startswith(f"Error: {tmp_path / 'out'}")
    assert "no space left on the disk" in ended.output
    assert not any((tmp_path / "out").glob("*"))
