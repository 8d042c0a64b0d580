"""The request looked at before it is served: every flag, what could not be looked at, and the owner's word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..model.encoding import Encoded
from ..model.processes import Ranks
from ..model.protocol import Model
from ..model.shares import shared_scores
from ..model.windows import row_sums, row_tokens
from ..progress import Progress
from ..rows.abuse import Flag, check_approved
from ..rows.precheck import check_known, check_texts

if TYPE_CHECKING:
    from .prepare import Job, Sample

NO_HOLDOUT = "it needs --holdout, rows that no model saw"


@dataclass(frozen=True)
class Looked:
    """What was found. skipped: rules that could not be applied, with the reason."""

    flags: tuple[Flag, ...]
    skipped: dict[str, str]
    approved: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values for the run's record."""
        flags = [flag.as_json() for flag in self.flags]
        return {"flags": flags, "skipped": self.skipped, "approved": list(self.approved)}


def look_at_texts(job: Job, sample: Sample) -> Looked:
    """Apply the rules that need no model. Raises NeedsApproval for a flag that stops the request."""
    excluded = sample.pairing.excluded
    others = excluded.near_duplicates + excluded.holding_secrets
    quotas = job.recipe.request
    flags = check_texts(job.forget, sample.rows, (excluded.forget_rows, others), job.refusals, quotas)
    if job.options.retain is None:  # 300 answers that the model made: how many there are says nothing of its training
        flags = [flag for flag in flags if flag.rule != "quota"]
    check_approved(job.options.forget, flags, job.options.approve)
    return Looked(tuple(flags), {"unknown": NO_HOLDOUT}, job.options.approve)


def look_at_scores(
    job: Job, looked: Looked, unseen: Sequence[Encoded], model: Model, ranks: Ranks, progress: Progress
) -> Looked:
    """Add what the start model's scores show beside those of rows nobody saw, if there are any.

    Every process must call this. Raises NeedsApproval for a flag that stops the request.
    """
    if not unseen:
        return looked
    with progress.bar("Scoring what nobody saw", len(job.encoded) + len(unseen)) as bar:
        own, others = (
            _per_token(rows, shared_scores(ranks, model, rows, bar.advance)) for rows in (job.encoded, unseen)
        )
    flags, why = check_known(job.forget, own, others, job.recipe.request)
    with ranks.agreed():
        check_approved(job.options.forget, flags, job.options.approve)
    for flag in flags:
        progress.say(f"Note: {flag.words()}.")
    return replace(looked, flags=(*looked.flags, *flags), skipped={"unknown": why} if why else {})


def _per_token(encoded: Sequence[Encoded], logp: Sequence[float]) -> list[float]:
    """Log-probability of every row in nats a token."""
    return [total / tokens for total, tokens in zip(row_sums(encoded, logp), row_tokens(encoded), strict=True)]
