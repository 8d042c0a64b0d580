"""What a request would do to others, asked before it is served: it comes from outside and need not be honest.

The rules on texts need no model: responses that are refusals or a few common words, near copies that would take other
rows out of the retain sample, and more rows than there are to hold the model by. The rule on memorisation compares the
start model's scores with those of rows nobody saw.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..recipe.recipe import Quotas
from .abuse import Flag
from .likeness import NearDuplicates
from .row import Row, normalise

REFUSAL = 90.0
"""Similarity of a response to a listed refusal, 0 to 100, from which it is one."""
OPENING = re.compile(
    r"((i'm|i am|we're|we are) (very |so )?sorry,? (but )?|sorry,? (but )?|(my )?apologies,? (but )?|unfortunately,? )*"
    r"(as an ai\b|(i|we) (cannot|can't|can not|won't|will not|(am|are) (unable|not able) to|(don't|do not) know"
    r"|(don't|do not) have (any |enough )?information)\b)"
)
"""How English refusals begin, case folded; the lists of refusals cover what they hold, in any language."""
WORD = re.compile(r"\w+")


def check_texts(
    forget: Sequence[Row], retain: Sequence[Row], excluded: tuple[int, int], refusals: Sequence[str], quotas: Quotas
) -> list[Flag]:
    """Flags of the rules that need no model. `retain` is read through once, or twice where `overlap` is flagged.

    excluded: retain rows that pairing kept out, those that are forget rows and the others. refusals: uninformed answers
    that the model may give. A row without a prompt answers nothing, so it is no refusal.
    """
    return [
        *_refusals(forget, refusals),
        *_common(forget, retain, quotas),
        *_overlap(forget, retain, excluded, quotas),
        *_quota(forget, retain, quotas),
    ]


def check_known(
    forget: Sequence[Row], scores: Sequence[float], unseen: Sequence[float], quotas: Quotas
) -> tuple[list[Flag], str | None]:
    """The flag of the rule on memorisation, or why it cannot be applied.

    scores, unseen: log-probabilities of the forget rows and of rows nobody saw under the start model, nats a token.
    """
    if len(unseen) < (needed := fewest_unseen(quotas.level)):
        return [], f"the holdout has {len(unseen)} rows, and {needed} are needed"
    unknown = [row for row, one in zip(forget, known(scores, unseen, quotas.level), strict=True) if not one]
    if not unknown:
        return [], None
    share = len(unknown) / len(forget)
    figure = (
        f"{share:.0%}; more than {quotas.unknown_share:.0%} stop the request; a row nobody saw passes for known "
        f"in at most {quotas.level:.0%} of cases"
    )
    return [_flag("unknown", unknown, forget, figure, stops=share > quotas.unknown_share)], None


def known(scores: Sequence[float], unseen: Sequence[float], level: float) -> NDArray[np.bool_]:
    """Which of the rows are known, by their log-probability in nats a token and that of unseen rows.

    A row is known if its rank among the unseen rows, itself counted, is within `level` of the top: the conformal
    p-value (1 + unseen rows that are no less probable) / (unseen rows + 1). So a row of the same kind that nobody saw
    passes for known with a probability of at most `level`, whatever the distribution; equals count against the row.
    Nothing is known against fewer than `fewest_unseen` rows.
    """
    ordered = np.sort(np.asarray(unseen, dtype=np.float64))
    no_less = len(ordered) - np.searchsorted(ordered, np.asarray(scores, dtype=np.float64), side="left")
    is_known: NDArray[np.bool_] = (1 + no_less) / (len(ordered) + 1) <= level
    return is_known


def fewest_unseen(level: float) -> int:
    """Unseen rows without which no row could ever be called known."""
    return math.ceil(1 / level) - 1


def _refusals(forget: Sequence[Row], refusals: Sequence[str]) -> Iterator[Flag]:
    own = (normalise(row.marked) if row.spans else row.key.response for row in forget)
    texts = [text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'") for text in own]
    listed = NearDuplicates({normalise(refusal) for refusal in refusals}, REFUSAL).among(texts)
    flagged = [
        row
        for row, text, one in zip(forget, texts, listed, strict=True)
        if row.context and (one or OPENING.match(text))
    ]
    if flagged:
        yield _flag("refusals", flagged, forget, "no row may be one")


def _common(forget: Sequence[Row], retain: Sequence[Row], quotas: Quotas) -> Iterator[Flag]:
    """Short responses of common words only, which the model needs for everything else."""
    words = [(row, _words(row.marked)) for row in forget]
    short = [(row, used) for row, used in words if len(used) <= quotas.common_words]
    if not short:
        return
    counts = _holding(retain, set().union(*(used for _, used in short)))
    fewest = quotas.common_share * len(retain)
    flagged = [row for row, used in short if all(counts[word] >= fewest for word in used)]
    if flagged:
        figure = f"up to {quotas.common_words} words, each in {quotas.common_share:.0%} of the retain rows or more"
        yield _flag("common", flagged, forget, figure)


def _overlap(forget: Sequence[Row], retain: Sequence[Row], excluded: tuple[int, int], quotas: Quotas) -> Iterator[Flag]:
    same, others = excluded
    share = others / max(1, len(retain) - same)
    if share <= quotas.overlap_share:
        return
    counts = Counter(row.key.response for row in retain)
    own = Counter(row.key.response for row in forget)
    # A row with secrets is named too: which of them stand elsewhere only pairing knows.
    flagged = [row for row in forget if row.secrets or counts[row.key.response] > max(1, own[row.key.response])]
    figure = f"they exclude {share:.0%} of the retain rows that are not of the request, {quotas.overlap_share:.0%} may"
    yield _flag("overlap", flagged, forget, figure)


def _quota(forget: Sequence[Row], retain: Sequence[Row], quotas: Quotas) -> Iterator[Flag]:
    share = len(forget) / len(retain)
    if share > quotas.forget_share:
        figure = f"{share:.2g} for each of {len(retain)} retain rows, {quotas.forget_share:g} may be"
        yield _flag("quota", [], forget, figure)


def _flag(rule: str, flagged: Sequence[Row], forget: Sequence[Row], figure: str, *, stops: bool = True) -> Flag:
    """A flag of some rows, or without any of all of them."""
    names = tuple(row.record_name for row in flagged)
    return Flag(rule=rule, rows=len(flagged) or len(forget), of=len(forget), names=names, figure=figure, stops=stops)


def _holding(rows: Iterable[Row], wanted: set[str]) -> Counter[str]:
    """In how many responses each of the wanted words, case folded, occurs."""
    return Counter(word for row in rows for word in _words(row.response) & wanted)


def _words(text: str) -> set[str]:
    return set(WORD.findall(text.casefold()))
