"""What is computed with inside of `undisturbed` is as it was afterwards, whatever happened in between."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import set_seed
from transformers.utils import logging

from forgetctl.model.host import no_progress_bars, repeat_sums, undisturbed


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def seeded() -> None:
    set_seed(7)


def said() -> None:
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()


def environment() -> None:
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
    os.environ.pop("FORGETCTL_TEST", None)


def state() -> dict[str, object]:
    return {
        "deterministic": torch.get_deterministic_debug_mode(),
        "filled": torch.utils.deterministic.fill_uninitialized_memory,
        "environment": dict(os.environ),
        "verbosity": logging.get_verbosity(),
        "bars": logging.is_progress_bar_enabled(),
        "accelerate": (dict(PartialState._shared_state), dict(AcceleratorState._shared_state)),
        "random numbers": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
    }


CHANGES: dict[str, Callable[[], object]] = {
    "seeds": seeded,
    "sums": repeat_sums,
    "words": said,
    "environment": environment,
    "accelerate": lambda: Accelerator(cpu=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_as_it_was(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETCTL_TEST", "set")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    PartialState._reset_state()
    AcceleratorState._reset_state()
    before = state()
    found: list[dict[str, object]] = []

    @undisturbed()
    def fail() -> None:
        CHANGES[change]()
        found.append(state())
        raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert found != [before]
    assert state() == before


def test_random_numbers_go_on() -> None:
    set_seed(1)
    expected = [draw(), draw()]
    set_seed(1)
    found = [draw()]
    with undisturbed():
        set_seed(5)
        draw()
    assert [*found, draw()] == expected


def test_bars_are_shown_again() -> None:
    logging.enable_progress_bar()
    with no_progress_bars():
        assert not logging.is_progress_bar_enabled()
    assert logging.is_progress_bar_enabled()
