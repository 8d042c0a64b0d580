"""`forgetctl purge`: options -> one call -> echo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files.plain_text import one_line
from ._options import LATEST, PATH, common, json_option

if TYPE_CHECKING:
    from .terminal import TerminalProgress


@click.command()
@click.argument("run", default=LATEST, type=PATH)
@click.option("--keys", is_flag=True, help="Also the commitment keys: nobody can prove any more what was asked.")
@click.option("--scores", is_flag=True, help="Also the scores by row: the verdict cannot be reached again.")
@click.option("--abandon", is_flag=True, help="Purge a run that was not finished, which then never can be.")
@click.option("--dry-run", is_flag=True, help="Say what would be destroyed, and destroy nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@common
def purge(
    progress: TerminalProgress,
    *,
    run: Path,
    keys: bool,
    scores: bool,
    abandon: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Destroy what must not outlive the request: checkpoints, cached start scores, on demand keys and scores."""
    from ..seal.purge import PurgeOptions, plan_purge, run_purge

    planned = plan_purge(PurgeOptions(run, keys=keys, scores=scores, abandon=abandon))
    if not dry_run and not yes:
        listed = "".join(f"\n  {one_line(str(path))}" for path in planned.targets) or " nothing"
        click.confirm(f"This destroys, for good:{listed}\nGo on?", abort=True, err=True)
    done = planned if dry_run else run_purge(planned)
    if as_json:
        remaining = [{"what": what, "why": why} for what, why in done.remaining]
        targets = [str(path) for path in done.targets]
        click.echo(json.dumps({"destroyed": [] if dry_run else targets, "targets": targets, "remaining": remaining}))
        return
    from .terminal import show_purge

    show_purge([str(path) for path in done.targets], done.remaining, dry_run=dry_run)
