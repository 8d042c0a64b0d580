"""The commands about evidence: keygen, seal, audit, prove, purge. Options, one call, the finding as exit code."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..files.plain_text import one_line
from .options import common, json_option, row_limits

if TYPE_CHECKING:
    from .terminal import TerminalProgress

LATEST = "runs/latest"
FILE = click.Path(path_type=Path)
PASSPHRASE = "FORGETCTL_PASSPHRASE"  # noqa: S105  the name of a variable
WEIGHTS_PASSPHRASE = "FORGETCTL_WEIGHTS_PASSPHRASE"  # noqa: S105


@click.command()
@click.option("--out", type=FILE, default="forgetctl.key", show_default=True, metavar="FILE", help="The private key.")
@click.option("--encrypt", is_flag=True, help=f"Ask for a passphrase, or take it from {PASSPHRASE}.")
@click.option("--weights", is_flag=True, help="Make a P-256 key for `seal --weights-key` instead.")
@json_option
@common
def keygen(progress: TerminalProgress, as_json: bool, out: Path, encrypt: bool, weights: bool) -> None:
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


@click.command()
@click.argument("run", default=LATEST, type=FILE)
@click.option("--key", type=FILE, required=True, metavar="FILE", help="Your private key; see `forgetctl keygen`.")
@click.option("--out", type=FILE, metavar="DIR", help="The bundle.  [default: <run>.bundle]")
@click.option("--timestamp", metavar="URL", help="An RFC 3161 server that shall stamp the manifest's digest.")
@click.option("--weights-key", type=FILE, metavar="FILE", help="Also sign the weights, as `model_signing` does.")
@json_option
@common
def seal(progress: TerminalProgress, as_json: bool, run: Path, key: Path, **options: Any) -> None:
    """Seal RUN (default: runs/latest) in a signed bundle; given a bundle, sign it as well."""
    from ..seal.seal import SealOptions, run_seal

    weights_key = options["weights_key"]
    secret = _passphrase(weights_key, WEIGHTS_PASSPHRASE) if weights_key else None
    bundle = run_seal(SealOptions(run, key, _passphrase(key, PASSPHRASE), weights_passphrase=secret, **options))
    if as_json:
        click.echo(json.dumps({"bundle": str(bundle)}))
        return
    click.echo(one_line(f"Sealed: {bundle}"))
    progress.say(f"Anybody with your public key can check it: forgetctl audit {bundle} --key {key.name}.pub")


@click.command()
@click.argument("bundle", type=FILE)
@click.option("--key", "keys", type=FILE, required=True, multiple=True, metavar="PUB", help="A public key you trust.")
@click.option(
    "--threshold", type=click.IntRange(1), default=1, show_default=True, help="How many of these keys must have signed."
)
@click.option("--tsa-root", type=FILE, metavar="PEM", help="Root certificate of the time-stamp authority you trust.")
@click.option("--model", type=FILE, metavar="DIR", help="Also compare a model directory with the one that was sealed.")
@click.option("--weights-key", type=FILE, metavar="PUB", help="Public key of the signature of the weights.")
@click.option("--other-version", is_flag=True, help="Do without comparing pages that another forgetctl wrote.")
@json_option
@click.pass_context
@common
def audit(
    ctx: click.Context, progress: TerminalProgress, as_json: bool, bundle: Path, keys: tuple[Path, ...], **options: Any
) -> None:
    """Check a sealed BUNDLE. Exit code 0 sound, 1 broken, 2 malformed, 3 policy unmet."""
    from ..seal.audit import AuditOptions, exit_code, run_audit

    found = run_audit(AuditOptions(bundle, keys, **options))
    code = exit_code(found)
    if as_json:
        click.echo(json.dumps({"exit_code": code, "findings": [asdict(finding) for finding in found]}, indent=1))
    else:
        from .terminal import show_audit

        show_audit([(finding.check, finding.status, finding.text) for finding in found], code)
    ctx.exit(code)


@click.command()
@click.argument("bundle", type=FILE)
@click.option("--row", "rows", type=FILE, required=True, metavar="FILE", help="The row, or rows, as JSONL.")
@click.option("--commit-key", type=FILE, required=True, metavar="FILE", help="The request's key, of <run>.keys/.")
@click.option("--prompt-field", metavar="NAME", help="Field that holds the prompt, if not a usual one.")
@click.option("--response-field", metavar="NAME", help="Field that holds the response, if not a usual one.")
@row_limits
@json_option
@click.pass_context
@common
def prove(
    ctx: click.Context,
    progress: TerminalProgress,
    as_json: bool,
    bundle: Path,
    rows: Path,
    commit_key: Path,
    prompt_field: str | None,
    response_field: str | None,
    max_line: int,
    max_rows: int,
) -> None:
    """Show that a row was in the request that BUNDLE is about. Exit code 1 if one was not, 2 for a bad bundle."""
    from ..rows.formats import Fields
    from ..seal.prove import run_prove

    proofs = run_prove(bundle, rows, commit_key, Fields(prompt_field, response_field, max_line * 1024, max_rows))
    if as_json:
        click.echo(json.dumps([asdict(proof) for proof in proofs], indent=1))
    else:
        for proof in proofs:
            where = f"line {proof.request_line} of request {proof.request or '(without an id)'}"
            told = f"was in the request: {where}" if proof.found else "was not in the request of this key"
            click.echo(one_line(f"{rows}:{proof.line}: {told}"))
        progress.say("Whether the bundle is sound, and whose it is, is shown by: forgetctl audit")
    ctx.exit(0 if all(proof.found for proof in proofs) else 1)


@click.command()
@click.argument("run", default=LATEST, type=FILE)
@click.option("--keys", is_flag=True, help="Also the commitment keys: nobody can prove any more what was asked.")
@click.option("--scores", is_flag=True, help="Also the scores by row: the verdict cannot be reached again.")
@click.option("--abandon", is_flag=True, help="Purge a run that was not finished, which then never can be.")
@click.option("--dry-run", is_flag=True, help="Say what would be destroyed, and destroy nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@common
def purge(progress: TerminalProgress, as_json: bool, run: Path, dry_run: bool, yes: bool, **options: Any) -> None:
    """Destroy what must not outlive the request: checkpoints, cached start scores, on demand keys and scores."""
    from ..seal.purge import PurgeOptions, plan_purge, run_purge

    planned = plan_purge(PurgeOptions(run, **options))
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


def _passphrase(key: Path, variable: str) -> str | None:
    """The passphrase of an encrypted key, from the environment or asked for."""
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
