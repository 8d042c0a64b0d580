"""`forgetctl audit`: check a sealed bundle with nothing but itself and public keys; no torch, no model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..document.records import Report
from ..errors import ForgetctlError, InputError
from ..run import Run
from ..seal.bundle import WEIGHTS_SIGNATURE, Bundle, read_bundle
from ..seal.canonical import MalformedError, parse_object
from ..seal.checks import (
    Finding,
    check_files,
    check_model,
    check_order,
    check_outcome,
    check_signers,
    check_statement,
    check_time,
    read_events,
)
from ..seal.events import Event
from ..seal.keys import load_public
from ..seal.statement import check_signatures
from ..seal.weights import check_weights
from ..stages.report import build, render_html, render_json, render_markdown
from .basis import bounds_of, measured_again

EXIT_CODES = {"malformed": 2, "broken": 1, "policy": 3}
"""The worst finding decides, in this order."""

INSIDE = ("events", "plan", "verdict", "report")
"""Checks of what the files say, which say nothing if they are not the bundle's own."""
CHECKS = ("files", "statement", "signatures", "time stamp", *INSIDE, "model", "weights")


@dataclass(frozen=True)
class AuditOptions:
    """What to check, and whom to trust.

    keys: public keys of those who must have signed, at least `threshold` of them. tsa_root: certificate of the
    time-stamp authority's root. model: a directory to compare with the model that was sealed. weights_key: public key
    of the OpenSSF signature of the weights.
    """

    bundle: Path
    keys: tuple[Path, ...]
    threshold: int = 1
    tsa_root: Path | None = None
    model: Path | None = None
    weights_key: Path | None = None


def run_audit(options: AuditOptions) -> list[Finding]:
    """Everything that was found, check by check; a check without a fault says so.

    Raises UsageError for keys that cannot be read or a path that is no directory.
    """
    if inside := [key for key in options.keys if _is_inside(key, options.bundle)]:
        return [Finding("signatures", "policy", f"{inside[0]} came inside the bundle, so it proves nothing")]
    keys = [load_public(key) for key in options.keys]
    try:
        bundle = read_bundle(options.bundle)
    except MalformedError as error:
        return [Finding("files", "malformed", str(error))]
    found = list(audit_contents(bundle))
    found += check_signers(bundle, check_signatures(bundle.envelope, keys), keys, options.threshold)
    found += check_time(bundle, options.tsa_root)
    if options.model is not None:
        found += check_model(bundle, options.model)
    found += _weights(bundle, options)
    return _in_order(found, options)


def audit_contents(bundle: Bundle) -> Iterator[Finding]:
    """What can be checked without trusting anybody. A bundle whose files are not its own is not read any further."""
    found = [*check_files(bundle), *check_statement(bundle)]
    yield from found
    if any(finding.status == "broken" for finding in found):
        yield from (Finding(name, "note", "not checked: these are not the files that were sealed") for name in INSIDE)
        return
    run = Run(bundle.path)
    try:
        run.record, verdict, _ = (_strict(file) for file in (run.record_file, run.verdict_file, run.plan_file))
        report = build(bundle.path)  # reads every record, and refuses one of another shape
    except (MalformedError, ForgetctlError) as error:
        yield Finding("files", "malformed", _inside(error, bundle))
        return
    events, faults = read_events(bundle, run.events_file.name)
    yield from faults
    if not faults:
        yield from _history(bundle, run, events, verdict)
    yield from _judge_again(bundle, run, verdict)
    yield from _report_again(bundle, run, report)


def exit_code(found: Sequence[Finding]) -> int:
    """0 sound, 1 broken, 2 malformed, 3 policy unmet."""
    present = {finding.status for finding in found}
    return next((code for status, code in EXIT_CODES.items() if status in present), 0)


def _history(bundle: Bundle, run: Run, events: Sequence[Event], verdict: dict[str, Any]) -> Iterator[Finding]:
    if run.record.get("id") != bundle.manifest.run:
        yield Finding("events", "broken", f"{run.record_file.name} is of another run")
    frozen = run.record.get("frozen")
    yield from check_order(bundle, events, frozen if isinstance(frozen, dict) else {})
    yield from check_outcome(bundle, events, verdict, run.verdict_file.name)


def _judge_again(bundle: Bundle, run: Run, verdict: dict[str, Any]) -> Iterator[Finding]:
    """Reach the verdict again from the stored scores and the frozen bounds, and compare every figure."""
    if purged := _purged_scores(bundle, run):
        yield Finding("verdict", "policy", f"it cannot be reached again: {purged} score files were purged")
        return
    try:
        again = measured_again(run, verdict).verdict(bounds_of(run))
    except ForgetctlError as error:
        yield Finding("verdict", "broken", _inside(error, bundle))
        return
    except ValueError:
        yield Finding("verdict", "broken", "no verdict follows from these scores: they do not fit each other")
        return
    same_words = bundle.manifest.forgetctl == __version__
    if not same_words:
        yield Finding("verdict", "note", f"sealed by forgetctl {bundle.manifest.forgetctl}, so words are not compared")
    if place := first_difference({key: verdict.get(key) for key in again}, again, words=same_words):
        yield Finding("verdict", "broken", f"the scores give another {place} than {run.verdict_file.name} says")


