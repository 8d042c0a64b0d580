"""`forgetctl audit`: check a sealed bundle with nothing but itself and public keys; no torch, no model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ForgetctlError, InputError, UsageError
from ..files.canonical import MalformedError, parse_object
from ..report.render import expected_html, render_json, render_markdown
from ..report.report import KINDS
from ..report.svg_check import UnfitError, check_plot
from ..verify.basis import bounds_of, collected_again
from ..verify.judge import conclude
from ._bound import check_bound
from ._checks import Finding, check_files, check_model, check_signers, check_statement, check_time
from ._consistency import (
    Records,
    check_history,
    check_inputs,
    check_names,
    check_outcome,
    check_plan,
    check_request,
    load_records,
)
from .bundle import WEIGHTS_SIGNATURE, Bundle, read_bundle
from .keys import load_public
from .statement import check_signatures
from .weights import check_weights

EXIT_CODES = {"malformed": 2, "broken": 1, "policy": 3}
"""The worst finding decides, in this order."""

INSIDE = ("events", "plan", "record", "verdict", "report")
"""Checks of what the files say, which say nothing if they are not the bundle's own."""
CHECKS = ("files", "statement", "signatures", "time stamp", "request", *INSIDE, "model", "weights")


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What to check, and whom to trust.

    keys: public keys of those who must have signed, at least `threshold` of them. tsa_root: certificate of the
    time-stamp authority's root. model: a directory to compare with the model that was sealed. weights_key: public key
    of the OpenSSF signature of the weights. other_version: do without comparing words and pages that another version of
    forgetctl wrote.
    """

    bundle: Path
    keys: tuple[Path, ...]
    threshold: int = 1
    tsa_root: Path | None = None
    model: Path | None = None
    weights_key: Path | None = None
    other_version: bool = False

    @property
    def trusted(self) -> tuple[Path, ...]:
        """Every file that the auditor's trust rests on."""
        return (*self.keys, *(path for path in (self.tsa_root, self.weights_key) if path))


def run_audit(options: AuditOptions) -> list[Finding]:
    """Everything that was found, check by check; a check without a fault says so.

    What the files say is not even read if nobody signed them whom the auditor trusts.
    Raises UsageError for keys that cannot be read or a path that is no directory.
    """
    if not options.bundle.is_dir():
        raise UsageError(f"{options.bundle} is no bundle: not a directory")
    if inside := [path for path in options.trusted if _is_inside(path, options.bundle)]:
        return [Finding("signatures", "policy", f"{inside[0]} came inside the bundle, so it proves nothing")]
    keys = [load_public(key) for key in options.keys]
    try:
        bundle = read_bundle(options.bundle)
        findings = [*check_files(bundle), *check_statement(bundle)]
    except MalformedError as error:
        return [Finding("files", "malformed", str(error))]
    signed = check_signatures(bundle.envelope, keys)
    if findings:
        findings += _unchecked(INSIDE, "these are not the files that were sealed")
    elif not signed[0]:
        findings += _unchecked(INSIDE, "nobody whom you trust has signed these files")
    else:
        findings += audit_contents(bundle, other_version=options.other_version)
    findings += check_signers(bundle, signed, keys, options.threshold)
    findings += check_time(bundle, options.tsa_root)
    if options.model is not None:
        findings += check_model(bundle, options.model)
    findings += _weights(bundle, options)
    return _in_order(findings, options)


def audit_contents(bundle: Bundle, *, other_version: bool = False) -> list[Finding]:
    """What can be checked of the records without trusting anybody.

    other_version: do without comparing words and pages that another version of forgetctl wrote.
    """
    try:
        records = load_records(bundle)
        findings = [*check_names(records), *check_history(records)]
        if records.broken:
            return findings + _unchecked(("plan", "record", "verdict", "report"), "nobody knows what happened")
        for check in (check_plan, check_request, check_bound, check_outcome, check_inputs, _judge_again):
            findings += check(records)
        if any(finding.status in ("broken", "malformed") for finding in findings):
            return findings + _unchecked(("report",), "the records contradict each other")
        findings += _report_again(records, other_version=other_version)
    except MalformedError as error:
        return [Finding("files", "malformed", str(error))]
    except UNFIT as error:
        return [Finding("files", "malformed", f"the records do not fit each other ({type(error).__name__})")]
    return findings


UNFIT = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError, ForgetctlError)
"""What records of the right shape can still raise where figures are worked out and drawn: they are made by others."""


def exit_code(findings: Sequence[Finding]) -> int:
    """0 sound, 1 broken, 2 malformed, 3 policy unmet."""
    present = {finding.status for finding in findings}
    return next((code for status, code in EXIT_CODES.items() if status in present), 0)


def _unchecked(names: Sequence[str], why: str) -> list[Finding]:
    return [Finding(name, "note", f"not checked: {why}") for name in names]


def _faults(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.status in EXIT_CODES]


