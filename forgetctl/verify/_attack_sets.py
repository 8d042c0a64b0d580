"""The sets in which a request is asked in other words, such as every model can be asked, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import TemplateRefusal
from ..model.encoders import Encoders
from ..model.encoding import Encoder
from ..model.load import inspect_model
from ..model.scores import ATTACK, Wording
from ..people.attack_prompts import attack_rounds
from ..people.extent import Extent
from ..people.wordings import wordings
from ..recipe.recipe import Recipe
from ..rows.row import Row
from .measuring import RowSets


def with_attacks(sets: RowSets, extent: Extent, models: Iterable[Path], recipe: Recipe, encoders: Encoders) -> RowSets:
    """The sets with those of the attack prompts, attack-1 ..., beside them."""
    forget, examples = sets.forget, sets.rows.get("retain", ())
    rounds = attack_rounds(forget, examples, extent, _accepts(models, recipe, encoders)) if extent != "none" else []
    named = {f"{ATTACK}{number}": made for number, made in enumerate(rounds, 1)}
    return replace(
        sets,
        rows={**sets.rows, **{name: made.rows for name, made in named.items()}},
        files={**sets.files, **dict.fromkeys(named, sets.files["forget"])},
        wordings={
            name: Wording(version=wordings().version, templates=dict(made.templates)) for name, made in named.items()
        },
    )


def cost(sets: RowSets, extent: Extent, models: int) -> str:
    """What the attack prompts cost, in words. models: how many answer them."""
    prompts = sum(wording.prompts for wording in sets.wordings.values())
    return (
        f"Attack prompts (--attacks {extent}): {prompts:,} for {len(sets.forget):,} rows, each answered by "
        f"{models} model{'s' if models > 1 else ''}: {prompts * models:,} answers more"
    )


@dataclass(frozen=True)
class _Reader:
    """How a model reads rows. longest: tokens, None where there is no limit."""

    encoder: Encoder
    longest: int | None

    def accepts(self, row: Row) -> bool:
        """Whether the row is given to the model whole, with something of it to score."""
        try:
            encoded = self.encoder.encode(row)
        except TemplateRefusal:
            return False
        return bool(encoded.tokens) and (self.longest is None or len(encoded.ids) <= self.longest)


def _accepts(models: Iterable[Path], recipe: Recipe, encoders: Encoders) -> Callable[[Row], bool]:
    """Whether all models can be asked a row."""
    readers = [_reader(path, recipe, encoders) for path in models]
    return lambda row: all(reader.accepts(row) for reader in readers)


def _reader(path: Path, recipe: Recipe, encoders: Encoders) -> _Reader:
    facts = inspect_model(path)
    limits = [limit for limit in (facts.context, recipe.max_length) if limit is not None]
    return _Reader(encoders.of(facts, recipe.prompt_format), min(limits, default=None))
