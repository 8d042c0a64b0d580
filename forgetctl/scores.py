"""Per-row scores of one model: the file format that `verify` writes and reads, and TOFU's evaluation logs.

Scores hold numbers only. Statistics can be redone from them without a model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, model_validator

from .errors import InputError
from .maths import metrics

Floats = NDArray[np.float64]
Role = Literal["start", "unlearned", "reference"]
FileKind = Literal["scores", "tofu-log"]


class ScoreSet(BaseModel):
    """Scores of one set of rows, in file order. Log-probabilities are sums in nats, over `*_tokens` tokens.

    Lists that were not measured are None. perturbed_* hold one list per row. secrets_out tells, for each row and
    each of its secrets, whether it came out in the generated answer. Rows without a prompt have None in both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    lines: list[int]
    answer_logp: list[float]
    answer_tokens: list[PositiveInt]
    paraphrase_logp: list[float] | None = None
    paraphrase_tokens: list[PositiveInt] | None = None
    perturbed_logp: list[list[float]] | None = None
    perturbed_tokens: list[list[PositiveInt]] | None = None
    rouge_recall: list[float | None] | None = None
    secrets_out: list[list[bool | None]] | None = None

    @model_validator(mode="after")
    def _same_lengths(self) -> ScoreSet:
        if not self.lines:
            raise ValueError("there are no rows")
        for name in type(self).model_fields:
            values = getattr(self, name)
            if values is not None and len(values) != len(self.lines):
                raise ValueError(f"{name} has {len(values)} rows, expected {len(self.lines)}")
        if self.perturbed_logp is not None and self.perturbed_tokens is not None:
            for logp, tokens in zip(self.perturbed_logp, self.perturbed_tokens, strict=True):
                if not logp or len(logp) != len(tokens):
                    raise ValueError(f"a row has {len(logp)} perturbed answers, but {len(tokens)} lengths")
        return self

    @property
    def per_token(self) -> Floats:
        """Mean log-probability of an answer's tokens, (n,) nats."""
        return metrics.per_token(self.answer_logp, self.answer_tokens)

    @property
    def probability(self) -> float:
        """Mean length-normalised answer probability, in [0, 1]."""
        return float(metrics.probability(self.answer_logp, self.answer_tokens).mean())

    @property
    def truth_ratios(self) -> Floats | None:
        """Truth ratio of each row, (n,), or None without perturbed answers."""
        if self.perturbed_logp is None or self.perturbed_tokens is None:
            return None
        if self.paraphrase_logp is None or self.paraphrase_tokens is None:
            return None
        return metrics.truth_ratio(
            self.paraphrase_logp, self.paraphrase_tokens, self.perturbed_logp, self.perturbed_tokens
        )

    @property
    def rouge(self) -> float | None:
        """Mean ROUGE-L recall of the generated answers, in [0, 1]."""
        measured = [value for value in self.rouge_recall or [] if value is not None]
        return float(np.mean(measured)) if measured else None


class Scores(BaseModel):
    """Scores of one model on the forget, retain and holdout rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    role: Role
    name: str
    sha256: str | None = None
    perturbed: str | None = None
    sets: dict[Literal["forget", "retain", "holdout"], ScoreSet]

    @property
    def forget(self) -> ScoreSet:
        """The forget rows, which every score file has."""
        return self.sets["forget"]


def read_scores(path: Path) -> tuple[Scores, FileKind]:
    """A reference's scores from a file: one that `verify` wrote, or an evaluation log of TOFU or NPO.

    Raises InputError if the file is neither.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InputError(path, "is neither a model directory nor a JSON score file") from None
    if not isinstance(value, dict):
        raise InputError(path, "is neither a score file of 'verify' nor a TOFU evaluation log")
    kind: FileKind = "scores" if "sets" in value else "tofu-log"
    try:
        scores = Scores.model_validate(value) if kind == "scores" else _from_tofu(path, value)
    except ValidationError as error:
        raise InputError(path, f"is not a score file: {error.errors()[0]['msg']}") from None
    if "forget" not in scores.sets:
        raise InputError(path, "has no scores of forget rows")
    if scores.role != "reference":
        raise InputError(path, f"holds the scores of the {scores.role} model, which is no reference")
    return scores, kind


def check_rows(path: Path, found: Scores, kind: FileKind, expected: Scores) -> None:
    """Raise InputError unless the file's forget rows are the ones that `expected` scores.

    They must agree in number and, but for evaluation logs, in the length of each answer.
    """
    if kind == "scores" and found.perturbed != expected.perturbed:
        raise InputError(path, f"was made with other perturbed answers ({found.perturbed}, here {expected.perturbed})")
    lines, ours, theirs = expected.forget.lines, expected.forget.answer_tokens, found.forget.answer_tokens
    if len(theirs) != len(ours):
        raise InputError(path, f"scores {len(theirs)} forget rows, the request has {len(ours)}")
    if kind == "tofu-log":  # published logs count tokens under their own template
        return
    for line, there, here in zip(lines, theirs, ours, strict=True):
        if there != here:
            raise InputError(
                path,
                f"is about other rows or another tokenizer: row {line} has {there} answer tokens there, {here} here",
            )
    for name, words in (("perturbed_tokens", "perturbed answers"), ("secrets_out", "secrets")):
        there, here = getattr(found.forget, name), getattr(expected.forget, name)
        if there is not None and here is not None and _shape(there) != _shape(here):
            raise InputError(path, f"was made with other {words} than the request's")


def _shape(rows: list[list[Any]]) -> list[Any]:
    """Lengths of perturbed answers as they are; of secrets only how many there are."""
    return [row if row and type(row[0]) is int else len(row) for row in rows]


def _negative(path: Path, name: str, value: Any) -> Any:
    """Losses, or lists of them, as log-probabilities."""
    if isinstance(value, list):
        return [_negative(path, name, loss) for loss in value]
    if not isinstance(value, int | float):
        raise InputError(path, f"has a loss in '{name}' that is no number")
    return -value


def _from_tofu(path: Path, log: dict[str, Any]) -> Scores:
    """TOFU's evaluation log: values keyed by row (TOFU) or plain lists (NPO), losses as positive sums."""
    part = log.get("eval_log_forget.json", log)

    def column(name: str) -> list[Any]:
        values = part.get(name) if isinstance(part, dict) else None
        if not isinstance(values, dict | list):
            raise InputError(path, f"is neither a score file of 'verify' nor a TOFU evaluation log (no '{name}')")
        if isinstance(values, list):
            return values
        if set(values) != {str(row) for row in range(len(values))}:
            raise InputError(path, f"has rows of '{name}' that are not numbered from 0")
        return [values[str(row)] for row in range(len(values))]

    def losses(name: str) -> list[Any]:
        return [_negative(path, name, loss) for loss in column(name)]

    answer = losses("gt_loss")
    forget = ScoreSet(
        lines=list(range(1, len(answer) + 1)),
        answer_logp=answer,
        answer_tokens=column("num_token_gt"),
        paraphrase_logp=losses("paraphrased_loss"),
        paraphrase_tokens=column("num_token_paraphrased"),
        perturbed_logp=losses("perturb_loss"),
        perturbed_tokens=column("num_token_perturb"),
        rouge_recall=[-value for value in losses("rougeL_recall")],
    )
    return Scores(role="reference", name=path.name, perturbed="request", sets={"forget": forget})
