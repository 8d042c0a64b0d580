"""The model card: README.md beside the weights, with Hugging Face's metadata.

It may be published with the model, so of the records it takes only figures, settings, digests and fixed words: no
paths, no command line, no ids of requests, no line numbers, no names of runs or of references, and of files only the
names of those that lay beside the start model and were left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ..files.plain_text import printable
from ..verify.checks import comparison, models
from ..verify.record import Verdict
from ..verify.registry import MEASURES
from ..verify.tables import number
from ._formats import Markdown, environment
from ._history import written_model
from ._lineage import NOT_VERIFIED
from ._sections import sections_of
from ._settings import settings
from ._summary import summary
from ._view import labels, warnings
from .records import Ancestor, Report
from .words import KEPT_ADAPTER, LIMITS, PUBLISHING, RESULTS, SYMBOLS

HUB_ID = re.compile(r"[a-z0-9][\w.-]*/[a-z0-9][\w.-]*", re.ASCII | re.IGNORECASE)
TAG = re.compile(r"[a-z0-9-]{1,40}")
TASK = "text-generation"
SETTINGS = {
    *("terms", "beta", "hyperparameters", "forget_weight", "retain_weight", "learning_rate", "epochs", "batch_size"),
    *("weight_decay", "warmup_epochs", "max_grad_norm", "max_retain_kl", "precision", "seed", "lora"),
}
"""Settings that say how the model was made."""
PUBLIC = tuple(measure for measure in MEASURES if measure.public)
"""Checks that have something to say where everybody reads it."""


def card(report: Report, *, base_model: str | None, license: str | None) -> str:
    """Markdown with the metadata in front. base_model: told only if it is an id on the hub, `owner/name`."""
    verdict = _public(report.verdict) if report.verdict else None
    outcome, hub_id = summary(report, ()), base_model if base_model and HUB_ID.fullmatch(base_model) else None
    return str(
        environment("md")
        .get_template("card.md.j2")
        .render(
            metadata=Markdown(_metadata(report, hub_id, license)),
            run=report.run,
            verdict=verdict,
            name=_name(report),
            base_model=hub_id,
            meaning=outcome["meaning"],
            weaker=outcome["weaker"],
            compared=comparison.WORDS[comparison.MEASURE.of(verdict).kind] if verdict else "",
            counts=Counter(RESULTS[check.status] for check in verdict.checks) if verdict else {},
            codes=list(dict.fromkeys(reason.code for reason in verdict.reasons)) if verdict else [],
            warnings=list(warnings(report)),
            lineage=[_ancestor(run) for run in report.run.lineage],
            sections=sections_of(PUBLIC, verdict, report.plan, labels(report)) if verdict else [],
            made=report.run.stages.get("unlearn"),
            settings=[one for one in settings(report.recipe) if one[0].partition(".")[0] in SETTINGS],
            digests=list(_digests(report)),
            SYMBOLS=SYMBOLS,
            LIMITS=LIMITS,
            PUBLISHING=PUBLISHING,
            KEPT_ADAPTER=KEPT_ADAPTER,
        )
    )


def _ancestor(run: Ancestor) -> tuple[str, str, str]:
    """Rows, verdict and model of an earlier run, without its name, its requests or commitments."""
    rows = "an unknown number" if run.rows is None else number(run.rows)
    return rows, run.verdict or NOT_VERIFIED, run.model_sha256 or "not recorded"


def _name(report: Report) -> str:
    """What the start model was called, on one line."""
    model = report.run.inputs.get("model")
    return " ".join((model.name or "").split()) if model else ""


def _metadata(report: Report, base_model: str | None, license: str | None) -> str:
    """The block of YAML between the dashes; it quotes whatever could be read as anything but text."""
    from huggingface_hub import EvalResult, ModelCardData  # only a card needs it

    method = report.run.objective.method if report.run.objective else None
    measured = models.measured(models.MEASURE.of(report.verdict), "unlearned") if report.verdict else {}
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type="forget-rows" if label.startswith("Forget rows") else "kept-rows",
            dataset_name="forget rows" if label.startswith("Forget rows") else "rows that had to stay",
            metric_type=key,
            metric_name=label,
            metric_value=measured[key],
        )
        for key, label in models.LABELS.items()
        if key in measured
    ]
    data = ModelCardData(
        base_model=base_model,
        license=" ".join(printable(license).split()) if license else None,
        library_name="transformers",
        pipeline_tag=TASK,
        tags=["unlearning", "forgetctl", *([method] if method and TAG.fullmatch(method) else [])],
        model_name=_name(report) or "unlearned model",
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _public(verdict: Verdict) -> Verdict:
    """The figures of a verdict that hold no names and no line numbers; each check says which those are."""
    shown = {one.key: one.public(one.of(verdict)) if one.public else one.empty for one in MEASURES}
    return verdict.model_copy(update=shown)


def _digests(report: Report) -> Iterator[tuple[str, str]]:
    model, verdict = report.run.inputs.get("model"), report.verdict
    if model and model.sha256:
        yield "model before", model.sha256
    if written := written_model(report):
        yield "this model, as written", written
    if verdict and verdict.model.sha256:
        yield "this model, as verified", verdict.model.sha256
    made = report.run.stages.get("unlearn")
    if made and made.adapter_sha256:
        yield "the adapter's weights", made.adapter_sha256
    yield from report.run.frozen.items()
    if verdict:
        yield "verdict", verdict.digest
