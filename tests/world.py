"""A tiny world of invented people, with a model that knows them all and a reference that never met some of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forgetctl.demo.people import invent, requests, rows

if TYPE_CHECKING:
    from forgetctl.model.encoding import Encoded, Encoder


def write_lines(path: Path, values: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def write_people(folder: Path, count: int = 16, gone: int = 4) -> Any:
    """Write row files about `count` people, and return a tokenizer made for them.

    employees.jsonl is about everyone, requests.jsonl about `gone` of them, remaining.jsonl about the others,
    holdout.jsonl about people whom nobody met.
    """
    from forgetctl.demo.training import make_tokenizer

    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(3)
    people = invent(count, random)
    everyone = list(rows(people))
    write_lines(folder / "employees.jsonl", everyone)
    write_lines(folder / "requests.jsonl", requests(people[:gone], random))
    write_lines(folder / "remaining.jsonl", rows(people[gone:]))
    write_lines(folder / "holdout.jsonl", rows(invent(40, np.random.default_rng(4))[-6:]))
    return make_tokenizer(f"{row['prompt']} {row['response']}" for row in everyone)


def untrained_model(directory: Path) -> Path:
    """A Llama of two layers of width 16 that knows nothing, and reads texts as no other model here does."""
    from forgetctl.demo.training import make_tokenizer, save, tiny_llama

    tokenizer = make_tokenizer(["Who is she? a b c"] * 3, vocabulary=300)
    save(tiny_llama(len(tokenizer), 1, width=16), tokenizer, directory)
    return directory


def half_taught(tokenizer: Any, taught: Sequence[Encoded], *, width: int, epochs: int) -> Any:
    """A model that half knows the rows, not yet written."""
    from forgetctl.demo.training import learn, tiny_llama
    from forgetctl.progress import Silent

    model = tiny_llama(len(tokenizer), 0, width=width)
    learn(model, taught, epochs=epochs, learning_rate=5e-3, seed=0, progress=Silent(), title="")
    return model


def build_wide_world(folder: Path, count: int = 16, gone: int = 4) -> Path:
    """An untrained model of little weights with much to keep of every token (160 kB), and the row files."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from forgetctl.demo.training import save

    tokenizer = write_people(folder, count, gone)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 8192, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **sizes, **ids)
    save(LlamaForCausalLM(config), tokenizer, folder / "model")
    return folder


def build_world(folder: Path, width: int = 32) -> Path:
    """Make model/ (knows everyone), reference/ (half trained on those who stay), and their row files in `folder`."""
    from forgetctl.demo.training import encoder_for, learn, save, tiny_llama
    from forgetctl.progress import Silent
    from forgetctl.rows.reading import read_rows

    tokenizer = write_people(folder)
    encoder = encoder_for(tokenizer)
    for seed, (name, file) in enumerate((("model", "employees.jsonl"), ("reference", "remaining.jsonl"))):
        model = tiny_llama(len(tokenizer), seed, width=width)
        taught = encoder.encode_all(read_rows(folder / file))
        learn(model, taught, epochs=25, learning_rate=1e-2, seed=seed, progress=Silent(), title="")
        save(model, tokenizer, folder / name)
    return folder


def encoder_of(world: Path) -> Encoder:
    """The encoder of all models of a world."""
    from forgetctl.demo.training import encoder_for
    from forgetctl.model.load import load_tokenizer

    return encoder_for(load_tokenizer(world / "model"))


def encoded_rows(world: Path, file: str) -> list[Encoded]:
    """Token ids of the rows of one of its files."""
    from forgetctl.rows.reading import read_rows

    return encoder_of(world).encode_all(read_rows(world / file))


def loaded(directory: Path) -> Any:
    """A model in float32 on the processor."""
    import torch

    from forgetctl.model.load import load_model

    return load_model(directory, torch.device("cpu"), torch.float32)
