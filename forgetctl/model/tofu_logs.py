"""Evaluation logs that TOFU (values keyed by row) and NPO (plain lists) write, as Scores. Losses are positive sums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import InputError
from .extraction import is_long, is_verbatim, repeated, traits
from .scores import GREEDY, Elicited, Role, Scores, ScoreSet

PARTS = {
    "forget": "eval_log_forget.json",
    "retain": "eval_log.json",
    "real_authors": "eval_real_author_wo_options.json",
    "world_facts": "eval_real_world_wo_options.json",
}


def from_tofu_log(path: Path, log: Mapping[str, Any], role: Role) -> Scores:
    """The sets that a log holds, as scores of a model in that role; a log of one set alone is of the forget rows.

    Raises InputError naming the column that is missing or holds something else.
    """
    logged = {name: log[part] for name, part in PARTS.items() if part in log}
    sets = {name: _Part(path, part).scores() for name, part in (logged or {"forget": log}).items()}
    return Scores(role=role, name=path.name, perturbed="request", sets=sets)


COLUMNS = {
    "answer_logp": "gt_loss",
    "answer_tokens": "num_token_gt",
    "paraphrase_logp": "paraphrased_loss",
    "paraphrase_tokens": "num_token_paraphrased",
    "perturbed_logp": "perturb_loss",
    "perturbed_tokens": "num_token_perturb",
}
"""TOFU's names of our fields."""


LARGEST = 1e12
"""No loss and no number of tokens comes near this; what does would only overflow later."""


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, list) else (value,)


def _named(message: str) -> str:
    """The column that a message about lengths is about."""
    return next((name for field, name in COLUMNS.items() if field in message), "its columns")


@dataclass(frozen=True, repr=False)
class _Part:
    path: Path
    values: Any

    def scores(self) -> ScoreSet:
        values = {
            field: self.losses(name) if field.endswith("logp") else self.column(name) for field, name in COLUMNS.items()
        }
        names = [str(line) for line in range(1, len(values["answer_logp"]) + 1)]
        if not names:
            raise InputError(self.path, "has no rows in 'gt_loss'")
        for name in (name for name in COLUMNS.values() if name.startswith("num_token")):
            if any(not isinstance(count, int | float) or count > LARGEST for count in _flat(self.column(name))):
                raise InputError(self.path, f"has something else than numbers of tokens in '{name}'")
        try:
            return ScoreSet(names=names, elicited={GREEDY: self.elicited()}, **values)
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0]) if first["loc"] else ""
            name = COLUMNS.get(field, "rougeL_recall") if first["loc"] else _named(first["msg"])
            raise InputError(self.path, f"has something else than numbers in '{name}': {first['msg']}") from None

    def elicited(self) -> Elicited:
        """ROUGE as logged; the rest from the logged texts where there are any."""
        recall = self.column("rougeL_recall")
        if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in recall):
            raise InputError(self.path, "has a 'rougeL_recall' that is no number from 0 to 1")
        if "generated_text" not in self.values:
            return Elicited(recall=recall)
        texts = self.column("generated_text")
        for text in texts:
            if not isinstance(text, list) or len(text) < 3 or not all(isinstance(part, str) for part in text):
                raise InputError(self.path, "has a 'generated_text' that is not prompt, answer and response")
        if len(texts) != len(recall):
            raise InputError(self.path, f"has {len(texts)} generated texts, but {len(recall)} ROUGE recalls")
        whole = [
            int(is_verbatim(value, text[2])) if is_long(text[2]) else None
            for value, text in zip(recall, texts, strict=True)
        ]
        leaked = [repeated(prompt, response, [answer]) for prompt, answer, response, *_ in texts]
        verbatim, by_words = [one.answers for one in leaked], [one.by_words for one in leaked]
        said = traits([text[1] for text in texts])
        return Elicited(recall=recall, whole=whole, verbatim=verbatim, by_words=by_words, traits=said)

    def column(self, name: str) -> list[Any]:
        values = self.values.get(name) if isinstance(self.values, dict) else None
        if not isinstance(values, dict | list):
            words = f"is neither a score file of 'verify' nor a TOFU evaluation log (no '{name}')"
            raise InputError(self.path, words)
        if isinstance(values, list):
            return values
        if set(values) != {str(row) for row in range(len(values))}:
            raise InputError(self.path, f"has rows of '{name}' that are not numbered from 0")
        return [values[str(row)] for row in range(len(values))]

    def losses(self, name: str) -> list[Any]:
        """Log-probabilities from losses, which are numbers or, for wrong answers, lists of them."""
        values = self.column(name)
        return [
            [self.negative(name, loss) for loss in value] if isinstance(value, list) else self.negative(name, value)
            for value in values
        ]

    def negative(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST:
            raise InputError(self.path, f"has something else than losses, numbers from 0 on, in '{name}'")
        return -float(value)
