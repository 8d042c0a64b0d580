"""`--deep`: what is only hidden comes back with little training.

Model and reference are both trained on half of the forget rows and scored on the other half: a model that had forgotten
learns no more than the reference does. Hu et al. 2024 (arXiv 2406.13356).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...model.scores import Role, Scores
from ...recipe.bounds import Bounds
from ..collected import Collected, same_tokens
from ..findings import (
    Check,
    Context,
    Heading,
    LoadableModels,
    Measure,
    ModelWork,
    NotMeasurableError,
    failed,
    passed,
    unsure,
)
from ..statistics.distances import Interval, paired_distance
from ..statistics.means import Shift, equivalence_margin, paired_shift
from ..statistics.shapes import Shape
from ..tables import Row, Shown, Table, between, cell, shift_cell, tables_of

NAME, VARIANT = "relearning attack", "relearned"


class Relearned(Shape):
    """Rows after the model was fine-tuned on other rows of their subjects, less a reference that was treated alike."""

    shift: Shift
    distance: Interval


def work(models: LoadableModels) -> dict[Role, Scores]:
    """Train both models again, and score them."""
    from ._attack import relearned, split_halves  # imports torch, which a report does without

    if "reference" not in models.paths:
        raise NotMeasurableError("it needs a reference model to treat alike, not only its scores")
    if not all(split_halves(models.scorer.sets.forget)):
        raise NotMeasurableError("it needs at least two different rows")
    roles: tuple[Role, ...] = ("unlearned", "reference")
    return {role: relearned(models.scorer, role, models.paths[role], models.scores[role].forget) for role in roles}


def measure(scores: Collected, bounds: Bounds) -> Relearned | None:
    """The model against the reference, after both were trained on other rows of the same subjects."""
    after = scores.altered.get(VARIANT, {})
    if not {"unlearned", "reference"} <= set(after):
        return None
    ours, theirs = after["unlearned"].forget, after["reference"].forget
    if not same_tokens(ours, theirs):
        return None
    shift = paired_shift(ours.per_token, theirs.per_token, ours.units, bounds.levels)
    distance = paired_distance(ours.per_token, theirs.per_token, ours.units, bounds.levels)
    return Relearned(shift=shift, distance=distance)


def judge(finding: Relearned | None, context: Context) -> Iterator[Check]:
    """Whether training on other rows of the same subjects brings back more than in a reference treated alike."""
    if finding is None:
        return
    shift, delta = finding.shift, context.bounds.delta
    margin = equivalence_margin(delta) * shift.spread
    figure = (
        f"{shift.difference:+.3f} nats, {shift.lower:+.3f} to {shift.upper:+.3f}, n = {shift.n}; limit {margin:.3f}"
    )
    what = "After training on other rows of the same subjects it"
    if finding.distance.lower > delta and shift.lower > 0:
        words = (
            f"{what} knows more of the rest than a reference treated alike ({figure}; D = {finding.distance.D:.3f})."
        )
        yield failed(NAME, "RELEARNED", words)
    elif shift.upper < margin:
        words = f"{what} knows no more of the rest than a reference treated alike ({figure})."
        yield passed(NAME, "NOT_RELEARNED", words)
    else:
        words = f"{what} may know more of the rest than a reference treated alike ({figure})."
        yield unsure(NAME, "RELEARNING_UNSURE", words)


def why_missing(finding: Relearned | None, scores: Collected) -> dict[str, str]:
    """Where the attack was made and cannot be compared."""
    made = VARIANT in scores.altered and finding is None
    return {"relearning": "the two models tokenise the answers differently"} if made else {}


def table(finding: Relearned | None, shown: Shown) -> Iterable[Table]:
    """What came back."""
    if finding is None:
        return ()
    distance, shift = finding.distance, finding.shift
    cells = (
        shift_cell(shift, shown.bounds.delta, "+"),
        cell(distance.D, between(distance.lower, distance.upper)),
        cell(shift.n),
    )
    caption = (
        "After training on the other half, against the reference; above 0 the model knows more, in nats per token."
    )
    columns = ("Rows", "Difference of means", "Distance D", "Number")
    return tables_of(caption, columns, [Row("Rows not trained on again", "", cells)])


HEADING = Heading(
    title="Relearning",
    words=lambda findings, bounds: (
        "What is only hidden comes back with little training. Model and reference were both trained on half of the "
        "forget rows and scored on the other half: a model that had forgotten learns no more than the reference does."
    ),
)
MEASURE = Measure(
    place=130,
    measure=measure,
    empty=None,
    judge=judge,
    heading=HEADING,
    table=table,
    why_missing=why_missing,
    work=ModelWork(
        name=NAME,
        variant=VARIANT,
        option="--deep",
        asked=lambda options: options.deep,
        settings=("learning_rate", "micro_batch_size", "lora"),
        work=work,
    ),
)
