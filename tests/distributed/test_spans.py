"""Rows of which parts are marked, with the rests of their responses held, in two processes: `make distributed`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_spans import lines, marked, unlearning
from tests.distributed.launching import check_same, compute_alone, ended, furthest, launch, stage
from tests.world import write_lines

pytestmark = pytest.mark.slow
# 20 rows in steps of 7: the last has six, three a process.
SETTINGS = ("--set", "batch_size=7", "--set", "micro_batch_size=2", "--set", "epochs=3")


@pytest.fixture(scope="module")
def alone(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, beside its request, of which every third row is to be forgotten as a whole."""
    folder = tmp_path_factory.mktemp("alone")
    asked = [marked(row) for row in lines(world / "requests.jsonl")]
    for row in asked[::3]:
        del row["spans"]
    forget = write_lines(folder / "marked.jsonl", asked)
    compute_alone(*unlearning(world, forget, folder / "run", *SETTINGS))
    return folder


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_end_as_one_with_spans(engine: str, world: Path, tmp_path: Path, alone: Path) -> None:
    run = tmp_path / "run"
    code, _, errors = ended(launch(engine, *unlearning(world, alone / "marked.jsonl", run, *SETTINGS)))
    assert code == 0, errors
    print(f"\n{engine:6} spans " + "  ".join(f"{key} {far:.1e}" for key, far in furthest(run, alone / "run").items()))
    check_same(run, alone / "run")
    assert (stage(run)["processes"], stage(run)["sharded"]) == (2, engine == "fsdp2")


def test_the_rests_matter(world: Path, tmp_path: Path, alone: Path) -> None:
    """Without spans the same rows end elsewhere, so that the test above could fail."""
    asked = lines(alone / "marked.jsonl")
    forget = write_lines(tmp_path / "whole.jsonl", ({k: v for k, v in row.items() if k != "spans"} for row in asked))
    compute_alone(*unlearning(world, forget, tmp_path / "run", *SETTINGS))
    assert furthest(tmp_path / "run", alone / "run")["weights"] > 1e-3
