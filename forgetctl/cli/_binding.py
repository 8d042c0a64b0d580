"""Runs and the owner's register of requests: which requests a run serves, and the verdict it came to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import RunError, UsageError
from ..register.store import DEFAULT_REGISTER, Register
from ..runs.commitments import Part
from ..runs.run import Run


def check_requests(ids: Sequence[str], register: Path | None) -> None:
    """Raise UsageError for an id given twice, or one that the register does not know or has closed."""
    if not ids:
        return
    if len(set(ids)) != len(ids):
        raise UsageError("--request names a request twice")
    with Register.open(register or DEFAULT_REGISTER) as opened:
        opened.check_open(ids)


def bind(run: Run, parts: Sequence[Part], register: Path | None, method: str) -> None:
    """Note in the register which requests the run serves, and in the run which register that is.

    Does nothing for a run that is bound to no request.
    """
    counts = {part.request: len(part.rows) for part in parts if part.request is not None}
    if not counts:
        return
    path = (register or DEFAULT_REGISTER).resolve()
    with Register.open(path) as opened:
        opened.bind_run(_name(run), run.path.resolve(), method, counts)
    run.record["requests"] = list(counts)
    run.record["register"] = str(path)
    run.save_record()


def bound_register(run: Run, register: Path | None) -> Path | None:
    """The register to write the verdict to, None for a run that is bound to no request.

    register: where it is now, if it was moved; else the run's own. Raises RunError if neither knows the run.
    """
    if not run.record.get("requests"):
        return None
    own = Path(run.record["register"])
    for path in (register, own):
        if path is not None and path.is_file() and _knows(path, run):
            return path
    raise RunError(f"{own}, the register of {run.path}, is gone or does not know it; if it was moved, give --register")


def _knows(path: Path, run: Run) -> bool:
    with Register.open(path) as opened:
        return opened.knows_run(_name(run))


def write_verdict(run: Run, register: Path, verdict: str) -> None:
    """Write a run's verdict to the requests that it serves."""
    with Register.open(register) as opened:
        opened.record_verdict(_name(run), verdict)


def _name(run: Run) -> str:
    """The run's name in the register: its id is only the name of its directory, which another run may have too."""
    return f"{run.record['id']}-{run.record['uid']}"
