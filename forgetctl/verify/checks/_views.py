"""What one model knows of the forget rows, seen in several ways: a score a row, of every model that is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...model.scores import ATTACK, UNNAMED, Role, Scores, ScoreSet
from ...recipe.bounds import Bounds
from ..collected import Collected, same_tokens
from ..statistics.share_left import Noise, Scored, Weights, noise_of
from ._counts import distinct

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Kind = Literal["taught wording", "other words", "first choices", "fact tokens", "extraction", "contrast"]

STEPPED: tuple[Kind, ...] = ("first choices", "fact tokens", "extraction")
"""Views of shares of a row's tokens."""
WORDS: dict[Kind, str] = {
    "taught wording": "How likely the answer is, asked as it was taught.",
    "other words": "How likely the answer is, asked in other words.",
    "first choices": "How many tokens of the answer are the model's first choice after the true ones before.",
    "fact tokens": "The same of those tokens alone that only the row itself tells, such as names and numbers.",
    "extraction": "How little of the answer must be given before the model completes it by itself.",
    "contrast": "How much likelier the answer is than wrong ones, in other words.",
}
"""Each view with what it sees."""


@dataclass(frozen=True)
class Values:
    """What one model scored of some rows. scores: (n,), NaN for rows that have nothing of the kind. tokens: (n,) how
    many each is of. decided_by: what decided which tokens these are, the same for models that can be compared."""

    scores: Floats
    tokens: Floats
    decided_by: tuple[int, int] | None = None


Column = Callable[[ScoreSet], Values | None]


@dataclass(frozen=True, kw_only=True)
class View:
    """One view of the request.

    name: what it sees, with the file or precision that it is of. scored: the request's rows in which there is something
    to see, whose `subjects` are people by number. noise, start_noise: of the verified and of the start model, None
    where nothing shows any.
    """

    name: str
    kind: Kind
    scored: Scored
    noise: Noise | None
    start_noise: Noise | None

    @property
    def weights(self) -> Weights:
        """Leads in the contrast differ much from row to row."""
        return "lead" if self.kind == "contrast" else "tokens"

    @property
    def of_rows(self) -> bool:
        """Whether it judges single rows, and overshooting: where scores are log-probabilities of one answer."""
        return self.kind in ("taught wording", "other words")

    @property
    def shown_by_rows(self) -> bool:
        """Whether only the scatter of the rows themselves shows the noise, which then proves no ignorance."""
        return self.noise is None or self.noise.source == "own rows"

    def of_person(self, person: int) -> Scored | None:
        """A person's rows, None without any."""
        assert self.scored.subjects is not None  # noqa: S101  every view says whose the rows are
        chosen = np.flatnonzero(self.scored.subjects == person)
        return self.scored.of_rows(chosen) if len(chosen) else None

    def bound(self, bounds: Bounds) -> float:
        """Share of the lead that may be left."""
        if not len(self.scored.references):
            return bounds.share_left_unpaired
        return bounds.share_left_contrast if self.kind == "contrast" else bounds.share_left

    def overshoot(self, bounds: Bounds) -> float | None:
        """Share of the lead by which the rows may lie below; wider where other rows stand for them."""
        if self.kind != "taught wording":
            return None
        return bounds.overshoot + (0 if len(self.scored.references) else bounds.share_left_unpaired)


@dataclass(frozen=True)
class People:
    """Whose the rows of a request are.

    rows: positions of the rows, identical ones of a person once. numbers: (rows,) people from 0 in the order of the
    request; rows that name nobody are one person's. unnamed: that one's number, None where every row names somebody.
    """

    rows: tuple[int, ...]
    numbers: tuple[int, ...]
    unnamed: int | None

    @classmethod
    def of(cls, forget: ScoreSet) -> People:
        """Those of the forget rows."""
        count = len(forget.names)
        subjects = forget.subjects or [UNNAMED] * count
        number = {subject: place for place, subject in enumerate(dict.fromkeys(subjects))}
        first: dict[tuple[int, int], int] = {}
        for row, (subject, copy) in enumerate(zip(subjects, forget.copies or range(count), strict=True)):
            first.setdefault((subject, copy), row)
        rows = tuple(sorted(first.values()))
        return cls(rows, tuple(number[subjects[row]] for row in rows), number.get(UNNAMED))

    @property
    def count(self) -> int:
        """Number of people."""
        return max(self.numbers) + 1

    def positions(self, person: int) -> Ints:
        """Of a person's rows among `rows`."""
        return np.flatnonzero(np.asarray(self.numbers) == person)


Models = tuple[Scores, ...]
"""The verified model, the start model, and the references."""
NEEDED = 3
"""Of them: without the first reference, where there is one, nothing is compared."""


