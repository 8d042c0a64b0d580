"""Forget prompts with answers of rows that no model saw, and those rows themselves: what forgetting must not damage.

A model that never saw a forget prompt says after it what it says after any prompt of its kind. The start model shows
that, after prompts that it never saw: after the forget prompts the unlearned model is to say the same of the same
answers. Without that, what is pushed away from the true answer goes anywhere, true answers in other words stay likelier
than wrong ones, and text that nobody ever saw becomes less likely, too; hence also the unseen rows themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..model.encoding import Encoded, Encoder
from ..model.windows import by_row
from ..rows.likeness import descending, similarity
from ..rows.row import Row
from .term_inputs import RoleRows

NEAREST = 2
"""Unseen rows whose answers each forget prompt is given: those with the most similar prompts."""


NO_STAND_INS = RoleRows(())


def make_stand_ins(
    forget: Sequence[Row],
    unseen: Sequence[Row],
    sources: Sequence[Encoded],
    encoder: Encoder,
    bounds: Iterable[int | None],
) -> RoleRows:
    """Each unseen row, and each forget prompt with the answers of the unseen rows that have the most similar prompts.

    Passages have no prompt and give none of the latter, and neither do answers that come out as other tokens after
    another prompt. sources: the `unseen` rows encoded. bounds: tokens that a row may have at most, None for any number;
    longer ones are left out.
    """
    longest = min((bound for bound in bounds if bound is not None), default=None)
    places = [own[0] for own in by_row(sources, range(len(sources)))]
    answering = [position for position, row in enumerate(unseen) if row.context]
    prompts = [unseen[position].key.prompt for position in answering]
    pairs = [
        (row.answering(unseen[position].response, unseen[position].spans), places[position])
        for row in forget
        if row.context
        for position in (answering[near] for near in descending(similarity([row.key.prompt], prompts)[0])[:NEAREST])
    ]
    encoded = encoder.encode_all([row for row, _ in pairs])
    good = [
        (row, place)
        for row, (_, place) in zip(encoded, pairs, strict=True)
        if _answer(row) == _answer(sources[place]) and (longest is None or len(row.ids) <= longest)
    ]
    return RoleRows(
        [*sources, *(row for row, _ in good)], sources, [*range(len(sources)), *(place for _, place in good)]
    )


def _answer(row: Encoded) -> tuple[object, ...]:
    return row.ids[row.start :], row.scored
