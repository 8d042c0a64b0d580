"""The request checked before it is served: flags, rules that could not be applied, what the owner approved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..model.encoding import Encoded
from ..model.processes import Ranks
from ..model.protocol import Model
from ..model.shares import shared_scores
from ..model.windows import row_sums, row_tokens
from ..progress import Progress
from ..rows.abuse import Flag, check_approved
from ..rows.precheck import check_known, check_texts
from .job import Job, Sample

NO_HOLDOUT = "it needs --holdout, rows that no model saw"


@dataclass(frozen=True)
class Precheck:
    """What the rules said. skipped: rules that could not be applied, with the reason."""

    flags: tuple[Flag, ...]
    skipped: dict[str, str]
    approved: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values for the run's record."""
        flags = [flag.as_json() for flag in self.flags]
        return {"flags": flags, "skipped": self.skipped, "approved": list(self.approved)}


def precheck_texts(job: Job, sample: Sample) -> Precheck:
    """Apply the rules that need no model. Raises NeedsApproval for a flag that stops the request."""
    excluded = sample.pairing.excluded
    others = excluded.near_duplicates + excluded.holding_secrets + excluded.conversations
    quotas = job.recipe.request
    flags = check_texts(job.forget, sample.rows, (excluded.forget_rows, others), job.inputs.refusals, quotas)
    if job.inputs.retain is None:  # 300 answers that the model made: how many there are says nothing of its training
        flags = [flag for flag in flags if flag.rule != "quota"]
    check_approved(job.options.forget, flags, job.options.approve)
    return Precheck(tuple(flags), {"unknown": NO_HOLDOUT}, job.options.approve)


def precheck_scores(job: Job, texts: Precheck, model: Model, ranks: Ranks, progress: Progress) -> Precheck:
    """Add what the start model's scores show beside those of rows nobody saw, if there are any.

    texts: what the other rules said. Every process must call this. Raises NeedsApproval for a flag that stops the
    request.
    """
    unseen = job.unseen.encoded
    if not unseen:
        return texts
    with progress.bar("Scoring what nobody saw", len(job.encoded) + len(unseen)) as bar:
        own, others = (
            _per_token(rows, shared_scores(ranks, model, rows, bar.advance)) for rows in (job.encoded, unseen)
        )
    flags, why = check_known(job.forget, own, others, job.recipe.request)
    with ranks.agreed():
        check_approved(job.options.forget, flags, job.options.approve)
    for flag in flags:
        progress.say(f"Note: {flag.words()}.")
    return replace(texts, flags=(*texts.flags, *flags), skipped={"unknown": why} if why else {})


def _per_token(encoded: Sequence[Encoded], logp: Sequence[float]) -> list[float]:
    """Log-probability of every row in nats a token."""
    return [total / tokens for total, tokens in zip(row_sums(encoded, logp), row_tokens(encoded), strict=True)]
