"""`forgetctl seal`: a signed copy of everything a run recorded, or one more signature on such a copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from .. import __version__
from ..errors import RunError, UsageError
from ..files.canonical import MalformedError
from ..files.entries import model_entries
from ..files.folders import whole_folder
from ..files.plain_text import one_line
from ..files.writing import SEAL, is_bundle, now, write_bytes
from ..report.report import KINDS, write_report
from ..runs.run import Run
from ..verify.basis import verdict_of
from ..verify.record import Basis, Verdict
from ._checks import check_files, check_statement
from ._consistency import WITHOUT_SCORES
from .audit import audit_contents
from .bundle import (
    TIMESTAMP,
    WEIGHTS_SIGNATURE,
    Contents,
    copy_files,
    list_files,
    read_bundle,
    refuse_used_place,
    seal_draft,
)
from .keys import Signer, load_signer
from .statement import add_signature
from .timestamp import request_timestamp
from .weights import sign_weights


@dataclass(frozen=True, kw_only=True)
class SealOptions:
    """What to seal, and with which private key.

    path: a run, or a bundle that gets a second signature. passphrase: of the key. out: the bundle's place.
    without_scores: leave out the scores by row, and what the reports draw from them. timestamp: address of an RFC 3161
    server. weights_key: P-256 key for an OpenSSF signature of the weights, with its
    passphrase.
    """

    path: Path
    key: Path
    passphrase: str | None = None
    out: Path | None = None
    without_scores: bool = False
    timestamp: str | None = None
    weights_key: Path | None = None
    weights_passphrase: str | None = None


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
    model = _model_dir(run)
    bundle = options.out or run.bundle
    if bundle.resolve().is_relative_to(run.path.resolve()):
        raise UsageError(f"{bundle} is inside the run, which a bundle must outlive; choose another --out")
    refuse_used_place(bundle)
    with whole_folder(bundle) as draft:
        # The bundle must tell of its own sealing, so this stands there before it is done: begun, not sealed.
        facts = {WITHOUT_SCORES: True} if options.without_scores else {}
        run.event("seal", status="begun", key=signer.public_key.keyid, bundle=one_line(bundle.name), **facts)
        files = list(sealed_files(run, None if options.without_scores else verdict.basis))
        contents = Contents(
            run=run.record["id"],
            created=now(),
            forgetctl=__version__,
            root=run.path,
            files=tuple(files),
            model=model_entries(model) if model else (),
            predicate={"run": run.record["id"], "verdict": verdict.verdict, "forgetctl": __version__},
        )
        copy_files(contents, draft)
        for kind in KINDS:  # what is sealed says what the records beside it say
            write_report(draft, kind)
        manifest = list_files(contents, draft)
        if options.timestamp:
            write_bytes(draft / TIMESTAMP, request_timestamp(options.timestamp, manifest.to_bytes()))
        if options.weights_key:
            if model is None:
                raise UsageError(f"{run.path} verified scores, so there are no weights to sign")
            sign_weights(model, draft / WEIGHTS_SIGNATURE, options.weights_key, options.weights_passphrase)
        seal_draft(draft, manifest, contents.predicate, signer)
        _refuse_faults(draft)
    return bundle


def _sign_again(options: SealOptions, signer: Signer) -> Path:
    """Add a signature to a bundle, but not to a broken one; two people may do so at the same time."""
    if options.out or options.timestamp or options.weights_key or options.without_scores:
        raise UsageError("a bundle that is sealed can only be signed again; --out and the like go with a run")
    bundle = options.path.resolve()
    lock = bundle.with_name(f".{bundle.name}.lock")
    with FileLock(lock, mode=0o600):
        _refuse_faults(bundle)
        try:
            signed = add_signature((bundle / SEAL).read_bytes(), signer)
        except MalformedError as error:
            raise UsageError(f"{options.path / SEAL} {error}") from None
        draft = bundle.with_name(f".{bundle.name}.{SEAL}")  # a file left inside would break the bundle
        write_bytes(draft, signed)
        draft.replace(bundle / SEAL)
    return options.path


def _refuse_faults(bundle_dir: Path) -> None:
    """Nobody's signature goes on what contradicts itself. Raises RunError with the first fault."""
    try:
        bundle = read_bundle(bundle_dir)
        findings = [*check_files(bundle), *check_statement(bundle)]
    except MalformedError as error:
        raise RunError(f"not sealed: {error}") from None
    findings = findings or audit_contents(bundle)
    faults = [finding for finding in findings if finding.status in ("broken", "malformed")]
    if faults:
        raise RunError(f"not sealed, since no audit would hold: {faults[0].check}: {faults[0].text}")


def _verdict(run: Run) -> Verdict:
    if not run.commitments_file.is_file():
        raise RunError(f"{run.path} was made by an earlier forgetctl, which kept no evidence that could be sealed")
    if not run.stage_done("verify"):
        raise RunError(f"{run.path} is not verified; seal it after: forgetctl verify {run.path}")
    return verdict_of(run)


def sealed_files(run: Run, basis: Basis | None) -> Iterator[Path]:
    """What of a run goes into its bundle beside the reports: every record, no checkpoint, no weights, no cached start
    scores, no key. basis: which scores it holds, None for none."""
    named = (
        run.record_file,
        run.recipe_file,
        run.plan_file,
        run.pairs_file,
        run.commitments_file,
        run.log_file,
        run.events_file,
        run.verdict_file,
        *(run.scores_file(name) for name in (basis.scores if basis else ())),
        *(run.tracked_file(int(step)) for step in (basis.tracked if basis else ())),
    )
    for file in named:
        if file.is_symlink():
            raise RunError(f"{file} is a link, which forgetctl did not make")
        if file.is_file():
            yield file


def _model_dir(run: Run) -> Path | None:
    """The verified model, None where only its scores were. Raises RunError if it is gone."""
    if "scores" in run.record["inputs"]:
        return None
    directory = run.model_dir if run.record["kind"] == "unlearn" else Path(run.record["inputs"]["model"]["path"])
    if not directory.exists():
        raise RunError(f"{directory}, the verified model, is gone")
    return directory
