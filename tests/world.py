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


def build_wide_world(folder: Path, count: int = 16, gone: int = 4) -> Path:
    """An untrained model of little weights with much to keep of every token (160 kB), and row files about `count`
    people, of whom `gone` are to be forgotten."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from forgetctl.demo.training import make_tokenizer, save

    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(3)
    people = invent(count, random)
    write_lines(folder / "requests.jsonl", requests(people[:gone], random))
    texts = list(rows(people))
    write_lines(folder / "employees.jsonl", texts)
    tokenizer = make_tokenizer(" ".join(map(str, row.values())) for row in texts)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 8192, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **sizes, **ids)
    save(LlamaForCausalLM(config), tokenizer, folder / "model")
    return folder


def build_world(folder: Path, width: int = 32) -> Path:
    """Make model/ (knows everyone), reference/ (half trained on those who stay), and their row files in `folder`."""
    from forgetctl.demo.training import encoder_for, learn, make_tokenizer, save, tiny_llama
    from forgetctl.progress import Silent
    from forgetctl.rows.reading import read_rows

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
