"""`forgetctl tune`: options -> one call -> the trials as a table."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files.plain_text import one_line
from ._options import (
    PATH,
    RecipeChoice,
    approve_option,
    common,
    device_option,
    download_option,
    json_option,
    memory_option,
    row_options,
    training_options,
)
from .process import computing

if TYPE_CHECKING:
    from ..rows.formats import Fields
    from ..tune.tune import Tuned
    from .terminal import TerminalProgress


@click.command()
@click.option("--model", required=True, metavar="DIR|RUN", help="The start model, as for unlearn.")
@click.option("--forget", required=True, type=PATH, metavar="FILE", help="The request.")
@click.option("--retain", required=True, type=PATH, metavar="FILE", help="Rows to keep.")
@click.option("--holdout", required=True, type=PATH, metavar="FILE", help="Rows that no model saw.")
@training_options
@click.option("--plain", is_flag=True, help="Tune the method as it is, not calibrated with the holdout.")
@approve_option
@click.option("--trials", type=click.IntRange(1), default=12, show_default=True, help="Settings to begin with.")
@click.option("--minutes", type=click.FloatRange(0), metavar="N", help="Begin no trial after so long.")
@click.option(
    "--utility-loss",
    type=click.FloatRange(0, 1),
    default=0.03,
    show_default=True,
    help="Share of the kept rows' probability that may be lost.",
)
@click.option("--out", type=PATH, default="forgetctl-tune", show_default=True, metavar="DIR", help="Where trials go.")
@row_options
@device_option
@memory_option
@download_option()
@json_option
@common
def tune(
    progress: TerminalProgress,
    fields: Fields,
    chosen: RecipeChoice,
    *,
    model: str,
    forget: Path,
    retain: Path,
    holdout: Path,
    plain: bool,
    approve: tuple[str, ...],
    trials: int,
    minutes: float | None,
    utility_loss: float,
    out: Path,
    device: str,
    max_memory: int | None,
    allow_download: bool,
    as_json: bool,
) -> None:
    """Find the settings that bring a request's rows to where unseen rows lie, and write them as a recipe.

    Many settings are tried for a few epochs, the best third of them longer, and of those the best third in full. What a
    verdict is reached from is never looked at. Called again, it goes on where it stopped.
    """
    with computing(device):
        from ..train.options import UnlearnOptions
        from ..tune.tune import Budget, run_tune

    options = UnlearnOptions(
        model=model,
        forget=forget,
        retain=retain,
        holdout=holdout,
        fields=fields,
        device=device,
        allow_download=allow_download,
        max_memory=max_memory,
        approve=approve,
        argv=tuple(sys.argv),
    )
    budget = Budget(trials, minutes, utility_loss)
    tuned = run_tune(options, chosen.load(calibrated=not plain), budget, out, progress)
    shortfall = tuned.shortfall(budget)
    if as_json:
        facts = {"best": asdict(tuned.best), "shortfall": shortfall, "complete": tuned.complete}
        click.echo(json.dumps({**facts, "trials": [asdict(trial) for trial in tuned.trials]}, indent=1))
        return
    _show(tuned, out / "recipe.yaml", shortfall)


def _show(tuned: Tuned, recipe: Path, shortfall: str | None) -> None:
    from .terminal import out, table

    names = list(tuned.best.settings)
    rows = [
        [
            f"{trial.number}{' *' if trial == tuned.best else ''}",
            str(trial.rung + 1),
            *(f"{trial.settings[name]:g}" for name in names),
            "diverged" if trial.distance is None else f"{trial.distance:.3f}",
            "" if trial.utility is None else f"{trial.utility:.3f}",
        ]
        for trial in tuned.trials
    ]
    out().print(table(["setting", "rung", *names, "D from unseen", "kept"], rows))
    if shortfall:
        click.echo(shortfall)
    if not tuned.complete:
        click.echo("The time was used up before the last rung was done; the same command goes on.")
    click.echo(one_line(f"Recipe: {recipe}   (forgetctl unlearn --recipe {recipe} ...)"))
