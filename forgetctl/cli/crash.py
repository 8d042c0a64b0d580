"""What is told of an exception that nobody expected.

Its message may hold anything that a library was given, rows of the request among it, so it is never shown: only the
kind of the exception and where it was raised.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def told(error: BaseException, *, verbose: bool) -> str:
    """The exception in one line without its message. verbose: also every place on its way, without any values."""
    found = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in found if Path(frame.filename).is_relative_to(PACKAGE)] or found
    where = f" at {_place(own[-1])}" if own else ""
    line = f"unexpected {type(error).__name__}{where}; its message is not shown, since it may hold rows of a request"
    return "\n".join([line, *_places(error)]) if verbose else f"{line} (-v shows the way there)"


def _places(error: BaseException | None) -> Iterator[str]:
    """The frames of an exception, and of those that it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield f"{type(error).__name__}, from the outermost call to where it was raised:"
        for frame in traceback.extract_tb(error.__traceback__):
            yield f"  {_place(frame)} in {frame.name}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _place(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    shown = path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE) else Path(*path.parts[-3:])
    return f"{shown}:{frame.lineno}"
