"""Folders that are whole or not there: filled beside their place, flushed to disk, then renamed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ForgetctlError, RunError
from .disk import unmade, wrapped_refusal
from .writing import draft_prefix, flush, writing


@contextmanager
def whole_folder(place: Path, *, replace: bool = False) -> Iterator[Path]:
    """A new private folder (0700) to be filled, which becomes `place` if all goes well, and is gone if not.

    replace: what is at `place` then goes. Otherwise nothing, or an empty folder, must be there in the end.
    Drafts that killed processes left beside it are removed. Raises UsageError if nothing can be made there, RunError if
    the file system refuses later on, also where a library says so in its own words.
    """
    with _draft(place) as draft, saving(place):
        yield draft
        _flush_tree(draft)  # before anybody is told that it is there, and what it was made from goes
        if replace:
            shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
        flush(place.parent)


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """While weights or state are written into `folder`: raise RunError if the file system refuses."""
    try:
        with writing(folder):
            yield
    except ForgetctlError:
        raise
    except Exception as error:
        # None of the libraries has a class of its own for what the file system says; torch keeps even that to itself.
        if (why := wrapped_refusal(error, folder)) is None:
            raise
        raise RunError(f"{folder} cannot be written: {why}") from None


def drafts_of(place: Path) -> list[Path]:
    """Drafts of a file or a folder that lie beside it: of commands at work, and what a crash left."""
    folder = place.parent
    if not folder.is_dir() or folder.is_symlink():
        return []
    return sorted(path for path in folder.iterdir() if path.name.startswith(draft_prefix(place)))


@contextmanager
def _draft(place: Path) -> Iterator[Path]:
    """A folder beside `place`, locked while this process fills it; what is left under its name goes."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_abandoned(place)
        draft, handle = _new_draft(place)
    except OSError as error:
        raise unmade(place, error) from None
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # it is gone already if it was renamed
        os.close(handle)


def _new_draft(place: Path) -> tuple[Path, int]:
    """A new draft and the descriptor that locks it, which the system lets go when the process ends."""
    while True:
        # A name that nobody can foresee, made anew and 0700: nothing that was put there is written through.
        draft = Path(tempfile.mkdtemp(prefix=draft_prefix(place), dir=place.parent))
        handle = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        _lock(handle, fcntl.LOCK_EX)
        if draft.exists():
            return draft, handle
        os.close(handle)  # somebody took it for abandoned before it was locked


def _remove_abandoned(place: Path) -> None:
    """Remove the drafts of `place` that no living process holds, and that are this user's."""
    for draft in drafts_of(place):
        try:
            handle = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # a file, a link, somebody else's, or removed meanwhile
            continue
        try:
            if _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(draft)
        finally:
            os.close(handle)


def _lock(handle: int, flags: int) -> bool:
    """Whether a folder was locked. Some file systems lock none: there, the drafts of killed processes stay."""
    try:
        fcntl.flock(handle, flags)
    except OSError:
        return False
    return True


def _flush_tree(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        flush(path)
