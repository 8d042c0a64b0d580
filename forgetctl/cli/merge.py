"""`forgetctl merge`: options -> one call -> echo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files.plain_text import one_line
from ._options import PATH, common, json_option
from .process import computing

if TYPE_CHECKING:
    from .terminal import TerminalProgress


@click.command()
@click.option("--base", type=PATH, required=True, metavar="DIR", help="The model that the adapter belongs to.")
@click.option("--adapter", type=PATH, required=True, metavar="DIR", help="A LoRA adapter in safetensors.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Where the merged model goes.")
@json_option
@common
def merge(progress: TerminalProgress, *, base: Path, adapter: Path, out: Path, as_json: bool) -> None:
    """Merge a LoRA adapter into its base model, so that both can be unlearned from and verified as one model."""
    with computing("cpu"):
        from ..model.merge import run_merge

    digests = run_merge(base, adapter, out, progress)
    if as_json:
        click.echo(json.dumps({"model": str(out), **digests}, indent=1))
        return
    click.echo(
        one_line(f"Merged model: {out}") + f"\nSHA-256: {digests['sha256']} (adapter: {digests['adapter_sha256']})"
    )
