"""What generated answers give away beyond the reference's, and rows that stayed known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...model.scores import GREEDY, SAMPLED, Elicited, Role, Scores, ScoreSet
from ..findings import Samples, Secrets
from ..statistics.counts import Excess, excess, standing_out, stratified_p
from .collected import Collected, same_tokens

LEAST_LEAD = 0.5
"""Nats a token by which the start model must know a row better for being half-way back to it to mean anything."""


def named_secrets(found: Collected) -> Secrets | None:
    """Every named secret, over all deterministic answers to the request and its rephrasings; None if none is named."""
    theirs: list[bool | None] = []
    ours: list[bool | None] = []
    lines: list[int] = []
    models: dict[Role, list[Scores]] = {
        role: [scores for scores in (own, *(at.get(role) for at in found.precisions.values())) if scores is not None]
        for role, own in found.models.items()
    }
    for name, _ in found.forget_sets():
        sets = {role: [scores.sets[name] for scores in some if name in scores.sets] for role, some in models.items()}
        other = secrets_said(sets.get("reference", []))
        for row, secrets in enumerate(secrets_said(sets["unlearned"])):
            ours += secrets
            theirs += other[row] if other else [None] * len(secrets)
            lines += [found.unlearned.forget.lines[row]] * len(secrets)
    if not ours:
        return None
    answered = _known(theirs)
    beyond = [line for our, other, line in zip(ours, theirs, lines, strict=True) if our and other is False]
    if any(our and other is None for our, other in zip(ours, theirs, strict=True)):
        answered = answered and bool(beyond)  # a leak that the reference was not asked about stays open
    return Secrets(
        named=len(ours),
        untested=sum(said is None for said in ours),
        leaked=sum(bool(said) for said in ours),
        leaked_by_reference=sum(bool(said) for said in theirs) if answered else None,
        beyond_reference=len(beyond) if answered else None,
        lines=tuple(sorted(set(beyond))) if answered else (),
    )


def _known(said: Sequence[bool | None]) -> bool:
    return any(value is not None for value in said)


def secrets_said(sets: Sequence[ScoreSet]) -> list[list[bool | None]]:
    """Whether each row's secrets came out of any deterministic answer; None for those that were never asked for."""
    modes = [m for scores in sets for n, m in scores.elicited.items() if n != SAMPLED and m.secrets is not None]
    rows = zip(*(mode.secrets or [] for mode in modes), strict=True)
    return [[_any(counts) for counts in zip(*row, strict=True)] for row in rows]


def _any(counts: Sequence[int | None]) -> bool | None:
    asked = [count for count in counts if count is not None]
    return any(asked) if asked else None


def whole_said(scores: ScoreSet) -> list[bool | None]:
    """Whether any deterministic answer repeats each row's whole response; None for rows that were never asked."""
    modes = [mode.whole for name, mode in scores.elicited.items() if name != SAMPLED and mode.whole is not None]
    return [_any(counts) for counts in zip(*modes, strict=True)]


def whole_answers(found: Collected) -> Excess | None:
    """Rows whose whole response a deterministic answer repeats; None where the reference's answers are not known."""
    if found.reference is None:
        return None
    said: dict[int, tuple[bool, bool]] = {}  # by row, however often and in however many words it was asked
    copies = found.unlearned.forget.copies or range(len(found.unlearned.forget.lines))
    for name, _ in found.forget_sets():
        for own, other in _modes(found, name):
            if own.whole is None or other.whole is None:
                continue
            for row, our, their in zip(copies, own.whole, other.whole, strict=True):
                if our is not None and their is not None:
                    before = said.get(row, (False, False))
                    said[row] = (before[0] or our > 0, before[1] or their > 0)
    if not said:
        return None
    lines = {copies[row]: found.unlearned.forget.lines[row] for row in distinct(found.unlearned.forget)}
    rows = sorted(said, key=lambda row: lines[row])
    return excess([said[row][0] for row in rows], [said[row][1] for row in rows], [lines[row] for row in rows])


def _excess(ours: Sequence[bool], theirs: Sequence[bool], lines: Sequence[int]) -> Excess:
    """Paired counts; lines of other files than the request are 0 and not listed."""
    counted = excess(ours, theirs, lines)
    return replace(counted, lines=tuple(line for line in counted.lines if line))


