"""Every exception forgetctl raises on purpose, and the exit code each one becomes.

    ForgetctlError                exit 1   something failed that the caller could not have known
    ├── UsageError                exit 2   the request, the options or the files are wrong; nothing was written
    │   ├── InputError            exit 2   a file is wrong: carries the path and, where known, the line or row
    │   ├── NeedsApproval         exit 2   the request was flagged, and the owner has not approved it
    │   ├── RecipeError           exit 2   a recipe, `--set` or method names something that does not exist
    │   └── ModelError            exit 2   a model directory cannot be used
    │       └── TemplateRefusal   exit 2   the model's chat template refuses a conversation
    ├── RunError                  exit 1   a run directory is incomplete, locked, or its inputs have changed
    ├── Interrupted               exit 130 stopped by Ctrl-C or SIGTERM; the run can be resumed
    ├── DivergedError             exit 1   the loss or a gradient stopped being finite
    ├── MemoryExceeded            exit 1   not even the least that can be computed at once fits into the memory
    └── EndedElsewhere            exit 0   another process of the run says why it ends

Messages name rows by file and line or row and never quote them: a request's text is personal data.
"""

from __future__ import annotations

from pathlib import Path


class ForgetctlError(Exception):
    """Base of all errors of this package."""

    exit_code = 1


class UsageError(ForgetctlError):
    """The caller asked for something impossible; found before anything is written."""

    exit_code = 2


def source_name(path: Path | str) -> str:
    """A source of rows as its owner writes it: pathlib takes a slash from the hf://ORG/NAME of a data set."""
    text = str(path)
    return f"hf://{text.removeprefix('hf:').lstrip('/')}" if text.startswith("hf:/") else text


class InputError(UsageError):
    """A file cannot be used; the message begins with `path`, or `path:place` with a line or the name of a row."""

    def __init__(self, path: Path | str, why: str, place: int | str | None = None) -> None:
        self.path = Path(path)
        self.place = None if place is None else str(place)
        self.why = why
        where = source_name(path) if place is None else f"{source_name(path)}:{place}"
        super().__init__(f"{where}: {why}")


class NeedsApproval(UsageError):
    """A request was flagged by a rule of `forgetctl.rows.abuse` that the owner has not approved."""


class RecipeError(UsageError):
    """A recipe, a `--set` option or a method name is unknown or out of range."""


class ModelError(UsageError):
    """A model directory is missing something, or holds something that is refused."""


class TemplateRefusal(ModelError):
    """The model's chat template refuses a conversation, such as one with a system message. row: its name, if known."""

    def __init__(self, why: str, row: str | None = None) -> None:
        super().__init__(why)
        self.row = row


class RunError(ForgetctlError):
    """A run directory is incomplete, in use, or no longer matches its inputs."""


class Interrupted(ForgetctlError):
    """A signal stopped the work at a safe point."""

    exit_code = 130


class DivergedError(ForgetctlError):
    """Training produced a loss or a gradient that is not finite."""


class MemoryExceeded(ForgetctlError):
    """Not even the least that can be computed at once fits into the memory that is free, or that is allowed."""


class EndedElsewhere(ForgetctlError):
    """The run ends in all processes, and another one says why. No failure of this process, so that a launcher goes by
    the exit code of the one that speaks."""

    exit_code = 0
