"""How many tokens rows have for a model, without its weights."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import TemplateRefusal
from ..rows.row import Row
from .encoding import Encoder, Rendered
from .load import inspect_model, load_encoder, resolve_model


class ModelLengths:
    """Counts the tokens of rows as a model would be given them: prompt, response and its end.

    Raises ModelError for what is no model. context: its longest input in tokens, None if it has none.
    """

    def __init__(self, model: str, *, prompt_format: str, allow_download: bool = False) -> None:
        facts = inspect_model(resolve_model(model, allow_download=allow_download))
        self.context = facts.context
        self._encoder: Encoder = load_encoder(facts, prompt_format)

    def of(self, rows: Sequence[Row]) -> list[int | None]:
        """Tokens of each row; None for one that the model's chat template refuses."""
        texts = [self._text(row) for row in rows]
        kept = [(row, text) for row, text in zip(rows, texts, strict=True) if text is not None]
        encoded = iter(self._encoder.encode_texts([row for row, _ in kept], [text for _, text in kept]))
        return [None if text is None else len(next(encoded).ids) for text in texts]

    def _text(self, row: Row) -> Rendered | None:
        try:
            return self._encoder.texts(row)
        except TemplateRefusal:
            return None
