"""The end of the memory: what a GPU is held to, and what is done in halves."""

from types import SimpleNamespace

import pytest
import torch

from forgetctl.engine.memory import memory_within

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def fractions(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a GPU of 80 GiB is told to give at most, the newest last."""
    told = [0.9]
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _: told[-1])
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda part, _: told.append(part))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * 2**30))
    return told


def test_a_gpu_gives_no_more_than_the_limit_and_then_as_before(fractions: list[float]) -> None:
    with memory_within(GPU, 12 * 2**30):
        assert fractions == [0.9, 12 / 80]
    assert fractions == [0.9, 12 / 80, 0.9]


def test_a_limit_does_not_loosen_another(fractions: list[float]) -> None:
    with memory_within(GPU, 100 * 2**30):
        assert fractions[-1] == 0.9


@pytest.mark.parametrize(("device", "limit"), [(GPU, None), (CPU, 2**30)])
def test_nothing_else_is_held_to_anything(device: torch.device, limit: int | None, fractions: list[float]) -> None:
    with memory_within(device, limit):
        assert fractions == [0.9]
