"""One architecture in a process of its own, which may crash or hang."""

from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
import warnings
from contextlib import redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import transformers

from .compare import Result, compare

LONGEST = 240.0
"""Seconds that it may take."""


def in_child(name: str) -> Result:
    """What `compare` finds; a fault where the process dies or is not done in time."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_compared, args=(name, theirs))
    child.start()
    theirs.close()
    try:
        if not ours.poll(LONGEST):
            return Result(name, "fault", f"not done in {LONGEST:.0f} s")
        found: Result = ours.recv()
        return found
    except EOFError:
        child.join()
        return Result(name, "fault", f"the process died ({child.exitcode})")
    finally:
        child.kill()
        child.join()


def _compared(name: str, answer: Connection) -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.ERROR)  # torch tells of what fails on fake tensors before it raises
    warnings.simplefilter("ignore")
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
    ):
        answer.send(compare(name, Path(folder)))
