"""forgetctl: make a language model forget what a deletion request names, check that it did, and write the report.

The tour, in the order of the work:

    from pathlib import Path
    from forgetctl import UnlearnOptions, VerifyOptions, load_recipe, run_unlearn, run_verify, run_report
    from forgetctl import AuditOptions, SealOptions, run_audit, run_seal

    recipe = load_recipe(method="npo-rt", overrides=["learning_rate=1e-4"])
    run = run_unlearn(UnlearnOptions(model="./llama", forget=Path("requests.jsonl")), recipe)
    verdict = run_verify(VerifyOptions(run=run.path, references=("./retrained",)))
    page, _ = run_report(run.path, "html")
    bundle = run_seal(SealOptions(path=run.path, key=Path("officer.key")))
    findings = run_audit(AuditOptions(bundle=bundle, keys=(Path("officer.key.pub"),)))

Words: *start* is the model before, *unlearned* our output, *reference* a model that never saw the forget rows,
*holdout* rows that no model saw; a *verdict* is PASS, FAIL or INCONCLUSIVE. Errors: `forgetctl.errors`.
`Register` is the owner's register of requests. The losses are in `forgetctl.losses.methods`, the definition of a
score in `forgetctl.model.scoring`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.3.0"

if TYPE_CHECKING:
    from .cli.api import resume_unlearn, run_unlearn, run_verify
    from .recipe.recipe import Recipe, load_recipe
    from .register.store import Register
    from .report.report import run_report
    from .runs.run import Run
    from .seal.audit import AuditOptions, run_audit
    from .seal.prove import run_prove
    from .seal.purge import PurgeOptions, run_purge
    from .seal.seal import SealOptions, run_seal
    from .train.options import UnlearnOptions
    from .verify.options import VerifyOptions

__all__ = [
    "AuditOptions",
    "PurgeOptions",
    "Recipe",
    "Register",
    "Run",
    "SealOptions",
    "UnlearnOptions",
    "VerifyOptions",
    "load_recipe",
    "resume_unlearn",
    "run_audit",
    "run_prove",
    "run_purge",
    "run_report",
    "run_seal",
    "run_unlearn",
    "run_verify",
]

_HOMES = {
    "AuditOptions": "seal.audit",
    "PurgeOptions": "seal.purge",
    "Recipe": "recipe.recipe",
    "Register": "register.store",
    "Run": "runs.run",
    "SealOptions": "seal.seal",
    "UnlearnOptions": "train.options",
    "VerifyOptions": "verify.options",
    "load_recipe": "recipe.recipe",
    "resume_unlearn": "cli.api",
    "run_audit": "seal.audit",
    "run_prove": "seal.prove",
    "run_purge": "seal.purge",
    "run_report": "report.report",
    "run_seal": "seal.seal",
    "run_unlearn": "cli.api",
    "run_verify": "cli.api",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `forgetctl --help` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'forgetctl' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
