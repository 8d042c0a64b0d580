"""TOFU's forget quality: the two-sample KS test of the truth ratios. Shown, never judged."""

from __future__ import annotations

from collections.abc import Iterable

from ...model.metrics import TRUTH_RATIO_VARIANT
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Measure
from ..statistics.shapes import Shape
from ..tables import Row, Shown, Table, cell, number, p_value, tables_of
from . import distances
from ._closeness import HEADING

CAPTION = "Reported, never the verdict. KL is the divergence of two models' answers, in nats per token, 0 or more."
COLUMNS = ("Quantity", "Value")


class ForgetQuality(Shape):
    """How it was measured; its D, n and p are those of the truth ratio among the distances, where p is `tofu_p`.

    variant: which mean the truth ratio takes. perturbed: where the wrong answers came from.
    """

    variant: str
    perturbed: str | None


def measure(scores: Collected, bounds: Bounds) -> ForgetQuality | None:
    """The unlearned model against the reference."""
    if scores.reference is None:
        return None
    ours, theirs = scores.unlearned.forget.truth_ratios, scores.reference.forget.truth_ratios
    if ours is None or theirs is None:
        return None
    return ForgetQuality(variant=TRUTH_RATIO_VARIANT, perturbed=scores.unlearned.perturbed)


def why_missing(finding: ForgetQuality | None, scores: Collected) -> dict[str, str]:
    """Without truth ratios those have a reason of their own."""
    return {"forget_quality": "there is no reference"} if scores.reference is None else {}


def table(finding: ForgetQuality | None, shown: Shown) -> Iterable[Table]:
    """D, p and n."""
    compared = distances.truth_ratio(shown.findings)
    if finding is None or compared is None:
        return ()
    how = f"{finding.variant} mean" + (f", wrong answers from: {finding.perturbed}" if finding.perturbed else "")
    words = f"Two-sample KS test of the truth ratios ({how})."
    values = cell(compared.distance.D, f"p = {p_value(compared.tofu_p)}", f"n = {number(compared.distance.n)}")
    return tables_of(CAPTION, COLUMNS, [Row("TOFU forget quality", words, (values,))])


MEASURE = Measure(
    place=50,
    measure=measure,
    empty=None,
    heading=HEADING,
    table=table,
    why_missing=why_missing,
    public=lambda finding: finding,
)
