"""How a command that cannot go on ends: one line on standard error and an exit code.

The message of an exception that nobody expected may hold anything that a library was given, rows of the request among
it, so it is never shown: only the kind of the exception and where it was raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import EndedElsewhere, ForgetctlError, Interrupted
from ..files.disk import refusal, wrapped_refusal
from ..files.plain_text import one_line, printable
from .process import terminable

if TYPE_CHECKING:
    from traceback import FrameSummary

PACKAGE = Path(__file__).resolve().parents[1]
VERBOSE = "forgetctl.verbose"
"""Where click's context keeps whether -v was given."""


class Failure(click.ClickException):
    """An error of ours as one line on standard error."""

    def __init__(self, error: ForgetctlError, lines: str | None = None) -> None:
        """lines: what is shown in place of the error's own message, if it may be more than a line."""
        super().__init__(one_line(str(error)) if lines is None else printable(lines))
        setattr(self, "exit_code", error.exit_code)  # noqa: B010 (click declares it on the class)


class Commands(click.Group):
    """A group that turns our errors into a line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises Failure for whatever ends it, click's own exceptions for wrong use."""
        from ..files.writing import private_files  # `--help` needs neither it nor what it imports

        try:
            with terminable(), private_files():
                return super().invoke(ctx)
        except click.ClickException as error:
            setattr(error, "message", one_line(error.message))  # noqa: B010 (click declares it final)
            raise
        except (click.exceptions.Exit, click.Abort):
            raise
        except EndedElsewhere:
            ctx.exit(0)
        except ForgetctlError as error:
            raise Failure(error) from None
        except KeyboardInterrupt:
            raise Failure(Interrupted("stopped; what was finished is kept")) from None
        except BrokenPipeError:
            raise  # whoever reads our output has enough; click ends quietly
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Failure(ForgetctlError(f"{where}{refusal(error)}")) from None
        except (SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001  Python would print its message, which may quote rows
            words = wrapped_refusal(error, Path()) or describe_unexpected(error, verbose=ctx.meta.get(VERBOSE, False))
            raise Failure(ForgetctlError(), words) from None


def describe_unexpected(error: BaseException, *, verbose: bool) -> str:
    """The exception in one line without its message. verbose: also every place on its way, without any values."""
    from traceback import extract_tb  # slow to import, and seldom needed

    frames = extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)] or frames
    where = f" at {_place(own[-1])}" if own else ""
    line = f"unexpected {type(error).__name__}{where}; its message is not shown, since it may hold rows of a request"
    return "\n".join([line, *_places(error)]) if verbose else f"{line} (-v shows the way there)"


def _places(error: BaseException | None) -> Iterator[str]:
    """The frames of an exception, and of those that it came from."""
    from traceback import extract_tb

    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield f"{type(error).__name__}, from the outermost call to where it was raised:"
        for frame in extract_tb(error.__traceback__):
            yield f"  {_place(frame)} in {frame.name}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _place(frame: FrameSummary) -> str:
    path = Path(frame.filename)
    shown = path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE) else Path(*path.parts[-3:])
    return f"{shown}:{frame.lineno}"
