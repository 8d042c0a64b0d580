"""Choose the retain rows: keep out whatever would re-teach the forget rows, take half of the sample from their
neighbourhood, where damage shows first, and half uniformly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from ..errors import UsageError
from ..recipe import Retain
from ..rows import Row, normalise

CHUNK = 10_000


@dataclass(frozen=True)
class Excluded:
    """Retain rows kept out, counted by the first reason that applied."""

    forget_rows: int
    near_duplicates: int
    holding_secrets: int


@dataclass(frozen=True)
class Pairing:
    """Positions in the list of retain rows: what to train on, what to measure damage on, and what was left out."""

    train: tuple[int, ...]
    check: tuple[int, ...]
    excluded: Excluded

    def as_json(self) -> dict[str, Any]:
        """Plain values for the run directory."""
        return {"train": list(self.train), "check": list(self.check), "excluded": asdict(self.excluded)}


def choose_retain(forget: Sequence[Row], retain: Sequence[Row], settings: Retain, seed: int) -> Pairing:
    """Split `retain` into a training sample and check rows that are never trained on.

    The sample has settings.ratio rows per forget row (at least settings.minimum), as far as there are any.
    A pure function of its arguments. Raises UsageError when nothing usable is left.
    """
    reasons = _reasons(forget, retain, settings.near_duplicate)
    excluded = Excluded(*(int((reasons == code).sum()) for code in (1, 2, 3)))
    eligible = np.flatnonzero(reasons == 0)
    if len(eligible) < 2:
        raise UsageError(
            f"the retain sample is empty: of {len(retain)} rows, {excluded.forget_rows} are forget rows, "
            f"{excluded.near_duplicates} near duplicates of them and {excluded.holding_secrets} hold secrets"
        )
    shuffled = np.random.default_rng([seed, len(retain)]).permutation(eligible)
    n_check = min(settings.check_rows, max(1, round(settings.check_share * len(eligible))))
    check, rest = shuffled[:n_check], shuffled[n_check:]
    size = min(len(rest), max(settings.minimum, round(settings.ratio * len(forget))))
    near = nearest(forget, [retain[i] for i in rest], round(settings.nearest_share * size))
    chosen = set(near)
    uniform = [i for i in range(len(rest)) if i not in chosen][: size - len(near)]
    train = sorted(int(rest[i]) for i in [*near, *uniform])
    return Pairing(tuple(train), tuple(sorted(int(i) for i in check)), excluded)


def _reasons(forget: Sequence[Row], retain: Sequence[Row], threshold: float) -> NDArray[np.int8]:
    """Why each retain row is kept out: 0 it is not, 1 a forget row, 2 a near duplicate, 3 holds a secret."""
    rows = {(normalise(row.prompt), normalise(row.response)) for row in forget}
    known = sorted({normalise(text) for row in forget for text in (row.response, row.paraphrased_response) if text})
    secrets = sorted({normalise(secret) for row in forget for secret in row.secrets})
    reasons = np.zeros(len(retain), dtype=np.int8)
    for start in range(0, len(retain), CHUNK):
        part = retain[start : start + CHUNK]
        responses = [normalise(row.response) for row in part]
        closest = process.cdist(
            known, responses, scorer=fuzz.ratio, score_cutoff=threshold, dtype=np.uint8, workers=-1
        ).max(axis=0)
        for offset, (row, response) in enumerate(zip(part, responses, strict=True)):
            if (normalise(row.prompt), response) in rows:
                reasons[start + offset] = 1
            elif closest[offset] > 0:
                reasons[start + offset] = 2
            elif any(secret in response or secret in normalise(row.prompt) for secret in secrets):
                reasons[start + offset] = 3
    return reasons


def nearest(forget: Sequence[Row], candidates: Sequence[Row], count: int) -> list[int]:
    """Positions of `count` distinct candidates, the nearest of each forget row in turn until there are enough."""
    if count <= 0:
        return []
    similarity = _similarity([_key(row) for row in forget], [_key(row) for row in candidates])
    ranked = np.argsort(-similarity.astype(np.int16), axis=1, kind="stable")
    found: dict[int, None] = {}
    for position in ranked.T.ravel():
        found[int(position)] = None
        if len(found) == count:
            break
    return list(found)


def similar_answers(rows: Sequence[Row], others: Sequence[Row], count: int) -> list[tuple[str, ...]]:
    """For each row the responses of the `count` most similar other rows: perturbed answers where none are given.

    Candidates are the rows themselves, then `others`; an answer that equals the row's own is never used. A row
    gets fewer, or none, when there are not enough.
    """
    pool = [*rows, *others]
    texts = [normalise(row.response) for row in pool]
    similarity = _similarity([normalise(row.prompt) for row in rows], [normalise(row.prompt) for row in pool])
    answers = []
    for index, row in enumerate(rows):
        used = {texts[index], normalise(row.paraphrased_response or "")}
        chosen: list[str] = []
        for position in np.argsort(-similarity[index].astype(np.int16), kind="stable"):
            if len(chosen) == count:
                break
            if texts[position] not in used:
                used.add(texts[position])
                chosen.append(pool[position].response)
        answers.append(tuple(chosen))
    return answers


def with_perturbed(forget: list[Row], others: Sequence[Row], count: int) -> tuple[list[Row], str | None]:
    """Forget rows with perturbed answers: the request's own, else the answers of the most similar other rows.

    Also says where they came from, None if some row has none.
    """
    if all(row.perturbed_responses for row in forget):
        return forget, "request"
    made = similar_answers(forget, others, count)
    rows = [
        row if row.perturbed_responses else replace(row, perturbed_responses=answers)
        for row, answers in zip(forget, made, strict=True)
    ]
    if not all(row.perturbed_responses for row in rows):
        return rows, None
    return rows, "request and nearest answers" if any(row.perturbed_responses for row in forget) else "nearest answers"


def _key(row: Row) -> str:
    return normalise(f"{row.prompt} {row.response}")


def _similarity(queries: Sequence[str], texts: Sequence[str]) -> NDArray[np.uint8]:
    return process.cdist(queries, texts, scorer=fuzz.token_sort_ratio, dtype=np.uint8, workers=-1)