def views(scores: Collected, people: People) -> Iterator[View]:
    """Every view that all of the models were scored for."""
    if scores.start is None or scores.kind == "none":
        return
    compared = _Compared((scores.unlearned, scores.start, *scores.references), people)
    yield from compared.seen("taught wording", "taught wording", "forget", _per_token)
    for name, suffix in scores.forget_sets():
        # Unseen rows are not asked by the templates, so that without a reference nothing shows what these make likely.
        if name != "forget" and (scores.references or not name.startswith(ATTACK)):
            yield from compared.seen("other words", f"other words{suffix}", name, _per_token)
    for precision, rounded in scores.precisions.items():
        models = (rounded["unlearned"], rounded.get("start", scores.start), *_references(scores, rounded))
        yield from _Compared(models, people, compared.models).seen(
            "taught wording", f"taught wording, {precision}", "forget", _per_token
        )
    yield from compared.seen(
        "first choices", "first choices", "forget", lambda rows: _listed(rows, rows.exact_memorisation)
    )
    yield from compared.seen("fact tokens", "fact tokens", "forget", _facts)
    yield from compared.seen("extraction", "extraction", "forget", lambda rows: _listed(rows, rows.extraction_strength))
    if scores.references:  # unseen rows have other wrong answers, so that theirs cannot stand for a reference's
        yield from compared.seen("contrast", "contrast", "forget", lambda rows: _values(rows, rows.log_odds))


def _references(scores: Collected, rounded: Mapping[Role, Scores]) -> Models:
    """The one at that precision, or at full precision where it could not be loaded."""
    return (rounded.get("reference", scores.references[0]),) if scores.references else ()


@dataclass(frozen=True)
class _Compared:
    """The models that a view compares; further references only where they can be compared. full: the same at full
    precision, where unseen rows were scored, as many as these are."""

    models: Models
    people: People
    full: Models | None = None

    def seen(self, kind: Kind, name: str, rows: str, column: Column) -> Iterator[View]:
        """One view, or none."""
        first, further = self.models[:NEEDED], self.models[NEEDED:]
        models = (*first, *(one for one in further if _scored((first[0], one), rows, column) is not None))
        scored = _scored(models, rows, column, self.people.rows, np.asarray(self.people.numbers))
        if scored is None:
            return
        unseen = _unseen(self.full[: len(models)] if self.full else models, column)
        step = 1 / float(scored.tokens.mean()) if kind in STEPPED else 0.0
        of_people = replace(scored, subjects=_numbered(scored.subjects))
        yield View(
            name=name,
            kind=kind,
            scored=scored,
            noise=noise_of(of_people, unseen, step),
            start_noise=noise_of(of_people.of_start, unseen.of_start if unseen else None, step),
        )


def _unseen(models: Models, column: Column) -> Scored | None:
    """Rows that none of the models saw, identical ones once; with their subjects, if all name one."""
    holdout = models[0].sets.get("holdout")
    if holdout is None:
        return None
    rows = distinct(holdout)
    subjects = None if holdout.subjects is None else np.asarray(holdout.subjects)[rows]
    scored = _scored(models, "holdout", column, rows, subjects)
    if scored is None or scored.subjects is None:
        return scored
    return replace(scored, subjects=None if UNNAMED in scored.subjects else _numbered(scored.subjects))


def _numbered(subjects: Ints | None) -> Ints | None:
    """From 0, without gaps."""
    return None if subjects is None else np.unique(subjects, return_inverse=True)[1]


def _scored(
    models: Models, name: str, column: Column, rows: Sequence[int] | None = None, subjects: Ints | None = None
) -> Scored | None:
    """None unless every model was scored so on the same answers. Rows for which that says nothing are left out.

    subjects: of the chosen rows.
    """
    sets = [scores.sets[name] for scores in models if name in scores.sets]
    if len(sets) < len(models) or not all(same_tokens(one, sets[0]) for one in sets):
        return None
    columns = [values for one in sets if (values := column(one)) is not None]
    if len(columns) < len(sets) or any(one.decided_by != columns[0].decided_by for one in columns):
        return None
    chosen = np.arange(len(sets[0].names)) if rows is None else np.asarray(rows)
    scores = np.array([one.scores[chosen] for one in columns])
    there = ~np.isnan(scores).any(axis=0)
    if not there.any():
        return None
    model, start, *references = scores[:, there]
    return Scored(
        model=model,
        start=start,
        references=np.reshape(references, (len(references), int(there.sum()))),
        tokens=columns[0].tokens[chosen][there],
        subjects=None if subjects is None else subjects[there],
    )


def _per_token(rows: ScoreSet) -> Values | None:
    return _values(rows, rows.per_token)


def _listed(rows: ScoreSet, values: list[float] | None) -> Values | None:
    return _values(rows, None if values is None else np.asarray(values, dtype=float))


def _values(rows: ScoreSet, scores: Floats | None) -> Values | None:
    return None if scores is None else Values(scores, np.asarray(rows.answer_tokens, dtype=float))


def _facts(rows: ScoreSet) -> Values | None:
    facts = rows.facts
    if facts is None:
        return None
    scores = np.array([np.nan if share is None else share for share in facts.first_choices])
    return Values(scores, np.full(len(scores), float(facts.tokens)), (facts.pairs, facts.different))
