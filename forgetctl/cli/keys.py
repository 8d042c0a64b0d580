"""`forgetctl keygen`: options -> one call -> echo; and how a passphrase comes in."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files.plain_text import one_line
from ._options import PATH, common, json_option

if TYPE_CHECKING:
    from .terminal import TerminalProgress

PASSPHRASE = "FORGETCTL_PASSPHRASE"  # noqa: S105  the name of a variable
WEIGHTS_PASSPHRASE = "FORGETCTL_WEIGHTS_PASSPHRASE"  # noqa: S105


@click.command()
@click.option("--out", type=PATH, default="forgetctl.key", show_default=True, metavar="FILE", help="The private key.")
@click.option("--encrypt", is_flag=True, help=f"Ask for a passphrase, or take it from {PASSPHRASE}.")
@click.option("--weights", is_flag=True, help="Make a P-256 key for `seal --weights-key` instead.")
@json_option
@common
def keygen(progress: TerminalProgress, *, out: Path, encrypt: bool, weights: bool, as_json: bool) -> None:
    """Make a key pair to seal with: Ed25519, the public key beside the private one as FILE.pub."""
    from ..seal.keys import generate_key
    from ..seal.weights import generate_weights_key

    secret = _new_passphrase() if encrypt else None
    if weights:
        public, keyid = generate_weights_key(out, secret), None
    else:
        public, keyid = generate_key(out, secret)
    if as_json:
        click.echo(json.dumps({"private": str(out), "public": str(public), "keyid": keyid}, indent=1))
        return
    click.echo(one_line(f"Private key: {out}   (keep it to yourself)"))
    click.echo(one_line(f"Public key:  {public}   (give it to auditors, by another way than the bundle)"))
    if keyid:
        click.echo(f"Key id:      {keyid}")


def passphrase(key: Path, variable: str) -> str | None:
    """The passphrase of an encrypted key, from the environment or asked for; None where it is not encrypted, or nobody
    can be asked."""
    from ..seal.keys import is_encrypted

    if not is_encrypted(key):
        return None
    given = os.environ.get(variable)
    if given is None and sys.stdin.isatty():
        given = click.prompt(one_line(f"Passphrase of {key}"), hide_input=True, err=True)
    return given


def _new_passphrase() -> str:
    given = os.environ.get(PASSPHRASE)
    if given is None:
        given = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return given
