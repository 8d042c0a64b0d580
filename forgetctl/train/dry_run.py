"""`forgetctl unlearn --dry-run`: everything checked, nothing trained."""

from __future__ import annotations

from typing import Any

from ..model.encoding import marked
from ..model.load import choose_device
from ..model.processes import Ranks
from ..progress import Progress, Silent
from ..recipe.recipe import Recipe
from ..runs.hooks import RunHooks
from .computing import expected_work, refuse_full_disk
from .inputs import Inputs, read
from .options import UnlearnOptions
from .plan import estimate_cost, memory_limit
from .precheck import precheck_texts
from .prepare import prepare


def dry_run(
    options: UnlearnOptions,
    recipe: Recipe,
    progress: Progress | None = None,
    inputs: Inputs | None = None,
    hooks: RunHooks | None = None,
) -> tuple[dict[str, Any], tuple[str, str]]:
    """Check everything, train nothing: the facts of the job with its cost, and its first row decoded.

    The row comes as what the model is given and what is scored. Memory is in bytes. Raises as `prepare`, and
    NeedsApproval for a request whose text was flagged, MemoryExceeded if the job does not fit into what it may take.
    """
    inputs = inputs or read(options)
    (hooks or RunHooks()).check(options.requests, options.register)
    job = prepare(options, recipe, inputs)
    for note in job.notes:
        (progress or Silent()).say(note)
    refuse_full_disk(job)
    if job.sample:
        precheck_texts(job, job.sample)
    device, alone = choose_device(options.device), Ranks()
    limit = memory_limit(options.max_memory, device, alone)
    cost = estimate_cost(expected_work(job, device, alone), limit=limit)
    facts = {
        "forget_rows": len(job.forget),
        "rows_cut": job.cut,
        "windows": len(job.encoded),
        "retain_rows": len(job.sample.pairing.train) if job.sample else None,
        "method": recipe.name,
        "prompt_format": "chat template" if job.encode.encoder.uses_template else "plain, from the recipe",
        "parameters": cost.parameters,
        "optimizer_steps": cost.steps,
        "longest_row_tokens": cost.longest,
        "computed": cost.plan.why,
        "peak_memory_bytes": cost.memory,
        "seconds": round(cost.seconds, 1),
    }
    return facts, marked(job.encode.encoder, job.encoded[0])
