"""A process alone tells and awaits nothing; comparisons within a forward. Several processes: tests/distributed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from forgetctl.errors import Interrupted, ModelError, UsageError
from forgetctl.model.encoding import Encoded
from forgetctl.model.load import load_model
from forgetctl.model.processes import Ranks, idle_gpus_note, join
from forgetctl.model.scoring import score
from forgetctl.model.shares import shared_scores
from forgetctl.model.states import AnswerStates
from forgetctl.train._wrapping import Through, WithinForward
from tests.world import encoded_rows

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def forget(world: Path) -> list[Encoded]:
    return encoded_rows(world, "requests.jsonl")


def test_a_process_alone() -> None:
    alone = join(CPU)
    assert alone == Ranks()
    assert alone.first
    assert not alone.sharded
    assert alone.device is None
    assert alone.broadcast("x") == "x"
    assert alone.gather(3) == [3]
    assert alone.totals([0.1, 2.0]) == [0.1, 2.0]
    assert [alone.any(flag) for flag in (True, False)] == [True, False]
    assert alone.from_first(lambda: 5) == 5
    alone.wait()


@pytest.mark.parametrize(
    ("ranks", "device", "there", "words"),
    [
        (Ranks(), "cuda", 2, "Computing on one of 2 GPUs; the other one is idle ("),
        (Ranks(), "cuda:1", 8, "Computing on one of 8 GPUs; the other 7 are idle ("),
        (Ranks(), "cuda", 1, None),
        (Ranks(), "cpu", 8, None),
        (Ranks(index=0, count=8), "cuda", 8, None),
    ],
)
def test_gpus_that_are_left_idle_are_told(
    ranks: Ranks, device: str, there: int, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    told = idle_gpus_note(ranks, torch.device(device))
    assert told == (words and f"{words}accelerate launch -m forgetctl ... uses all).")


def test_deepspeed_is_refused_whether_it_is_installed_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UsageError, match=r"does not compute with DeepSpeed; recipes/accelerate/fsdp2.yaml"):
        join(CPU)


def test_errors_of_a_process_alone_are_its_own() -> None:
    alone = Ranks()
    with pytest.raises(ModelError, match=r"^as it was$"), alone.agreed():
        raise ModelError("as it was")
    with pytest.raises(Interrupted, match=r"^as it was$"), alone.spoken_once():
        raise Interrupted("as it was")
    with pytest.raises(RuntimeError, match="gloo"), alone.spoken_once():
        raise RuntimeError("gloo")


def test_scores_of_a_process_alone_are_the_scores(model: Any, forget: list[Encoded]) -> None:
    done: list[int] = []
    assert shared_scores(Ranks(), model, forget, done.append) == score(model, forget)
    assert sum(done) == len(forget)


@torch.no_grad()
def test_a_divergence_within_the_forward_is_the_divergence(world: Path, model: Any, forget: list[Encoded]) -> None:
    states = AnswerStates(model, forget, copy_head=True)
    moved = load_model(world / "model", CPU, torch.float32)
    for weight in moved.parameters():
        weight.add_(0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    expected = states.divergence_to(moved)
    assert expected > 0.01
    assert WithinForward(states).divergence_to(moved) == pytest.approx(expected, rel=1e-4)


def test_a_wrapped_model_is_called_through_its_wrapper(model: Any, forget: list[Encoded]) -> None:
    called: list[set[str]] = []

    def wrapper(**inputs: Any) -> Any:
        called.append(set(inputs))
        return model(**inputs)

    assert score(Through(wrapper, model), forget) == score(model, forget)
    assert called
