"""The `tune` command: its options, one call, the trials as a table."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..files.plain_text import one_line
from .options import approve_option, common, fields_of, json_option, memory_options, model_options, recipe_of

if TYPE_CHECKING:
    from ..tune.tune import Tuned
    from .terminal import TerminalProgress

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--model", required=True, metavar="DIR|RUN", help="The start model, as for unlearn.")
@click.option("--forget", required=True, type=FILE, metavar="FILE", help="The request, JSONL.")
@click.option("--retain", required=True, type=FILE, metavar="FILE", help="Rows to keep.")
@click.option("--holdout", required=True, type=FILE, metavar="FILE", help="Rows that no model saw.")
@click.option("--method", metavar="NAME", help="Unlearning method.  [default: npo-rt]")
@click.option("--plain", is_flag=True, help="Tune the method as it is, not calibrated with the holdout.")
@click.option("--lora", is_flag=True, help="Train low-rank adapters.")
@memory_options
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
@click.option("--out", type=FILE, default="forgetctl-tune", show_default=True, metavar="DIR", help="Where trials go.")
@model_options
@json_option
@common
def tune(progress: TerminalProgress, as_json: bool, **options: Any) -> None:
    """Find the settings that bring a request's rows to where unseen rows lie, and write them as a recipe.

    Many settings are tried for a few epochs, the best third of them longer, and of those the best third in full. What a
    verdict is reached from is never looked at. Called again, it goes on where it stopped.
    """
    from ..tune.tune import Budget, run_tune

    recipe = recipe_of(options, method=options["method"], calibrated=not options["plain"])
    budget = Budget(options["trials"], options["minutes"], options["utility_loss"])
    found = run_tune(_asked(options), recipe, budget, options["out"], progress)
    lacking = found.shortfall(budget)
    if as_json:
        trials = [asdict(trial) for trial in found.trials]
        facts = {"best": asdict(found.best), "shortfall": lacking, "complete": found.complete, "trials": trials}
        click.echo(json.dumps(facts, indent=1))
        return
    _show(found, options["out"] / "recipe.yaml", lacking)


def _asked(options: dict[str, Any]) -> Any:
    from ..train.options import UnlearnOptions

    names = ("model", "forget", "retain", "holdout", "device", "allow_download", "max_memory", "approve")
    fields = fields_of(options)
    return UnlearnOptions(**{name: options[name] for name in names}, fields=fields, argv=tuple(sys.argv))


def _show(found: Tuned, recipe: Path, lacking: str | None) -> None:
    from .terminal import out, table

    names = list(found.best.settings)
    rows = [
        [
            f"{trial.number}{' *' if trial == found.best else ''}",
            str(trial.rung + 1),
            *(f"{trial.settings[name]:g}" for name in names),
            "diverged" if trial.distance is None else f"{trial.distance:.3f}",
            "" if trial.utility is None else f"{trial.utility:.3f}",
        ]
        for trial in found.trials
    ]
    out().print(table(["setting", "rung", *names, "D from unseen", "kept"], rows))
    if lacking:
        click.echo(lacking)
    if not found.complete:
        click.echo("The time was used up before the last rung was done; the same command goes on.")
    click.echo(one_line(f"Recipe: {recipe}   (forgetctl unlearn --recipe {recipe} ...)"))
