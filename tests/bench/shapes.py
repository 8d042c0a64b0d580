"""What is benchmarked: a model with its rows and settings, written to a folder. Random weights and words suffice."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SHARED = Path(__file__).resolve().parents[3] / "shared"
LORA = {"rank": 16, "alpha": 32}


@dataclass(frozen=True)
class Shape:
    """A model's shape and its rows' lengths in tokens; answers take the last `answer_share` of a row.

    batch_size: forget rows an optimizer step, each with a retain row. textbook_rows: rows of one role that the textbook
    computes at once. minimum: the shortest row, longest the longest. config: of a Llama; empty for tofu-mini.
    """

    name: str
    says: str
    batch_size: int
    steps: int
    textbook_rows: int
    config: dict[str, Any] = field(default_factory=dict)
    shortest: int = 0
    longest: int = 0
    answer_share: float = 0.6


SHAPES = {
    "A": Shape("A", "tofu-mini: 2.75 M, vocabulary 4k, TOFU's rows", 32, 5, 8),
    "B": Shape(
        "B",
        "60 M, vocabulary 32k, rows of 24-120 tokens",
        32,
        4,
        8,
        {
            "vocab_size": 32_000,
            "hidden_size": 512,
            "intermediate_size": 1408,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
            "max_position_embeddings": 512,
        },
        24,
        120,
    ),
    "C": Shape(
        "C",
        "135 M, vocabulary 128k, rows of 256-512 tokens",
        8,
        3,
        4,
        {
            "vocab_size": 128_000,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 17,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
        },
        256,
        512,
    ),
}


@dataclass(frozen=True)
class Case:
    """A shape written to disk: model folder, request and retain file."""

    shape: Shape
    model: Path
    forget: Path
    retain: Path


def build(name: str, folder: Path) -> Case:
    """Write the shape's model and rows. Raises FileNotFoundError where tofu-mini is not at hand."""
    shape = SHAPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    return _random(shape, folder) if shape.config else _mini(shape, folder)


def _mini(shape: Shape, folder: Path) -> Case:
    """tofu-mini with as many of TOFU's rows as the steps need; the retain file is what it was trained on besides."""
    rows = _lines(SHARED / "tofu" / "forget05.json")[: shape.batch_size * shape.steps]
    known = {row["question"] for row in rows}
    retain = [row for row in _lines(SHARED / "tofu-mini" / "train.jsonl") if row.get("question") not in known]
    return Case(
        shape,
        SHARED / "tofu-mini" / "full",
        _write(folder / "forget.jsonl", rows),
        _write(folder / "retain.jsonl", retain),
    )


def _random(shape: Shape, folder: Path) -> Case:
    size = shape.config["vocab_size"]
    tokenizer = _words(size)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape.config, bos_token_id=1, eos_token_id=2, pad_token_id=0))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    random = np.random.default_rng(0)
    count = shape.batch_size * shape.steps
    forget, retain = (
        _write(folder / f"{part}.jsonl", [_row(shape, size, random) for _ in range(rows)])
        for part, rows in (("forget", count), ("retain", 4 * count + 64))
    )
    return Case(shape, folder / "model", forget, retain)


def _words(size: int) -> PreTrainedTokenizerFast:
    """A tokenizer with one id for each of `size` made-up words."""
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"w{number}": number for number in range(3, size)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        clean_up_tokenization_spaces=False,
    )


def _row(shape: Shape, size: int, random: np.random.Generator) -> dict[str, str]:
    length = int(random.integers(shape.shortest, shape.longest + 1))
    answer = round(length * shape.answer_share)
    words = [f"w{number}" for number in random.integers(3, size, size=length)]
    # "Question:", "Answer:" and the end of turn take three tokens more.
    return {"prompt": " ".join(words[: length - answer - 2]), "response": " ".join(words[length - answer + 1 :])}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
