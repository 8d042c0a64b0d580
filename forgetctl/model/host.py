"""Leave the process that forgetctl is called in as it was.

What makes a command faster is set up by the command line alone (`cli.process`). What a computation itself needs, such
as seeded random numbers and sums that can be repeated, and what libraries change on their own, ends with it here.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import distributed


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore afterwards what is computed with inside: environment variables, random numbers, torch's deterministic
    algorithms and current GPU, accelerate's state, and how much transformers says; it draws no progress bars meanwhile.

    Of a launcher's processes the group stays, and accelerate's knowledge of it. Not for several threads at once, which
    share all of this.
    """
    with ExitStack() as kept:
        for keep in (_environment, _random_numbers, _determinism, _current_gpu, _accelerate, no_progress_bars):
            kept.enter_context(keep())
        yield


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing on its user's terminal."""
    from transformers.utils.logging import disable_progress_bar

    with _transformers():
        disable_progress_bar()  # type: ignore[no-untyped-call]
        yield


def repeat_sums() -> None:
    """Let GPUs add up in one order every time, so that a run can be repeated and resumed bit by bit; until the end of
    `undisturbed`.

    To be called before anything is computed. It does not reach attention in half precision.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads what was not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def _environment() -> Iterator[None]:
    """transformers' Trainer tells accelerate by variables what it was asked for."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _random_numbers() -> Iterator[None]:
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if _gpus_in_use() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus is not None:
            torch.cuda.set_rng_state_all(gpus)


def _gpus_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextmanager
def _determinism() -> Iterator[None]:
    mode, fill = torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


@contextmanager
def _current_gpu() -> Iterator[None]:
    before = torch.cuda.current_device() if _gpus_in_use() else None
    try:
        yield
    finally:
        if before is not None:
            torch.cuda.set_device(before)


@contextmanager
def _accelerate() -> Iterator[None]:
    """Its classes of state are one object a process: whoever comes second is given what the first one chose."""
    kinds = (AcceleratorState, GradientState, PartialState)
    before = [dict(kind._shared_state) for kind in kinds]
    try:
        yield
    finally:
        for kind, values in zip(kinds, before, strict=True):
            if kind is PartialState and distributed.is_initialized():
                continue  # which of a launcher's processes this is, for as long as they have a group
            kind._shared_state.clear()
            kind._shared_state.update(values)


@contextmanager
def _transformers() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    verbosity, shown, hub = logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        restore = logging.enable_progress_bar if shown else logging.disable_progress_bar
        restore()  # type: ignore[no-untyped-call]
        if hub:
            disable_progress_bars()
