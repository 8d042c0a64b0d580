"""Train a tiny Llama-architecture model from random weights until it knows its rows by heart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ..files.folders import whole_folder
from ..model.encoding import Encoded, Encoder
from ..progress import Progress
from ..train.fine_tuning import BATCH_ROWS, fine_tune, fine_tuning

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<s>Question: ' + m['content'] + '\\nAnswer:' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
)


def make_tokenizer(texts: Iterable[str], vocabulary: int = 1024) -> Any:
    """A byte-level BPE tokenizer with a chat template, trained on `texts`; digits stay single tokens."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def tiny_llama(vocabulary: int, seed: int, width: int = 128) -> Any:
    """An untrained two-layer Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


def learn(
    model: Any, rows: Sequence[Encoded], *, epochs: int, learning_rate: float, seed: int, progress: Progress, title: str
) -> None:
    """Fine-tune with a progress bar."""
    with progress.bar(title, epochs * -(-len(rows) // BATCH_ROWS)) as bar:
        recipe = fine_tuning(epochs=epochs, learning_rate=learning_rate, seed=seed)
        fine_tune(model, rows, recipe, advance=bar.advance)


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """Write a Hugging Face model directory in safetensors."""
    with whole_folder(directory) as draft:
        model.save_pretrained(str(draft), safe_serialization=True)
        tokenizer.save_pretrained(str(draft))


def encoder_for(tokenizer: Any) -> Encoder:
    """The encoder of a model with that tokenizer."""
    return Encoder(tokenizer, "{prompt}")
