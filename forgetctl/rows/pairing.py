"""Choose the retain rows: keep out whatever would re-teach the forget rows, take half of the sample from their
neighbourhood, where damage shows first, and half uniformly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..recipe.recipe import Retain
from .conversations import Conversations
from .likeness import NearDuplicates, Profiles, Shortlist, descending, pieces, similarity
from .reading import pick
from .row import Key, Row, Turn, normalise
from .spans import filled, joined_spans, unmarked_parts

BATCH_ROWS = 4096
BATCH_CHARACTERS = 4 * 1024 * 1024
"""Of the retain file, held in memory at once."""
QUERIES = 64
"""Rows whose similarities with all others are held at once where perturbed answers are made."""
EXACT_PAIRS = 50_000_000
"""Pairs of forget and retain rows up to which all are compared; beyond, each forget row with a shortlist only."""
SHORTLIST = 300
"""Retain rows in it. On TOFU (400 forget rows, 3600 others) it holds the nearest row for 95 % of the forget rows, and
the row taken in its place is on average 0.05 points of 100 less similar; for the nearest ten, 86 % and 0.15."""


Holding = Callable[[Sequence[str]], NDArray[np.bool_]]
APART = "\n\n\n\n"
"""Between texts that do not follow one another, so that nothing is found across both."""


@dataclass(frozen=True)
class Excluded:
    """Retain rows kept out, counted by the first reason that applied. conversations: those that hold a forget row among
    their other turns, or as the other answer to their prompt."""

    forget_rows: int
    near_duplicates: int
    holding_secrets: int
    conversations: int


@dataclass(frozen=True)
class Pairing:
    """Positions in the list of retain rows: what to train on, what to measure damage on, and what was left out."""

    train: tuple[int, ...]
    check: tuple[int, ...]
    excluded: Excluded

    def as_json(self) -> dict[str, Any]:
        """Plain values for the run directory."""
        return {"train": list(self.train), "check": list(self.check), "excluded": asdict(self.excluded)}


def choose_retain(
    forget: Sequence[Row], retain: Sequence[Row], settings: Retain, seed: int, holding: Holding
) -> Pairing:
    """Split `retain` into a training sample and check rows that are never trained on.

    holding: which of some texts hold a secret of the forget rows (`people.mentions.Mentions.among`).
    The sample has settings.ratio rows per forget row (at least settings.minimum), as far as there are any.
    `retain` is read through once and only in part held in memory, so it may be a file of any size.
    A pure function of its arguments. Raises UsageError when nothing usable is left.
    """
    size = max(settings.minimum, round(settings.ratio * len(forget)))
    nearness = _nearness(forget, retain, round(settings.nearest_share * size))
    reasons = _reasons(forget, retain, settings.near_duplicate, nearness, holding)
    excluded = Excluded(*(int((reasons == code).sum()) for code in (1, 2, 3, 4)))
    eligible = np.flatnonzero(reasons == 0)
    if len(eligible) < 2:
        raise UsageError(
            f"the retain sample is empty: of {len(retain)} rows, {excluded.forget_rows} are forget rows, "
            f"{excluded.near_duplicates} near duplicates of them, {excluded.holding_secrets} hold secrets and "
            f"{excluded.conversations} are other turns of their conversations"
        )
    shuffled = np.random.default_rng([seed, len(retain)]).permutation(eligible)
    n_check = min(settings.check_rows, max(1, round(settings.check_share * len(eligible))))
    check, rest = shuffled[:n_check], shuffled[n_check:]
    size = min(len(rest), size)
    near = first_distinct(nearness.rankings(rest), round(settings.nearest_share * size))
    chosen = set(near)
    uniform = [position for position in rest.tolist() if position not in chosen][: size - len(near)]
    return Pairing(tuple(sorted([*near, *uniform])), tuple(sorted(check.tolist())), excluded)


def check_rests(path: Path, forget: Sequence[Row], holding: Holding) -> None:
    """Raise InputError for a row whose text holds a secret of the request where no row marks it: there it is kept.

    holding: as `choose_retain` takes it.
    """
    by_text: dict[tuple[tuple[Turn, ...], str], list[Row]] = defaultdict(list)
    for row in forget:
        by_text[row.context, row.response].append(row)
    kept = [rows for rows in by_text.values() if all(row.spans for row in rows)]
    texts = [
        APART.join(unmarked_parts(first.response, joined_spans(row.spans for row in (first, *others))))
        for first, *others in kept
    ]
    for (row, *_), holds in zip(kept, holding(texts), strict=True):
        if holds:
            raise InputError(path, "holds a secret of the request outside of its spans, where text is kept", row.name)


def first_distinct(rankings: Iterable[Sequence[int]], count: int) -> list[int]:
    """The first of each ranking in turn, then the second of each, until there are `count` different ones."""
    distinct: dict[int, None] = {}
    for position in chain.from_iterable(zip_longest(*rankings)):
        if len(distinct) == count:
            break
        if position is not None:
            distinct[position] = None
    return list(distinct)


def _reasons(
    forget: Sequence[Row], retain: Sequence[Row], threshold: float, nearness: Nearness, holding: Holding
) -> NDArray[np.int8]:
    """Why each retain row is kept out: 0 it is not, 1 a forget row, 2 a near duplicate, 3 holds a secret, 4 is of a
    conversation of which a forget row is.

    Rows that are not kept out for themselves are shown to `nearness`.
    """
    rows = {row.key for row in forget}
    conversations = Conversations(rows)
    wordings = ({row.response, row.paraphrased_response, row.marked} for row in forget)
    known = {normalise(text) for own in wordings for text in own if text}
    duplicates = NearDuplicates(known, threshold)
    reasons = np.zeros(len(retain), dtype=np.int8)
    for positions, part in _batches(retain):
        texts = [_text(row.key) for row in part]
        profiles = pieces(texts)
        same = np.array([row.key in rows for row in part])
        conversations.add(part, positions)
        close = duplicates.among([row.key.response for row in part])
        codes = np.select([same, close, holding([f"{row.prompt}{APART}{row.response}" for row in part])], [1, 2, 3])
        reasons[positions] = codes
        free = np.flatnonzero(codes == 0)
        nearness.add([texts[i] for i in free], profiles[free], positions[free])
    others = conversations.positions()
    reasons[others[reasons[others] == 0]] = 4
    return reasons


def _batches(rows: Sequence[Row]) -> Iterator[tuple[NDArray[np.int64], list[Row]]]:
    """The rows in order with their positions, in parts that are bounded in rows and, but for the last row, in text."""
    part: list[Row] = []
    characters = 0
    for end, row in enumerate(rows, start=1):
        part.append(row)
        characters += len(row.prompt) + len(row.response)
        if len(part) == BATCH_ROWS or characters >= BATCH_CHARACTERS or end == len(rows):
            yield np.arange(end - len(part), end), part
            part, characters = [], 0


class Nearness(Protocol):
    """Ranks retain rows by the token sort ratio of prompt and response with those of each forget row."""

    def add(self, texts: Sequence[str], profiles: Profiles, positions: NDArray[np.int64]) -> None:
        """Consider rows, by their text and position."""

    def rankings(self, order: NDArray[np.int64]) -> Iterable[Sequence[int]]:
        """For each forget row those of the positions `order` that are near, nearest first, equals in this order."""


def _nearness(forget: Sequence[Row], retain: Sequence[Row], count: int) -> Nearness:
    queries = list(dict.fromkeys(_text(row.key) for row in forget))
    if len(queries) * len(retain) <= EXACT_PAIRS:
        return _AllRows(queries, len(retain), count)
    # The rankings have rows in common, so each must go deeper than its share.
    return _ShortLists(queries, retain, max(SHORTLIST, 4 * -(-count // len(queries))))


class _AllRows:
    """Compares every pair; a byte for each."""

    def __init__(self, queries: Sequence[str], size: int, count: int) -> None:
        self.queries, self.count = queries, count
        self.scores = np.zeros((len(queries), size), dtype=np.uint8)

    def add(self, texts: Sequence[str], _: Profiles, positions: NDArray[np.int64]) -> None:
        self.scores[:, positions] = similarity(self.queries, texts)

    def rankings(self, order: NDArray[np.int64]) -> Iterable[Sequence[int]]:
        return [order[descending(row[order])[: self.count]].tolist() for row in self.scores]


class _ShortLists:
    """Compares each forget row only with the rows that share most pieces with it, read again for that.

    For many forget rows at once, as far as memory goes: of a table in columns one row takes as long as all before it.
    """

    def __init__(self, queries: Sequence[str], retain: Sequence[Row], size: int) -> None:
        self.queries, self.retain = queries, retain
        self.shortlist = Shortlist(queries, size)
        self.lengths = np.zeros(len(retain), dtype=np.int32)

    def add(self, texts: Sequence[str], profiles: Profiles, positions: NDArray[np.int64]) -> None:
        self.shortlist.add(texts, profiles, positions)
        self.lengths[positions] = [len(text) for text in texts]

    def rankings(self, order: NDArray[np.int64]) -> Iterable[Sequence[int]]:
        index = np.full(len(self.retain), -1)
        index[order] = np.arange(len(order))
        lists = (order[np.sort(index[positions[index[positions] >= 0]])].tolist() for positions in self.shortlist.ids())
        for part in self._parts(zip(self.queries, lists, strict=True)):
            texts = self._texts({position for _, kept in part for position in kept})
            for query, kept in part:
                scores = similarity([query], [texts[position] for position in kept])[0]
                yield [kept[i] for i in descending(scores)]

    def _parts(self, lists: Iterable[tuple[str, list[int]]]) -> Iterator[list[tuple[str, list[int]]]]:
        """Forget rows with their shortlists, as many together as may be held in text."""
        part: list[tuple[str, list[int]]] = []
        characters = 0
        for query, kept in lists:
            characters += int(self.lengths[kept].sum())
            if part and characters > BATCH_CHARACTERS:
                yield part
                part, characters = [], int(self.lengths[kept].sum())
            part.append((query, kept))
        if part:
            yield part

    def _texts(self, positions: set[int]) -> dict[int, str]:
        ordered = sorted(positions)
        starts = range(0, len(ordered), BATCH_ROWS)
        rows = (row for start in starts for row in pick(self.retain, ordered[start : start + BATCH_ROWS]))
        return {position: _text(row.key) for position, row in zip(ordered, rows, strict=True)}


def similar_answers(rows: Sequence[Row], others: Sequence[Row], count: int) -> list[tuple[str, ...]]:
    """For each row the responses of the `count` most similar other rows: perturbed answers where none are given.

    Candidates are the rows themselves, then `others`; an answer that equals the row's own is never used. A row
    gets fewer, or none, when there are not enough. One with spans gets its own response with what the others mark in
    their place, so those that mark nothing are no candidates.
    """
    pool = [*rows, *others]
    texts = [row.key.response for row in pool]
    prompts = [row.key.prompt for row in pool]
    scores = (
        scored
        for start in range(0, len(rows), QUERIES)
        for scored in similarity(prompts[: len(rows)][start : start + QUERIES], prompts)
    )
    answers = []
    for index, (row, scored) in enumerate(zip(rows, scores, strict=True)):
        used = {texts[index], normalise(row.paraphrased_response or "")}
        chosen: list[str] = []
        for position in descending(scored):
            if len(chosen) == count:
                break
            answer = filled(row, pool[position]) if row.spans else pool[position].response
            text = normalise(answer or "") if row.spans else texts[position]
            if answer and text not in used:
                used.add(text)
                chosen.append(answer)
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


def _text(key: Key) -> str:
    """One text of both. No normalised text holds a line break, so that nothing is found across it."""
    return f"{key.prompt}\n{key.response}"
