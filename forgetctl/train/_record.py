"""What run.json says of a run of `unlearn` when it begins."""

from __future__ import annotations

from typing import Any

from ..errors import source_name
from ..files.writing import model_digest
from ..losses.methods import OBJECTIVES
from ..model.hardware import describe, versions
from ..model.load import choose_device
from ..model.templates import template_date, template_digest
from ..rows.refusals import refusals_digest
from .job import Job, Sample
from .neutral import ORIGIN, rows_digest


def _holdout(job: Job) -> dict[str, Any]:
    """What calibrated the run. Nobody's rows to forget, so a plain digest tells nothing of them."""
    file = job.inputs.holdout
    if file is None:
        return {}
    facts = {"path": source_name(file.path), "rows": len(job.unseen.rows), "sha256": file.sha256}
    return {"holdout": {**facts, **_revision(file.revision)}}


def _revision(revision: str | None) -> dict[str, str]:
    """The commit of a data set of the hub."""
    return {} if revision is None else {"revision": revision}


def first_record(job: Job, sample: Sample) -> dict[str, Any]:
    """The first content of run.json."""
    terms = job.recipe.weighted_terms()
    retain_path = job.options.retain
    return {
        "kind": "unlearn",
        "versions": versions(),
        "platform": describe(),
        "device": str(choose_device(job.options.device)),
        "argv": list(job.options.argv),
        "options": job.options.as_json(),
        "seed": job.recipe.seed,
        "lineage": list(job.start.lineage),
        "objective": {
            "method": job.recipe.name,
            "formula": " + ".join(f"{weight:g} * {name}" for name, weight in terms.items()),
            "terms": [
                {
                    "name": name,
                    "weight": weight,
                    "formula": OBJECTIVES[name].formula,
                    "source": OBJECTIVES[name].source,
                }
                for name, weight in terms.items()
            ],
        },
        "inputs": {
            "model": {
                "name": job.start.name,
                "path": str(job.facts.path),
                "sha256": model_digest(job.facts.path),
                "bytes": job.facts.bytes,
                "notes": list(job.facts.notes),
                "template_sha256": template_digest(job.encode.encoder.tokenizer),
                "template_date": template_date(job.encode.encoder.tokenizer),
            },
            "forget": {
                "path": source_name(job.options.forget),
                **_revision(job.inputs.forget.revision),
                "rows": len(job.forget),
                "marked": sum(bool(row.spans) for row in job.forget),
                "cut": job.cut,
                "windows": len(job.encoded),
            },
            "refusals": {"path": str(job.inputs.refusals_file), "sha256": refusals_digest(job.inputs.refusals)},
            "retain": {
                "path": source_name(retain_path) if retain_path else None,
                **_revision(job.inputs.retain.revision if job.inputs.retain else None),
                "rows": len(sample.rows),
                "origin": "file" if retain_path else ORIGIN,
                # A file of the owner's may hold the forget rows, so `_freeze` commits to it under the run's key.
                **({} if retain_path else {"sha256": rows_digest(sample.rows)}),
            },
            **_holdout(job),
        },
    }