def _modes(found: Collected, name: str) -> Iterator[tuple[Elicited, Elicited]]:
    """Deterministic answers that both models gave to a set of rows, also at the precisions."""
    pairs = [(found.unlearned, found.reference)]
    pairs += [(models["unlearned"], models.get("reference", found.reference)) for models in found.precisions.values()]
    for ours, theirs in pairs:
        if theirs is not None and name in ours.sets and name in theirs.sets:
            first, second = ours.sets[name].elicited, theirs.sets[name].elicited
            yield from ((first[mode], second[mode]) for mode in first if mode != SAMPLED and mode in second)


def sampled_leaks(found: Collected) -> Samples | None:
    """Secrets and whole responses among sampled answers, against the reference's; None without either's."""
    ours = found.unlearned.forget.elicited.get(SAMPLED)
    theirs = found.reference.forget.elicited.get(SAMPLED) if found.reference else None
    if ours is None or theirs is None:
        return None
    rows = distinct(found.unlearned.forget)
    pairs = [pair for pair in zip(_items(ours, rows), _items(theirs, rows), strict=True) if None not in pair]
    if not pairs or ours.answers != theirs.answers:
        return None
    first, second = [our or 0 for our, _ in pairs], [their or 0 for _, their in pairs]
    return Samples(
        items=len(pairs),
        answers=ours.answers,
        leaked=sum(count > 0 for count in first),
        by_reference=sum(count > 0 for count in second),
        beyond=sum(our > 0 and not their for our, their in zip(first, second, strict=True)),
        p=stratified_p(first, second, ours.answers),
    )


def _items(sampled: Elicited, rows: Sequence[int]) -> list[int | None]:
    """In how many samples of these rows each named secret, and each whole response, came out."""
    secrets = [count for row in rows for count in (sampled.secrets[row] if sampled.secrets else [])]
    return secrets + [sampled.whole[row] if sampled.whole else None for row in rows]


def known_rows(found: Collected) -> Excess | None:
    """Rows that stand out as still known, against rows as far the other way; see `counts.standing_out`.

    Were the model like the reference, both would be equally frequent. None without the three models' scores.
    """
    if found.start is None or found.reference is None:
        return None
    start, now, reference = found.start.forget, found.unlearned.forget, found.reference.forget
    if not (same_tokens(start, now) and same_tokens(now, reference)):
        return None
    lead = start.per_token - (now.per_token + reference.per_token) / 2
    rows = [row for row in distinct(now) if lead[row] > LEAST_LEAD]
    if not rows:
        return None
    known, mirrored = standing_out((now.per_token - reference.per_token)[rows], lead[rows])
    return excess(known, mirrored, [now.lines[row] for row in rows])


def gibberish(found: Collected) -> Excess | None:
    """Greedy answers that are empty or repeat themselves, where those of the model it is measured against do not.

    Forget rows are measured against the reference, retain rows against the start model, or the other if one is
    missing. Line numbers are the request's.
    """
    against = {"forget": (found.reference, found.start), "retain": (found.start, found.reference)}
    ours: list[bool] = []
    theirs: list[bool] = []
    lines: list[int] = []
    for name, candidates in against.items():
        own = _broken(found.unlearned, name)
        other = next((flags for scores in candidates if (flags := _broken(scores, name)) is not None), None)
        if own is None or other is None:
            continue
        rows = found.unlearned.sets[name]
        for row in distinct(rows):
            our, their = own[row], other[row]
            if our is not None and their is not None:
                ours.append(our)
                theirs.append(their)
                lines.append(rows.lines[row] if name == "forget" else 0)
    return _excess(ours, theirs, lines) if ours else None


def _broken(scores: Scores | None, name: str) -> list[bool | None] | None:
    """Which greedy answers to a set are gibberish, None where that is not known."""
    greedy = scores.sets[name].elicited.get(GREEDY) if scores is not None and name in scores.sets else None
    return greedy.gibberish if greedy else None


def distinct(rows: ScoreSet) -> list[int]:
    """Positions of the rows, identical ones once: asked again, they are answered alike."""
    copies = rows.copies or range(len(rows.lines))
    first: dict[int, int] = {}
    for position, copy in enumerate(copies):
        first.setdefault(copy, position)
    return list(first.values())