def _judge_again(records: Records) -> Iterator[Finding]:
    """Reach the verdict again from the stored scores and the frozen bounds, and compare every figure."""
    file = records.run.verdict_file.name
    if place := first_difference(records.stored, records.verdict.content(), words=True):
        yield Finding("verdict", "broken", f"{file} has another {place} than it would have been written with")
        return
    missing = {name: why for name, why in records.left_out.items() if name in records.scores}
    if missing.keys() - records.bundle.manifest.digests().keys():
        why = ", ".join(dict.fromkeys(missing.values()))
        text = f"it cannot be reached again, so take its figures on trust: {len(missing)} score files were {why}"
        yield Finding("verdict", "policy", text)
        return
    try:
        again = conclude(collected_again(records.run, records.verdict), bounds_of(records.run)).content()
    except ForgetctlError as error:
        yield Finding("verdict", "broken", str(error).replace(f"{records.bundle.path}/", ""))
        return
    stored = {key: records.stored.get(key) for key in again}
    if place := first_difference(stored, again, words=_same_version(records)):
        yield Finding("verdict", "broken", f"the scores give another {place} than {file} says")


def _report_again(records: Records, *, other_version: bool) -> Iterator[Finding]:
    """The reports that people read say what the records say."""
    run, report = records.run, records.report
    files = {kind: run.report_file(kind).name for kind in KINDS}
    stored = parse_object(records.bundle.data(files["json"]))
    if not _same_version(records):
        made = records.bundle.manifest.forgetctl
        why = f"forgetctl {made} wrote it and can compare it; this is {__version__} (--other-version does without)"
        yield Finding("report", "note" if other_version else "policy", why)
        return
    if place := first_difference(stored, render_json(report), words=True):
        yield Finding("report", "broken", f"{files['json']} has another {place} than the records")
    if records.bundle.data(files["md"]) != render_markdown(report).encode():
        yield Finding("report", "broken", f"{files['md']} does not say what the records say")
    yield from _page_again(records, files["html"])


def _page_again(records: Records, name: str) -> Iterator[Finding]:
    """The page is what the records give, byte for byte, but for plots that another version of the library drew."""
    expected = expected_html(records.report)
    plots = expected.plots_in(records.bundle.data(name).decode())
    if plots is None:
        yield Finding("report", "broken", f"{name} does not say what the records say")
        return
    otherwise = []
    for plot, page_plot in plots.items():
        drawn = expected.plots[plot]()
        try:
            if page_plot != drawn:
                check_plot(plot, page_plot, drawn)
                otherwise.append(plot)
        except UnfitError as error:
            yield Finding("report", "broken", f"{name}: in place of the plot {plot} stands {error}")
    if otherwise:
        why = "another version of the library draws them so; their words were compared, their lines were not"
        yield Finding("report", "note", f"{name}: plots are drawn otherwise than here ({', '.join(otherwise)}): {why}")


def _same_version(records: Records) -> bool:
    return records.bundle.manifest.forgetctl == __version__


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


def _in_order(findings: Sequence[Finding], options: AuditOptions) -> list[Finding]:
    """Findings check by check, with a line for each check that was made and found no fault."""
    unasked = {name for name, given in (("model", options.model), ("weights", options.weights_key)) if not given}
    reported = {finding.check for finding in findings if finding.status != "note" or finding.check in INSIDE}
    unread = set(INSIDE) if any(finding.check == "files" for finding in _faults(findings)) else set()
    fine = [Finding(name, "ok", OK[name]) for name in OK if name not in unasked | reported | unread]
    return sorted([*findings, *fine], key=lambda finding: CHECKS.index(finding.check))


OK = {
    "files": "every file is there with its digest, and no other",
    "statement": "it is about this manifest and this model",
    "events": "an unbroken chain, which tells what the records say",
    "plan": "recipe and bounds were fixed before the work began, and are these",
    "record": "run.json, commitments, pairs and log are those that the events name",
    "verdict": "the stored scores give it again, figure by figure",
    "report": "it says what the records say",
    "model": "this directory is the model that was sealed",
    "weights": "signed with this key",
}


_ABSENT = object()


def first_difference(stored: Any, again: Any, *, words: bool, place: str = "") -> str:
    """Where two JSON values differ first, as dotted keys; empty if nowhere.

    Figures may differ by rounding, as other processors and libraries round differently. words: compare texts too.
    """
    if isinstance(stored, dict) and isinstance(again, dict):
        keys = [*stored, *(key for key in again if key not in stored)]
        pairs = [(key, stored.get(key, _ABSENT), again.get(key, _ABSENT)) for key in keys if words or key != "text"]
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        pairs = [(number, *pair) for number, pair in enumerate(zip(stored, again, strict=True))]
    else:
        return "" if _same(stored, again) else place or "content"
    inner = (first_difference(a, b, words=words, place=f"{place}.{key}".lstrip(".")) for key, a, b in pairs)
    return next((difference for difference in inner if difference), "")


def _same(a: Any, b: Any) -> bool:
    if type(a) is float and type(b) is float:
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-15)
    return type(a) is type(b) and bool(a == b)


def _is_inside(path: Path, bundle: Path) -> bool:
    return path.resolve().is_relative_to(bundle.resolve())
