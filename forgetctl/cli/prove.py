"""`forgetctl prove`: options -> one call -> echo -> exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files.plain_text import one_line
from ._options import PATH, common, json_option, row_options

if TYPE_CHECKING:
    from ..rows.formats import Fields
    from ..seal.prove import Proof
    from .terminal import TerminalProgress


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--row", "rows", type=PATH, required=True, metavar="FILE", help="The row, or rows.")
@click.option("--commit-key", type=PATH, required=True, metavar="FILE", help="The request's key, of <run>.keys/.")
@row_options
@json_option
@common
def prove(
    progress: TerminalProgress, fields: Fields, *, bundle: Path, rows: Path, commit_key: Path, as_json: bool
) -> None:
    """Show that a row was in the request that BUNDLE is about. Exit code 1 if one was not, 2 for a bad bundle."""
    from ..seal.prove import run_prove

    proofs = run_prove(bundle, rows, commit_key, fields)
    if as_json:
        click.echo(json.dumps([_record(proof) for proof in proofs], indent=1))
    else:
        for proof in proofs:
            click.echo(one_line(f"{rows}:{proof.row}: {_words(proof)}"))
        progress.say("Whether the bundle is sound, and whose it is, is shown by: forgetctl audit")
    click.get_current_context().exit(0 if all(proof.proved for proof in proofs) else 1)


def _words(proof: Proof) -> str:
    if proof.place is None:
        return "was not in the request of this key"
    whose = f", of person {proof.place.subject}" if proof.place.subject else ""
    return f"was in the request: row {proof.place.row} of request {proof.place.request or '(without an id)'}{whose}"


def _record(proof: Proof) -> dict[str, bool | int | str | None]:
    place = proof.place
    return {
        "row": proof.row,
        "found": proof.proved,
        "request": place.request if place else None,
        "request_row": place.row if place else None,
        "subject": place.subject if place else None,
    }
