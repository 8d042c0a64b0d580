"""`forgetctl demo`: options -> one call -> echo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._options import PATH, common, json_option
from .process import computing

if TYPE_CHECKING:
    from .terminal import TerminalProgress


@click.command()
@click.option("--out", type=PATH, default="forgetctl-demo", show_default=True, metavar="DIR", help="Folder.")
@json_option
@common
def demo(progress: TerminalProgress, *, out: Path, as_json: bool) -> None:
    """Train a small model on invented people, let it forget some, verify and report; about two minutes."""
    with computing("cpu"):
        from ..demo.demo import run_demo
    from .terminal import show_line

    verdict = run_demo(out, progress, None if as_json else show_line)
    if as_json:
        click.echo(json.dumps(verdict, indent=1))
