"""A tiny model built in process, once a session: no network, ever."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Two cores and small tensors: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest

from forgetctl.demo.people import invent, requests, rows

SHARED = Path(__file__).resolve().parents[2] / "shared"


def write_lines(path: Path, values: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with TOFU and small real models, which users do not have."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the data folder {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/ (knows everyone), reference/ (half trained on those who stay), and their row files."""
    from forgetctl.demo.training import encoder_for, learn, make_tokenizer, save, tiny_llama
    from forgetctl.progress import Silent
    from forgetctl.stages.request import read_rows

    folder = tmp_path_factory.mktemp("world")
    random = np.random.default_rng(3)
    people = invent(16, random)
    everyone = write_lines(folder / "employees.jsonl", rows(people))
    write_lines(folder / "requests.jsonl", requests(people[:4], random))
    remaining = write_lines(folder / "remaining.jsonl", rows(people[4:]))
    write_lines(folder / "holdout.jsonl", rows(invent(40, np.random.default_rng(4))[-6:]))
    known = read_rows(everyone)
    tokenizer = make_tokenizer(f"{row.prompt} {row.response}" for row in known)
    encoder = encoder_for(tokenizer)
    for seed, (name, file) in enumerate((("model", everyone), ("reference", remaining))):
        model = tiny_llama(len(tokenizer), seed, width=32)
        taught = [encoder.encode(row) for row in read_rows(file)]
        learn(model, taught, epochs=25, learning_rate=1e-2, seed=seed, progress=Silent(), title="")
        save(model, tokenizer, folder / name)
    return folder
