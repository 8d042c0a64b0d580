"""What a file system refuses, told in words: a full disk above all, also where a library hides it in another error."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from ..errors import ForgetctlError, RunError, UsageError

FULL = "no space left on the disk"
_WORDS = {errno.ENOSPC: FULL, errno.EDQUOT: f"{FULL} for this user (quota)"}
_CODES = (*_WORDS, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.ENAMETOOLONG)
_RUST = re.compile(r"\(os error (\d{1,4})\)")
"""How Rust's standard library ends what it says of an error of the system; safetensors passes it on."""
_TORCH = ("inline_container.cc", "PytorchStreamWriter", "iostream error")
"""What stands in the errors of torch's writer of archives, which keeps to itself what the system said."""
_NEARLY_FULL = 2**20
"""Bytes: where fewer are free, a write that failed for a reason that nobody told failed for want of space."""


def refusal(error: OSError) -> str:
    """Why the file system refused, in words."""
    return _word(error.errno or 0) or error.strerror or type(error).__name__


def unmade(place: Path, error: OSError, what: str = "cannot be made") -> ForgetctlError:
    """The error for a place that somebody chose and that cannot be used: it is a wrong choice, or the disk is full."""
    kind = RunError if error.errno in _WORDS else UsageError
    return kind(f"{place} {what}: {refusal(error)}")


def wrapped_refusal(error: BaseException, place: Path) -> str | None:
    """The same for what safetensors or torch raise while `place` is written; None for an error about something else.
    Their messages are searched and never shown."""
    text = str(error)
    if match := _RUST.search(text):
        return _word(int(match[1]))
    if not isinstance(error, RuntimeError):
        return None
    if code := next((code for code in _CODES if os.strerror(code) in text), None):
        return _word(code)
    if not any(word in text for word in _TORCH):
        return None
    if isinstance(error.__context__, OSError):  # of the file that torch wrote to
        return refusal(error.__context__)
    return FULL if free_bytes(place) < _NEARLY_FULL else "the file system refused"


def _word(code: int) -> str:
    return _WORDS.get(code) or (os.strerror(code) if code else "")


def free_bytes(place: Path) -> int:
    """Bytes that this user can still write where `place` is, or will be."""
    there = next(folder for folder in (place, *place.absolute().parents) if folder.is_dir())
    return shutil.disk_usage(there).free


def refuse_beyond_disk(place: Path, needed: int, what: str) -> None:
    """Raise RunError if `needed` bytes, which `what` is known to take, cannot be written to `place`."""
    if (free := free_bytes(place)) < needed:
        raise RunError(
            f"{place}: {FULL} for {what}: about {_megabytes(needed)} are needed and {_megabytes(free)} are free"
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"