def _purged_scores(bundle: Bundle, run: Run) -> int:
    """How many score files `purge` destroyed before the bundle was sealed."""
    purged = run.record.get("stages", {}).get("purge", {}).get("removed")
    held = bundle.manifest.digests()
    names = [str(name) for name in purged] if isinstance(purged, list) else []
    return sum(name.startswith("scores/") and name not in held for name in names)


def _report_again(bundle: Bundle, run: Run, report: Report) -> Iterator[Finding]:
    """The report that people read says what the records say."""
    if bundle.manifest.forgetctl != __version__:
        yield Finding("report", "note", "not rendered again: another version of forgetctl made it")
        return
    files = {kind: run.report_file(kind) for kind in ("json", "html", "md")}
    try:
        stored = _strict(files["json"])
        pages = {kind: _words(bundle.data(files[kind].name)) for kind in ("html", "md")}
    except MalformedError as error:
        yield Finding("report", "broken", str(error))
        return
    if place := first_difference(stored, render_json(report), words=True):
        yield Finding("report", "broken", f"{files['json'].name} has another {place} than the records")
    for kind, again in (("html", render_html(report)), ("md", render_markdown(report))):
        if pages[kind] != _words(again.encode()):
            yield Finding("report", "broken", f"{files[kind].name} does not say what the records say")


def _words(page: bytes) -> bytes:
    """A report without its plots, which another version of the library draws with other bytes."""
    return re.sub(rb"<svg\b.*?</svg>", b"", page, flags=re.DOTALL)


def _weights(bundle: Bundle, options: AuditOptions) -> Iterator[Finding]:
    signed = WEIGHTS_SIGNATURE in bundle.subjects
    if options.weights_key is None:
        if signed:
            yield Finding("weights", "note", "they are signed; give --model and --weights-key to check that")
        return
    if not signed:
        yield Finding("weights", "policy", "they are not signed")
    elif options.model is None:
        raise InputError(options.weights_key, "needs --model, the weights to check")
    elif not check_weights(options.model, bundle.path / WEIGHTS_SIGNATURE, options.weights_key):
        yield Finding("weights", "broken", "the signature is not one of this model by this key")


def _in_order(found: Sequence[Finding], options: AuditOptions) -> list[Finding]:
    """Findings check by check, with a line for each check that found no fault."""
    asked = [name for name in CHECKS if name not in _unasked(options)]
    faults = {finding.check for finding in found if finding.status not in ("ok", "note")}
    told = {finding.check for finding in found if finding.status == "ok"}
    readable = not {"files", "statement"} & faults
    fine = [
        Finding(name, "ok", OK[name])
        for name in asked
        if name in OK and name not in faults | told and (readable or name not in INSIDE)
    ]
    return sorted([*found, *fine], key=lambda finding: CHECKS.index(finding.check))


OK = {
    "files": "every file is there with its digest, and no other",
    "statement": "it is about this manifest and this model",
    "events": "an unbroken chain",
    "plan": "recipe and bounds were fixed before the work began, and are these",
    "verdict": "the stored scores give it again, figure by figure",
    "report": "it says what the records say",
    "model": "this directory is the model that was sealed",
    "weights": "signed with this key",
}


def _unasked(options: AuditOptions) -> set[str]:
    return {
        *(() if options.model else ("model",)),
        *(() if options.weights_key else ("weights",)),
        "time stamp",
        "signatures",
    }


def first_difference(stored: Any, again: Any, *, words: bool, place: str = "") -> str:
    """Where two JSON values differ first, as dotted keys; empty if nowhere.

    Figures may differ by rounding, as other processors and libraries round differently. words: compare texts too.
    """
    if isinstance(stored, dict) and isinstance(again, dict):
        keys = [*stored, *(key for key in again if key not in stored)]
        pairs = [(key, stored.get(key), again.get(key)) for key in keys if words or key != "text"]
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        pairs = [(number, *pair) for number, pair in enumerate(zip(stored, again, strict=True))]
    else:
        return "" if _same(stored, again) else place or "content"
    inner = (first_difference(a, b, words=words, place=f"{place}.{key}".lstrip(".")) for key, a, b in pairs)
    return next((found for found in inner if found), "")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) or isinstance(b, float):
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
        return numbers and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    return type(a) is type(b) and bool(a == b)


def _strict(file: Path) -> dict[str, Any]:
    """A JSON object in which no key stands twice. Raises MalformedError naming the file."""
    try:
        return parse_object(file.read_bytes())
    except OSError as error:
        raise MalformedError(f"{file.name} cannot be read: {error.strerror}") from None
    except MalformedError as error:
        raise MalformedError(f"{file.name} {error}") from None


def _inside(error: Exception, bundle: Bundle) -> str:
    """A message without the bundle's own place, which is the auditor's."""
    return str(error).replace(f"{bundle.path}/", "")


def _is_inside(path: Path, bundle: Path) -> bool:
    return path.resolve().is_relative_to(bundle.resolve())
