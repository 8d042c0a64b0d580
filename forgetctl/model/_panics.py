"""Where the tokenizers' library gives up. It is written in Rust, whose panic prints its message to standard error by
itself, and that may quote the text it was given ("... is not a char boundary; it is inside 'é' of `...`"): a row of a
request. And what Python then gets is no Exception.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ForgetctlError, ModelError

PANIC = "PanicException"
"""The name of the class; every library that pyo3 binds has one of its own, which cannot be imported."""
_STDERR = 2
_FAULTS = (OSError, ValueError, LookupError, TypeError, AttributeError)
_ONE_AT_A_TIME = threading.RLock()
"""Standard error is one for all threads."""


@contextmanager
def panics_unheard(what: str = "the model's tokenizer") -> Iterator[None]:
    """Raise ForgetctlError, which begins with `what`, for a panic inside, and let nothing reach the process's standard
    error meanwhile."""
    try:
        with _ONE_AT_A_TIME, _silent():
            yield
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise ForgetctlError(
            f"{what} gives up (a panic of its library); the message is not shown, since it may hold rows of a request"
        ) from None


@contextmanager
def tokenizer_loading(path: Path) -> Iterator[None]:
    """Raise ModelError where a model's tokenizer cannot be made of its files, ForgetctlError where the library panics.

    It raises bare Exceptions itself, whose words may quote the files.
    """
    try:
        with panics_unheard(f"{path}: its tokenizer"):
            yield
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, _FAULTS):
            raise
        raise ModelError(f"{path}: its tokenizer cannot be loaded ({type(error).__name__})") from None


@contextmanager
def _silent() -> Iterator[None]:
    try:
        kept = os.dup(_STDERR)
    except OSError:  # it is closed, as for a service
        yield
        return
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, _STDERR)
        os.close(nothing)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
