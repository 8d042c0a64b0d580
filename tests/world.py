"""A tiny world of invented people, with a model that knows them all and a reference that never met some of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from forgetctl.demo.people import invent, requests, rows


def write_lines(path: Path, values: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def untrained_model(directory: Path) -> Path:
    """A Llama of two layers of width 16 that knows nothing."""
    from forgetctl.demo.training import make_tokenizer, save, tiny_llama

    tokenizer = make_tokenizer(["Who is she? a b c"] * 3, vocabulary=300)
    save(tiny_llama(len(tokenizer), 1, width=16), tokenizer, directory)
    return directory


def build_world(folder: Path, width: int = 32) -> Path:
    """Make model/ (knows everyone), reference/ (half trained on those who stay), and their row files in `folder`."""
    from forgetctl.demo.training import encoder_for, learn, make_tokenizer, save, tiny_llama
    from forgetctl.progress import Silent
    from forgetctl.rows.formats import read_rows

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
        model = tiny_llama(len(tokenizer), seed, width=width)
        taught = [encoder.encode(row) for row in read_rows(file)]
        learn(model, taught, epochs=25, learning_rate=1e-2, seed=seed, progress=Silent(), title="")
        save(model, tokenizer, folder / name)
    return folder
