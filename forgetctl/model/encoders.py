"""The encoders of a command's models: one for all that turn rows into the same tokens, so that a row is tokenised once
and not once a model."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from .directories import ModelFacts
from .encoding import Encoder
from .load import load_encoder
from .protocol import Tokenizer

_WHENCE = frozenset({"name_or_path", "init_kwargs", "init_inputs", "files_loaded", "deprecation_warnings"})
"""What a tokenizer holds about where it came from and what it warned of. What it was made with it holds again as what
it does with it."""


class Encoders:
    """Hands out the encoder of a model, the same for all models whose tokenizers are alike. To be passed along through
    a command, and dropped with it: the encoders keep the token ids of rows."""

    def __init__(self) -> None:
        self._of_models: dict[tuple[Path, str], Encoder] = {}
        self._alike: dict[Hashable, Encoder] = {}

    def of(self, facts: ModelFacts, prompt_format: str) -> Encoder:
        """What turns rows into this model's token ids. Raises as `load_encoder`."""
        model = facts.path, prompt_format
        if model not in self._of_models:
            encoder = load_encoder(facts, prompt_format)
            does = prompt_format, facts.stops, facts.vocabulary, _content(encoder.tokenizer)
            self._of_models[model] = self._alike.setdefault(does, encoder)
        return self._of_models[model]


def _content(tokenizer: Tokenizer) -> Hashable:
    """Equal for tokenizers that do the same. One that is not of tokenizers shows no content, and is like no other."""
    if not tokenizer.is_fast:
        return id(tokenizer)
    state = {name: repr(value) for name, value in vars(tokenizer).items() if name not in _WHENCE}
    state["_tokenizer"] = tokenizer.backend_tokenizer.to_str()  # whose representation is shortened
    return type(tokenizer), frozenset(state.items())
