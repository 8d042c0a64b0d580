"""What a command knows of the training of a reference that one before it began."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from forgetctl.model.processes import Ranks
from forgetctl.train import attempt as module
from forgetctl.train.attempt import BEGUN, Attempt, ComputeSettings
from forgetctl.train.plan import ComputePlan, MemoryLimit, Workload
from forgetctl.train.schedule import MicroBatchLimits

SETTINGS = ComputeSettings(max_memory=None, micro_batch=None, precision="fp32", device="cpu", processes=1)
BEFORE = ComputePlan(limits=MicroBatchLimits(rows=4, tokens=512), precision="fp32", peak_bytes=1000, why="before")
WORK: Any = SimpleNamespace(device=torch.device("cpu"))
ANEW = replace(BEFORE, limits=MicroBatchLimits(rows=2, tokens=128), why="anew")


@dataclass
class Said:
    lines: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.lines.append(text)


@dataclass
class Planner:
    """Stands for the machine: what is free, and what is planned with."""

    free: int = 5000
    asked: list[tuple[int, int]] = field(default_factory=list)

    def make_plan(self, _work: Workload, *, free: int, limit: MemoryLimit) -> ComputePlan:
        self.asked.append((free, limit.bytes))
        return ANEW


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Planner:
    planner = Planner()
    monkeypatch.setattr(module, "make_plan", planner.make_plan)
    monkeypatch.setattr(
        module, "memory_limit", lambda most, *_: MemoryLimit(min(most or 2**60, planner.free), "", most)
    )
    monkeypatch.setattr(module, "free_share", lambda *_: planner.free)
    return planner


def attempt(folder: Path, settings: ComputeSettings = SETTINGS, ranks: Ranks | None = None) -> Attempt:
    made = Attempt(folder / "seed-1", {"seed": 1}, settings, ranks or Ranks())
    (made.checkpoints / "checkpoint-1").mkdir(parents=True, exist_ok=True)
    return made


def begin(one: Attempt) -> tuple[ComputePlan, list[str], bool]:
    """The plan, what was said, and whether the checkpoints stay."""
    said = Said()
    plan = one.begin(WORK, said)  # type: ignore[arg-type]
    return plan, said.lines, (one.checkpoints / "checkpoint-1").exists()


def test_it_is_computed_as_before(tmp_path: Path, machine: Planner) -> None:
    attempt(tmp_path).keep(BEFORE)
    assert begin(attempt(tmp_path)) == (BEFORE, [], True)
    assert machine.asked == []


def test_the_first_time_it_is_planned_and_noted(tmp_path: Path, machine: Planner) -> None:
    assert begin(attempt(tmp_path)) == (ANEW, [], False)
    assert begin(attempt(tmp_path)) == (ANEW, [], True)
    assert len(machine.asked) == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_memory": 4000}, "max memory"),
        ({"micro_batch": 1}, "micro batch"),
        ({"precision": "bf16"}, "precision"),
        ({"device": "cuda"}, "device"),
        ({"processes": 2, "micro_batch": 1}, "micro batch, processes"),
    ],
)
def test_other_settings_are_planned_with_and_the_checkpoints_stay(
    changes: dict[str, Any], named: str, tmp_path: Path, machine: Planner
) -> None:
    attempt(tmp_path).keep(BEFORE)
    other = replace(SETTINGS, **changes)
    line = f"seed-1 was begun with other {named}: planning again how it is computed."
    assert begin(attempt(tmp_path, other)) == (ANEW, [line], True)
    assert machine.asked == [(5000, min(changes.get("max_memory", 5000), 5000))]
    assert begin(attempt(tmp_path, other)) == (ANEW, [], True)


def test_a_plan_that_no_longer_fits_is_made_again(tmp_path: Path, machine: Planner) -> None:
    attempt(tmp_path).keep(BEFORE)
    machine.free = 999
    line = "seed-1 was begun where more memory was free: planning again how it is computed."
    assert begin(attempt(tmp_path)) == (ANEW, [line], True)


def damage(file: Path) -> None:
    file.write_text('{"wanted": ')


def age(file: Path) -> None:
    """As 0.1 wrote it, which named none of the settings, and the limits otherwise."""
    begun = json.loads(file.read_text())
    del begun["settings"]
    file.write_text(json.dumps(begun))


def lose_the_plan(file: Path) -> None:
    begun = json.loads(file.read_text())
    del begun["computing"]
    file.write_text(json.dumps(begun))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (damage, "left a damaged begun.json"),
        (age, "was begun by another version of forgetctl"),
        (lose_the_plan, "was begun by another version of forgetctl"),
    ],
)
def test_what_cannot_be_read_begins_again(
    spoil: Callable[[Path], None], why: str, tmp_path: Path, machine: Planner
) -> None:
    attempt(tmp_path).keep(BEFORE)
    spoil(attempt(tmp_path).folder / BEGUN)
    assert begin(attempt(tmp_path)) == (ANEW, [f"seed-1 {why}: beginning again."], False)


class Two(Ranks):
    """The first of two processes, of which the other has half of the memory."""

    def gather(self, value: Any) -> list[Any]:
        half = replace(value, bytes=value.bytes // 2) if isinstance(value, MemoryLimit) else value // 2
        return [value, half]

    def from_first(self, make: Callable[[], Any]) -> Any:
        return make()


def test_it_is_planned_for_the_process_that_has_least(tmp_path: Path, machine: Planner) -> None:
    begin(attempt(tmp_path, ranks=Two(count=2)))
    assert machine.asked == [(2500, 2500)]
