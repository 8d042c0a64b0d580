"""Collected scores <-> score files by name, so that a verdict can be reached again from what a run keeps.

Names: start, unlearned, reference, reference-2 ..., unlearned-int8, unlearned-relearned; of what an earlier run forgot
unlearned-then1 (its own model, when it was verified) and unlearned-now1 (the verified model), unlearned-then2 ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast, get_args

from ...model.scores import Role, Scores
from .collected import Collected, Comparison, Earlier, Tracked

RELEARNED, THEN, NOW = "relearned", "then", "now"


def by_name(found: Collected) -> dict[str, Scores]:
    """Every score but those of the model in training, by the name of its file."""
    named: dict[str, Scores] = {str(role): scores for role, scores in found.models.items()}
    named |= {f"reference-{number}": scores for number, scores in enumerate(found.references[1:], 2)}
    for precision, models in found.precisions.items():
        named |= {f"{role}-{precision}": scores for role, scores in models.items()}
    for number, pair in enumerate(found.earlier, 1):
        named |= {f"unlearned-{THEN}{number}": pair.then, f"unlearned-{NOW}{number}": pair.now}
    return named | {f"{role}-{RELEARNED}": scores for role, scores in found.relearned.items()}


def collect(
    named: Mapping[str, Scores], kind: Comparison, rephrased: Sequence[str], tracked: Sequence[Tracked]
) -> Collected:
    """The inverse. Raises KeyError if there are no scores of the verified model, ValueError for a name that is none."""
    further: dict[int, Scores] = {}
    earlier: dict[str, dict[int, Scores]] = {THEN: {}, NOW: {}}
    precisions: dict[str, dict[Role, Scores]] = {}
    for name, scores in named.items():
        role, _, variant = name.partition("-")
        if role not in get_args(Role):
            raise ValueError("a score file has a name that none has")
        if role == "reference" and variant.isdecimal():
            further[int(variant)] = scores
        elif (when := variant.rstrip("0123456789")) in earlier and when != variant:
            earlier[when][int(variant.removeprefix(when))] = scores
        elif variant:
            precisions.setdefault(variant, {})[cast(Role, role)] = scores
    relearned = precisions.pop(RELEARNED, {})
    first = [named["reference"]] if "reference" in named else []
    return Collected(
        named["unlearned"],
        kind,
        named.get("start"),
        (*first, *(further[number] for number in sorted(further))),
        precisions,
        relearned,
        tuple(rephrased),
        tuple(tracked),
        tuple(Earlier(then, earlier[NOW][number]) for number, then in sorted(earlier[THEN].items())),
    )
