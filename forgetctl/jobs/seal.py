"""`forgetctl seal`: a signed copy of everything a run recorded, or one more signature on such a copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import RunError, UsageError
from ..files import now, read_json, write_bytes
from ..run import Run
from ..seal.bundle import (
    SEAL,
    TIMESTAMP,
    WEIGHTS_SIGNATURE,
    Contents,
    copy_files,
    is_bundle,
    new_draft,
    read_bundle,
    seal_draft,
)
from ..seal.canonical import MalformedError
from ..seal.keys import Signer, load_signer
from ..seal.manifest import Entry, model_entries
from ..seal.statement import add_signature
from ..seal.timestamp import request_timestamp
from ..seal.weights import sign_weights
from .audit import audit_contents
from .report import run_report


@dataclass(frozen=True)
class SealOptions:
    """What to seal, and with which private key.

    path: a run, or a bundle that gets a second signature. passphrase: of the key. out: the bundle's place.
    timestamp: address of an RFC 3161 server. weights_key: EC key for an OpenSSF signature of the weights.
    """

    path: Path
    key: Path
    passphrase: str | None = None
    out: Path | None = None
    timestamp: str | None = None
    weights_key: Path | None = None


def run_seal(options: SealOptions) -> Path:
    """Seal and return the bundle.

    Raises UsageError for options that do not fit, RunError for a run that was not verified, has changed since, or would
    not pass an audit.
    """
    signer = load_signer(options.key, options.passphrase)
    if is_bundle(options.path):
        return _sign_again(options, signer)
    run = Run.open(options.path)
    with run.lock():
        return _seal(run, options, signer)


def _seal(run: Run, options: SealOptions, signer: Signer) -> Path:
    verdict = _verdict(run)
    bundle = options.out or run.bundle
    draft = new_draft(bundle)
    run.event("seal", key=signer.public_key.keyid, bundle=bundle.name)
    for kind in ("html", "json", "md"):
        run_report(run.path, kind)  # what is sealed says what the records say now
    contents = Contents(
        run=run.record["id"],
        created=now(),
        forgetctl=__version__,
        root=run.path,
        files=tuple(sealed_files(run)),
        model=_model(run, verdict),
        predicate={"run": run.record["id"], "verdict": verdict["verdict"], "forgetctl": __version__},
    )
    manifest = copy_files(contents, draft)
    if options.timestamp:
        write_bytes(draft / TIMESTAMP, request_timestamp(options.timestamp, manifest.to_bytes()))
    if options.weights_key:
        sign_weights(_model_dir(run), draft / WEIGHTS_SIGNATURE, options.weights_key, options.passphrase)
    seal_draft(draft, manifest, contents.predicate, signer)
    _refuse_faults(draft)
    draft.replace(bundle)
    return bundle


def _sign_again(options: SealOptions, signer: Signer) -> Path:
    """Add a signature to a bundle, but not to a broken one."""
    if options.out or options.timestamp or options.weights_key:
        raise UsageError("a bundle that is sealed can only be signed again; --out and the like go with a run")
    _refuse_faults(options.path)
    file = options.path / SEAL
    try:
        write_bytes(file, add_signature(file.read_bytes(), signer))
    except MalformedError as error:
        raise UsageError(f"{file} {error}") from None
    return options.path


def _refuse_faults(bundle: Path) -> None:
    """Nobody's signature goes on what contradicts itself. Raises RunError with the first fault."""
    try:
        found = audit_contents(read_bundle(bundle))
        faults = [finding for finding in found if finding.status in ("broken", "malformed")]
    except MalformedError as error:
        raise RunError(f"{bundle}: {error}") from None
    if faults:
        raise RunError(f"not sealed, since no audit would hold: {faults[0].check}: {faults[0].text}")


def _verdict(run: Run) -> dict[str, Any]:
    if not run.commitments_file.is_file():
        raise RunError(f"{run.path} was made by an earlier forgetctl, which kept no evidence that could be sealed")
    if not run.stage_done("verify"):
        raise RunError(f"{run.path} is not verified; seal it after: forgetctl verify {run.path}")
    return read_json(run.verdict_file)


def sealed_files(run: Run) -> Iterator[Path]:
    """What of a run goes into its bundle: every record, no checkpoint, no weights, no start scores, no key."""
    named = (
        run.record_file,
        run.recipe_file,
        run.plan_file,
        run.pairs_file,
        run.commitments_file,
        run.log_file,
        run.events_file,
        run.verdict_file,
        *(run.report_file(kind) for kind in ("html", "json", "md")),
    )
    yield from (file for file in named if file.is_file())
    yield from run.score_files().values()
    yield from run.tracked_files().values()


def _model_dir(run: Run) -> Path:
    """The verified model. Raises UsageError where only its scores were verified."""
    if run.record["kind"] == "unlearn":
        return run.model_dir
    if "scores" in run.record["inputs"]:
        raise UsageError(f"{run.path} verified scores, so there are no weights to sign")
    return Path(run.record["inputs"]["model"]["path"])


def _model(run: Run, verdict: dict[str, Any]) -> tuple[Entry, ...]:
    """Entries of the verified model's files, none where only its scores were verified.

    Raises RunError if the model is not the one that was verified.
    """
    if "scores" in run.record["inputs"]:
        return ()
    directory = _model_dir(run)
    if not directory.is_dir():
        raise RunError(f"{directory}, the verified model, is gone")
    return model_entries(directory)
