"""`forgetctl seal`: options -> one call -> echo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files.plain_text import one_line
from ._options import LATEST, PATH, common, json_option
from .keys import PASSPHRASE, WEIGHTS_PASSPHRASE, passphrase

if TYPE_CHECKING:
    from .terminal import TerminalProgress


@click.command()
@click.argument("run", default=LATEST, type=PATH)
@click.option("--key", type=PATH, required=True, metavar="FILE", help="Your private key; see `forgetctl keygen`.")
@click.option("--out", type=PATH, metavar="DIR", help="The bundle.  [default: <run>.bundle]")
@click.option(
    "--without-scores",
    is_flag=True,
    help="Leave out the scores by row, which tell of the rows; an audit then cannot reach the verdict again.",
)
@click.option("--timestamp", metavar="URL", help="An RFC 3161 server that shall stamp the manifest's digest.")
@click.option("--weights-key", type=PATH, metavar="FILE", help="Also sign the weights, as `model_signing` does.")
@json_option
@common
def seal(
    progress: TerminalProgress,
    *,
    run: Path,
    key: Path,
    out: Path | None,
    without_scores: bool,
    timestamp: str | None,
    weights_key: Path | None,
    as_json: bool,
) -> None:
    """Seal RUN (default: runs/latest) in a signed bundle; given a bundle, sign it as well."""
    from ..seal.seal import SealOptions, run_seal

    options = SealOptions(
        path=run,
        key=key,
        passphrase=passphrase(key, PASSPHRASE),
        out=out,
        without_scores=without_scores,
        timestamp=timestamp,
        weights_key=weights_key,
        weights_passphrase=passphrase(weights_key, WEIGHTS_PASSPHRASE) if weights_key else None,
    )
    bundle = run_seal(options)
    if as_json:
        click.echo(json.dumps({"bundle": str(bundle)}))
        return
    click.echo(one_line(f"Sealed: {bundle}"))
    progress.say(f"Anybody with your public key can check it: forgetctl audit {bundle} --key {key.name}.pub")
