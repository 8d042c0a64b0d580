"""Files of scores: those that `verify` wrote, and evaluation logs of TOFU and NPO, checked against other scores."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ..errors import InputError
from ..files.outside import read_text
from ..files.strict_json import LooseJSONError, parse_json
from .scores import ATTACK, GREEDY, SCHEMA, Elicited, Role, Scores, ScoreSet
from .tofu_logs import from_tofu_log

FileKind = Literal["scores", "tofu-log"]


def read_scores(path: Path, role: Role) -> tuple[Scores, FileKind]:
    """A model's scores from a file: one that `verify` wrote, or an evaluation log of TOFU or NPO.

    Raises InputError if the file is neither, or was written for a model in another role.
    """
    text = read_text(path)
    try:
        value = parse_json(text)
    except LooseJSONError as error:
        why = f"is neither a model directory nor a JSON score file: it {error}"
        raise InputError(path, why, error.line) from None
    if not isinstance(value, dict):
        raise InputError(path, "is neither a score file of 'verify' nor a TOFU evaluation log")
    kind: FileKind = "scores" if "sets" in value else "tofu-log"
    if kind == "scores" and type(schema := value.get("schema_version")) is int and schema != SCHEMA:
        why = f"was written by another version of forgetctl (schema {schema}, this one reads {SCHEMA})"
        raise InputError(path, f"{why}; score the model again with: forgetctl verify")
    try:
        scores = Scores.model_validate(value) if kind == "scores" else from_tofu_log(path, value, role)
    except ValidationError as error:
        first = error.errors()[0]
        # Keys of the file itself may be anything, so only our own are repeated.
        where = "".join(f"{part}: " for part in first["loc"][-2:] if part in _FIELDS)
        raise InputError(path, f"is not a score file: {where}{first['msg']}") from None
    if "forget" not in scores.sets:
        raise InputError(path, "has no scores of forget rows")
    if scores.role != role:
        raise InputError(path, f"holds the scores of the {scores.role} model, which is no {_ROLES[role]}")
    return scores, kind


_FIELDS = {*Scores.model_fields, *ScoreSet.model_fields, *Elicited.model_fields}
_ROLES: dict[Role, str] = {"reference": "reference", "start": "start model", "unlearned": "model to verify"}


def check_rows(path: Path, stored: Scores, kind: FileKind, expected: Scores) -> None:
    """Raise InputError unless the file's rows are the ones that `expected` scores.

    They must agree in number and, but for evaluation logs, in the length of each answer.
    """
    if kind == "scores" and stored.perturbed != expected.perturbed:
        raise InputError(path, f"was made with other perturbed answers ({stored.perturbed}, here {expected.perturbed})")
    for name, here in expected.sets.items():
        if there := stored.sets.get(name):
            _check_set(path, name, there, kind, here)


def asked_alike(stored: Scores, expected: Scores) -> Scores:
    """Scores without those of attack prompts that `expected` was not asked, such as with other retain rows as examples:
    what came out of other prompts is no comparison."""
    alike = {
        name: rows
        for name, rows in stored.sets.items()
        if not name.startswith(ATTACK) or _is_alike(rows, expected.sets.get(name))
    }
    return stored.model_copy(update={"sets": alike})


def _is_alike(stored: ScoreSet, expected: ScoreSet | None) -> bool:
    return expected is not None and (stored.wording, stored.answer_tokens) == (expected.wording, expected.answer_tokens)


def _check_set(path: Path, name: str, stored: ScoreSet, kind: FileKind, expected: ScoreSet) -> None:
    if len(stored.names) != len(expected.names):
        raise InputError(path, f"scores {len(stored.names)} {name} rows, there are {len(expected.names)}")
    if kind == "tofu-log":  # published logs count tokens under their own template
        return
    for row, there, here in zip(expected.names, stored.answer_tokens, expected.answer_tokens, strict=True):
        if there != here:
            raise InputError(
                path,
                f"is about other rows or another tokenizer: {name} row {row} has {there} answer tokens there, "
                f"{here} here",
            )
    if stored.perturbed_tokens and expected.perturbed_tokens and stored.perturbed_tokens != expected.perturbed_tokens:
        raise InputError(path, f"was made with other perturbed answers of the {name} rows")
    if stored.wording != expected.wording:
        raise InputError(path, f"was made with other attack prompts of {name}; score the model again")
    if _secret_counts(stored) != _secret_counts(expected):
        raise InputError(path, f"was made with other secrets of the {name} rows")


def _secret_counts(scores: ScoreSet) -> list[int]:
    greedy = scores.elicited.get(GREEDY)
    return [len(row) for row in (greedy.secrets or [])] if greedy else []
