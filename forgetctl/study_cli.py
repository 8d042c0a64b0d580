"""`forgetctl study`: options -> one call -> echo. No torch and no matplotlib until a study runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import common, json_option
from .studies import STUDIES

if TYPE_CHECKING:
    from .console import TerminalProgress


@click.command()
@click.argument("name", type=click.Choice([*STUDIES, "list"]))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="forgetctl-studies",
    show_default=True,
    metavar="DIR",
    help="Where NAME.json and the figures go.",
)
@json_option
@common
def study(progress: TerminalProgress, as_json: bool, name: str, out: Path) -> None:
    """Run a study: of the NPO paper with forgetctl's own objectives, or of the verdict itself.

    NAME is a study, or `list` to list them.
    """
    from .console import out as stdout
    from .console import table

    if name == "list":
        if as_json:
            click.echo(json.dumps(dict(STUDIES), indent=1))
        else:
            stdout().print(table(["study", "what it shows"], list(STUDIES.items())))
        return
    from .studies import run_study

    done = run_study(name, out, progress)
    if as_json:
        click.echo(json.dumps(done.outcome.data, indent=1))
        return
    for found in done.outcome.tables:
        stdout().print(table(found.columns, found.rows, found.title))
    for path in done.files:
        click.echo(f"Wrote {path}")
