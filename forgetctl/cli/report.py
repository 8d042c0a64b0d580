"""`forgetctl report`, and `forgetctl schema` of what it writes as JSON: options -> one call -> echo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files.plain_text import one_line
from ._options import LATEST, PATH, common

if TYPE_CHECKING:
    from ..report.report import Kind
    from .terminal import TerminalProgress


@click.command()
@click.argument("run", default=LATEST, type=PATH)
@click.option("--html", "kind", flag_value="html", default="html", help="Write report.html.  [default]")
@click.option("--json", "kind", flag_value="json", help="Write report.json and print it.")
@click.option("--md", "kind", flag_value="md", help="Write report.md and print it.")
@common
def report(progress: TerminalProgress, *, run: Path, kind: Kind) -> None:
    """Write the audit report of RUN (default: runs/latest)."""
    from ..report.report import run_report

    file, text = run_report(run, kind)
    if kind == "html":
        click.echo(one_line(f"Report: {file}"))
    else:
        click.echo(text, nl=False)


@click.command()
@click.argument("name", default="report")
@common
def schema(progress: TerminalProgress, *, name: str) -> None:
    """Print the JSON Schema (2020-12) of what forgetctl writes as JSON, such as NAME `report`."""
    from ..report.schema import schema as schema_of

    click.echo(json.dumps(schema_of(name), indent=1))
