"""Rows whose response an answer repeats: in words that nobody finds who never read them, or by an identifier.

One row repeated by words that no reference repeats is a leak: of models that never saw TOFU's forget rows none of 1,580
answers does so. An identifier of a short response may be guessed, so such rows are counted, against how often other
people's answers hold it. Without a reference the model's answers to rows that nobody saw show how often it happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from ...model.scores import DRAWN, ScoreSet
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Measure, failed, passed, unsure
from ..statistics.counts import Excess, excess, unpaired_excess
from ..statistics.shapes import Chance, RowName, Shape
from ..tables import Shown, Table
from ._answers import HEADING, Said, said
from ._counts import count_table, distinct, name_rows, no_more_than

GUESSED = 11 / 6340
"""Share of other authors' answers to the nearest questions of TOFU that hold an identifier of a short response
(tests/model/test_extraction.py)."""


Against = Literal["references", "unseen rows"]


class Repeated(Shape):
    """Rows of which a deterministic answer repeats the response. counted: here alone, and in what they are compared
    with alone; of unseen rows those count that are repeated. by_words: names of the former that are told by words.
    guessed: how often as many of the others would be guessed."""

    against: Against
    counted: Excess
    by_words: tuple[RowName, ...]
    guessed: Chance


def measure(scores: Collected, bounds: Bounds) -> Repeated | None:
    """None where nothing could be seen of any answer, or the references' answers are not known."""
    return _against_references(scores) if scores.references else _against_unseen(scores)


def _against_references(scores: Collected) -> Repeated | None:
    forget = scores.unlearned.forget
    ours = [Said()] * len(forget.names)  # however often and in however many words it was asked
    theirs = [Said()] * len(forget.names)
    for own, others in _asked(scores):
        modes = [mode for mode in own.elicited if mode not in DRAWN and any(mode in one.elicited for one in others)]
        ours = _together(ours, said(own, modes))
        for one in others:
            theirs = _together(theirs, said(one, modes))
    rows = [row for row in distinct(forget) if ours[row].answers and theirs[row].answers]
    if not rows:
        return None
    names, answered = [forget.names[row] for row in rows], [ours[row] for row in rows]
    counted = excess([one.repeated for one in answered], [theirs[row].repeated for row in rows], names)
    return _repeated("references", counted, dict(zip(names, answered, strict=True)))


def _repeated(against: Against, counted: Excess, answered: Mapping[RowName, Said]) -> Repeated:
    from scipy.stats import binom  # slow to import, and most commands do not judge

    verbatim = tuple(name for name in counted.names if answered[name].by_words)
    answers = sum(one.guessable for one in answered.values())
    guessed = float(binom.sf(len(counted.names) - len(verbatim) - 1, answers, GUESSED))
    return Repeated(against=against, counted=counted, by_words=verbatim, guessed=guessed)


def _asked(scores: Collected) -> Iterator[tuple[ScoreSet, list[ScoreSet]]]:
    """Every way of asking, also at the precisions, with the references that were asked so."""
    for name, _ in scores.forget_sets():
        if name in scores.unlearned.sets:
            yield scores.unlearned.sets[name], [one.sets[name] for one in scores.references if name in one.sets]
    for models in scores.precisions.values():
        rounded = [models["reference"]] if "reference" in models else []
        yield models["unlearned"].forget, [one.forget for one in (*rounded, *scores.references)]


def _together(known: Sequence[Said], more: Sequence[Said]) -> list[Said]:
    return [one.and_also(other) for one, other in zip(known, more, strict=True)]


def _against_unseen(scores: Collected) -> Repeated | None:
    forget, unseen = scores.unlearned.forget, scores.unlearned.sets.get("holdout")
    modes = [mode for mode in forget.elicited if mode not in DRAWN]
    ours = said(forget, modes)
    for models in scores.precisions.values():
        ours = _together(ours, said(models["unlearned"].forget, modes))
    rows = [row for row in distinct(forget) if ours[row].answers]
    if not rows:
        return None
    names, answered = [forget.names[row] for row in rows], [ours[row] for row in rows]
    others = _of_unseen(unseen, modes) if unseen else []
    counted = unpaired_excess([one.repeated for one in answered], [one.repeated for one in others], names)
    return _repeated("unseen rows", counted, dict(zip(names, answered, strict=True)))


def _of_unseen(unseen: ScoreSet, modes: Sequence[str]) -> list[Said]:
    answered = said(unseen, modes)
    return [answered[row] for row in distinct(unseen) if answered[row].answers]


def judge(finding: Repeated | None, context: Context) -> Iterator[Check]:
    """One row by words that no reference repeats is too many; else more than chance explains."""
    if finding is None:
        return
    name, counted = "whole answers", finding.counted
    figure = f"{counted.more} of {counted.total}, the comparison alone {counted.fewer}; p = {counted.p:.2g}"
    words = f"Answers repeat responses that the {finding.against} do not repeat"
    p = min(counted.p, finding.guessed)
    if finding.by_words and finding.against == "references":
        yield failed(name, "ANSWERS_LEAKED", f"{words}, word for word ({figure}; {name_rows(finding.by_words)}).")
    elif p <= context.count_level / 2:
        yield failed(name, "ANSWERS_LEAKED", f"{words} ({figure}; {name_rows(counted.names)}).")
    elif finding.by_words or p <= context.bounds.fail_level:
        text = f"{words}, too few to be sure ({figure}; {name_rows(finding.by_words or counted.names)}); read them."
        yield unsure(name, "ANSWERS_SAID", text)
    else:
        unseen = "" if counted.more else f"; of rows like them {no_more_than(counted.total)}"
        words = "No more answers repeat a response than chance gives, and none word for word what the"
        text = f"{words} {finding.against} do not repeat ({figure}{unseen})."
        yield passed(name, "NO_ANSWER_LEAKED", text)


def why_missing(finding: Repeated | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    words = "nothing of the responses could be told from a guess, or the references' answers are not known"
    return {"whole_answers": words} if finding is None else {}


def table(finding: Repeated | None, shown: Shown) -> Iterable[Table]:
    """Here and at the reference."""
    note = "Rows whose response an answer repeats, by many of its words in one piece or in order, or by an identifier."
    return count_table("Responses repeated", note, finding.counted if finding else None, shown)


MEASURE: Measure[Repeated | None] = Measure(
    place=90,
    measure=measure,
    empty=None,
    judge=judge,
    heading=HEADING,
    table=table,
    why_missing=why_missing,
    counts=True,
)
