"""The end of the memory: what a GPU is held to, and what is done in halves."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from forgetctl.errors import MemoryExceeded
from forgetctl.model.encoding import Encoded, Encoder
from forgetctl.model.fast.shared_prompts import score_answers
from forgetctl.model.generation import Decoding, continuations
from forgetctl.model.load import load_model
from forgetctl.model.memory import in_halves, memory_within, out_of_memory
from forgetctl.model.scoring import score
from forgetctl.model.states import AnswerStates
from forgetctl.model.token_scores import score_tokens
from forgetctl.train.term_inputs import watch_layer
from tests.world import encoded_rows

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def fractions(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a GPU of 80 GiB is told to give at most, the newest last."""
    told = [0.9]
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
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


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting garbage takes a second with all that other tests have loaded, and nothing here needs it."""
    monkeypatch.setattr("forgetctl.model.memory.clear_device_cache", lambda **_: None)


REFUSED = {
    "processor": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"
    ),
    "torch": torch.OutOfMemoryError("HIP out of memory: tried to allocate 2 GiB"),
    "python": MemoryError(),
    "kernel": OSError(12, "Cannot allocate memory"),
}
OTHER = [
    RuntimeError("shapes do not match"),
    RuntimeError(torch.ops.aten.nonzero.default),
    OSError(28, "No space left on device"),
    ValueError("no memory"),
]


def test_what_is_a_refusal_and_what_is_none() -> None:
    assert all(out_of_memory(error) for error in REFUSED.values())
    assert not any(out_of_memory(error) for error in OTHER)


@pytest.mark.parametrize("refusal", REFUSED.values(), ids=REFUSED)
def test_whatever_is_refused_is_one_line(refusal: Exception) -> None:
    words = r"^there is too little free memory for this \(device cpu\)$"
    with pytest.raises(MemoryExceeded, match=words) as raised, memory_within(CPU):
        raise refusal
    assert raised.value.__suppress_context__


def test_other_errors_are_what_they_were() -> None:
    for error in OTHER:
        with pytest.raises(type(error)) as raised, memory_within(CPU):
            raise error
        assert raised.value is error


def test_halves_of_halves_and_each_item_in_its_order() -> None:
    done: list[int] = []

    def compute(items: Sequence[int]) -> None:
        if len(items) > 2:
            raise REFUSED["torch"]
        done.extend(items)

    in_halves(range(9), compute)
    assert done == list(range(9))
    with pytest.raises(MemoryExceeded, match="even alone"):
        in_halves([1], lambda _: compute([1, 2, 3]))
    with pytest.raises(KeyError):
        in_halves([1, 2], lambda _: {}[0])


# What is computed with a model, where it takes no more than three rows at once


@pytest.fixture(scope="module")
def rows(world: Path) -> list[Encoded]:
    return encoded_rows(world, "requests.jsonl")


@contextmanager
def tight(model: Any, refusal: Exception, most: int = 3) -> Iterator[list[int]]:
    """While this lasts the model refuses more than `most` rows; the list receives how many it was asked for."""
    asked: list[int] = []

    def look(_module: Any, _inputs: Any, options: dict[str, Any]) -> None:
        lengths = options.get("position_ids")
        ids = options["input_ids"]
        packed = ids.shape[0] == 1 and lengths is not None and not options.get("use_cache")
        asked.append(int((lengths == 0).sum()) if packed else len(ids))
        if asked[-1] > most:
            raise refusal

    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield asked
    finally:
        handle.remove()


def answers(rows: Sequence[Encoded]) -> list[Encoded]:
    """Every prompt with the answers of three rows."""
    return [Encoded(row.ids[: row.start] + other.ids[other.start :], row.start) for row in rows for other in rows[:3]]


Measure = Callable[[Any, Encoder, list[Encoded]], list[float]]
MEASURED: dict[str, Measure] = {
    "scores": lambda model, _, rows: score(model, rows),
    "tokens": lambda model, _, rows: [value for found in score_tokens(model, rows) for value in found.logp.tolist()],
    "answers": lambda model, _, rows: score_answers(model, answers(rows)),
    "states": lambda model, _, rows: torch.cat(AnswerStates(model, rows).hidden).flatten().tolist(),
    "layer": lambda model, _, rows: torch.cat(list(watch_layer(model, rows, 1, 0).start)).flatten().tolist(),
}


@pytest.mark.parametrize("refusal", [REFUSED["processor"], REFUSED["torch"]], ids=["processor", "torch"])
@pytest.mark.parametrize("kind", MEASURED)
def test_what_does_not_fit_is_measured_in_halves(
    kind: str, refusal: Exception, model: Any, encoder: Encoder, rows: list[Encoded]
) -> None:
    expected = MEASURED[kind](model, encoder, rows)
    with tight(model, refusal) as asked:
        found = MEASURED[kind](model, encoder, rows)
    assert max(asked) > 3
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", MEASURED)
def test_a_row_that_does_not_fit_alone_is_one_line(
    kind: str, model: Any, encoder: Encoder, rows: list[Encoded]
) -> None:
    with tight(model, REFUSED["torch"], most=0), pytest.raises((MemoryExceeded, torch.OutOfMemoryError)):
        MEASURED[kind](model, encoder, rows)


@pytest.mark.parametrize("samples", [None, 2])
def test_answers_are_generated_in_halves(
    samples: int | None, model: Any, encoder: Encoder, rows: list[Encoded]
) -> None:
    """And are the same, sampled ones too."""
    prompts = [row.ids[: row.start] for row in rows]
    decoding, counted = Decoding(max_new_tokens=12, samples=samples, seed=4), []
    expected = continuations(model, encoder, prompts, decoding)
    with tight(model, REFUSED["processor"], most=6) as asked:
        assert continuations(model, encoder, prompts, decoding, counted.append) == expected
    assert max(asked) > 6
    assert sum(counted) == len(prompts)


def test_a_model_that_does_not_fit_is_one_line(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise REFUSED["torch"]

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", refuse)
    with pytest.raises(MemoryExceeded, match=r"model: the model does not fit into the free memory$"):
        load_model(world / "model", CPU, torch.float32)


PIECES = """
import psutil, torch
from forgetctl.cli.process import keep_freed_memory
from forgetctl.model.memory import give_back_freed

assert keep_freed_memory()
pieces = [torch.ones(2**20) for _ in range(100)]  # 4 MiB each
del pieces[::2]  # between others that stay
before = psutil.Process().memory_info().rss
give_back_freed()
print((before - psutil.Process().memory_info().rss) / 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to give memory back")
def test_freed_memory_between_pieces_in_use_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 150
