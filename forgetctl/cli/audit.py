"""`forgetctl audit`: options -> one call -> echo -> exit code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._options import PATH, common, json_option

if TYPE_CHECKING:
    from .terminal import TerminalProgress


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--key", "keys", type=PATH, required=True, multiple=True, metavar="PUB", help="A public key you trust.")
@click.option(
    "--threshold", type=click.IntRange(1), default=1, show_default=True, help="How many of these keys must have signed."
)
@click.option("--tsa-root", type=PATH, metavar="PEM", help="Root certificate of the time-stamp authority you trust.")
@click.option("--model", type=PATH, metavar="DIR", help="Also compare a model directory with the one that was sealed.")
@click.option("--weights-key", type=PATH, metavar="PUB", help="Public key of the signature of the weights.")
@click.option("--other-version", is_flag=True, help="Do without comparing pages that another forgetctl wrote.")
@json_option
@common
def audit(
    progress: TerminalProgress,
    *,
    bundle: Path,
    keys: tuple[Path, ...],
    threshold: int,
    tsa_root: Path | None,
    model: Path | None,
    weights_key: Path | None,
    other_version: bool,
    as_json: bool,
) -> None:
    """Check a sealed BUNDLE. Exit code 0 sound, 1 broken, 2 malformed, 3 policy unmet."""
    from ..seal.audit import AuditOptions, exit_code, run_audit

    options = AuditOptions(
        bundle=bundle,
        keys=keys,
        threshold=threshold,
        tsa_root=tsa_root,
        model=model,
        weights_key=weights_key,
        other_version=other_version,
    )
    findings = run_audit(options)
    code = exit_code(findings)
    if as_json:
        click.echo(json.dumps({"exit_code": code, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        from .terminal import show_audit

        show_audit([(finding.check, finding.status, finding.text) for finding in findings], code)
    click.get_current_context().exit(code)
