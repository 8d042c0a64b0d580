"""Every engine against one process, and what may happen to a run of several: `make distributed`."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import process, unlearn_arguments
from tests.cli.conftest import strangers as strangers  # a fixture
from tests.distributed.launching import (
    RECORDING,
    check_same,
    check_shares,
    compute_alone,
    ended,
    furthest,
    launch,
    log,
    stage,
    wait_for_step,
    workers,
)

pytestmark = pytest.mark.slow
LONG = ("--set", "epochs=40", "--set", "learning_rate=1e-3")
KINDS = {
    "full": ("--set", "micro_batch_size=3"),
    "lora": ("--lora", "--set", "learning_rate=5e-3"),
    # 20 rows in steps of 19: the last has one row for two processes.
    "one-row": ("--method", "npo", "--set", "batch_size=19", "--set", "micro_batch_size=4"),
    "kto-rt": ("--method", "kto-rt", "--track"),
    "npo-kl": ("--method", "npo-kl"),
    "dpo": ("--method", "dpo"),
    "rmu": ("--method", "rmu"),
}
SPOILT = Path(__file__).with_name("spoilt.py")
Alone = Callable[..., Path]


@pytest.fixture(scope="module")
def alone(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """The run of one process with the same arguments, made once."""
    made: dict[tuple[str, ...], Path] = {}

    def run(*arguments: str) -> Path:
        if arguments not in made:
            folder = tmp_path_factory.mktemp("alone") / "run"
            compute_alone(*unlearn_arguments(world, folder, *arguments))
            made[arguments] = folder
        return made[arguments]

    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_end_as_one(engine: str, kind: str, world: Path, tmp_path: Path, alone: Alone) -> None:
    run, noted = tmp_path / "run", tmp_path / "noted"
    noted.mkdir()
    arguments = unlearn_arguments(world, run, *KINDS[kind])
    code, _, errors = ended(launch(engine, str(noted), *arguments, script=RECORDING))
    assert code == 0, errors
    whole = alone(*KINDS[kind])
    apart = furthest(run, whole)
    print(f"\n{engine:6} {kind:9} " + "  ".join(f"{name} {value:.1e}" for name, value in apart.items()))
    check_same(run, whole)
    check_shares(noted, sharded=engine == "fsdp2")
    assert stage(run)["sharded"] == (engine == "fsdp2")


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_end_at_levels_as_one(
    engine: str, world: Path, strangers: Path, tmp_path: Path, alone: Alone
) -> None:
    """With stand-ins; weights that are spread over the processes cannot be anchored."""
    settings = ("--holdout", str(strangers), "--set", "anchor=0", "--set", "epochs=3")
    run, noted = tmp_path / "run", tmp_path / "noted"
    noted.mkdir()
    arguments = unlearn_arguments(world, run, *settings)
    code, _, errors = ended(launch(engine, str(noted), *arguments, script=RECORDING))
    assert code == 0, errors
    check_same(run, alone(*settings))


def test_three_processes(world: Path, tmp_path: Path, alone: Alone) -> None:
    run = tmp_path / "run"
    code, _, errors = ended(launch("ddp", *unlearn_arguments(world, run), processes=3))
    assert code == 0, errors
    check_same(run, alone())


def test_without_a_retain_file(world: Path, tmp_path: Path) -> None:
    """The first process alone has the start model make the sample."""
    options = ("--set", "retain.answer_tokens=8", "--set", "epochs=1")
    alone, run = (unlearn_arguments(world, tmp_path / name, *options) for name in ("alone", "run"))
    for arguments in (alone, run):
        place = arguments.index("--retain")
        del arguments[place : place + 2]
    compute_alone(*alone)
    code, _, errors = ended(launch("ddp", *run))
    assert code == 0, errors
    check_same(tmp_path / "run", tmp_path / "alone")


# Resuming


def interrupted(engine: str, world: Path, run: Path, *options: str) -> None:
    """A run that was stopped by SIGTERM to the launcher after some steps."""
    running = launch(engine, *unlearn_arguments(world, run, *LONG, *options))
    wait_for_step(running, run, 31)
    running.send_signal(signal.SIGTERM)
    _, _, errors = ended(running)
    assert stage(run)["status"] == "interrupted", errors
    assert errors.count(f"forgetctl unlearn --resume {run}") == 1
    assert 31 <= stage(run)["step"] < 120


def copied(run: Path, to: Path) -> Path:
    """The run with its keys, elsewhere."""
    shutil.copytree(run, to)
    shutil.copy(run.with_name("run.key"), to.with_name(f"{to.name}.key"))
    shutil.copytree(run.with_name("run.keys"), to.with_name(f"{to.name}.keys"))
    return to


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_resumes_with_as_many_processes_with_one_and_with_three(
    kind: str, world: Path, tmp_path: Path, alone: Alone
) -> None:
    interrupted("ddp", world, tmp_path / "run", *KINDS[kind])
    whole = alone(*LONG, *KINDS[kind])
    two, one, three = (copied(tmp_path / "run", tmp_path / name) for name in ("two", "one", "three"))
    compute_alone("unlearn", "--resume", str(one))
    for run, processes in ((two, 2), (three, 3)):
        code, _, errors = ended(launch("ddp", "unlearn", "--resume", str(run), processes=processes))
        assert code == 0, errors
    for run in (two, one, three):
        print(f"\nddp    {kind} resumed with {run.name}", furthest(run, whole))
        check_same(run, whole)


def test_a_run_of_one_process_resumes_with_two(world: Path, tmp_path: Path, alone: Alone) -> None:
    run = tmp_path / "run"
    running = process(*unlearn_arguments(world, run, *LONG))
    wait_for_step(running, run, 31)
    running.send_signal(signal.SIGTERM)
    ended(running)
    code, _, errors = ended(launch("ddp", "unlearn", "--resume", str(run)))
    assert code == 0, errors
    check_same(run, alone(*LONG))


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_sharded_run_resumes_with_as_many_processes_and_with_three(
    kind: str, world: Path, tmp_path: Path, alone: Alone
) -> None:
    interrupted("fsdp2", world, tmp_path / "run", *KINDS[kind])
    whole = alone(*LONG, *KINDS[kind])
    for processes in (2, 3):
        run = copied(tmp_path / "run", tmp_path / f"with-{processes}")
        code, _, errors = ended(launch("fsdp2", "unlearn", "--resume", str(run), processes=processes))
        assert code == 0, errors
        print(f"\nfsdp2  {kind} resumed with {processes}", furthest(run, whole))
        check_same(run, whole)
    code, _, errors = ended(process("unlearn", "--resume", str(tmp_path / "run")))
    assert code == 1
    assert "was computed with FSDP, " in errors


# Whatever ends one process ends all


def test_a_killed_process_ends_all_and_the_run_resumes(world: Path, tmp_path: Path, alone: Alone) -> None:
    run = tmp_path / "run"
    running = launch("ddp", *unlearn_arguments(world, run, *LONG))
    wait_for_step(running, run, 31)
    first, second = workers(running)
    second.kill()
    code, _, errors = ended(running, 100)
    assert code != 0
    assert not first.is_running()
    assert not (run / "model").exists()
    code, _, errors = ended(launch("ddp", "unlearn", "--resume", str(run)))
    assert code == 0, errors
    check_same(run, alone(*LONG))


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_a_loss_that_one_process_finds_not_finite_ends_all_and_is_told_once(
    engine: str, world: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    code, _, errors = ended(launch(engine, "loss", *unlearn_arguments(world, run), script=SPOILT), 100)
    assert code != 0
    assert errors.count("the loss is not finite at step 1; lower the learning rate") == 1
    assert stage(run)["status"] == "diverged"


def test_a_bad_request_is_told_once_and_nothing_is_written(world: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a"}\n')
    arguments = unlearn_arguments(world, tmp_path / "run")
    arguments[arguments.index("--forget") + 1] = str(bad)
    code, _, errors = ended(launch("ddp", *arguments), 100)
    assert code != 0
    assert errors.count(f"{bad}:1") == 1
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_sharded_is_refused(world: Path, tmp_path: Path) -> None:
    arguments = unlearn_arguments(world, tmp_path / "run", "--optimizer", "adamw8bit")
    code, _, errors = ended(launch("fsdp2", *arguments), 100)
    assert code != 0
    assert errors.count("optimizer=adamw8bit works with a whole model in every process") == 1


def test_too_little_memory_in_one_process_is_refused_with_a_remedy(world: Path, tmp_path: Path) -> None:
    arguments = unlearn_arguments(world, tmp_path / "run")
    code, _, errors = ended(launch("ddp", "memory", *arguments, script=SPOILT), 100)
    assert code != 0
    assert "process 1: 8 rows at once do not fit into the memory" in errors
    assert "--set micro_batch_size=4" in errors


def test_the_log_says_the_same_as_before_of_a_first_step(world: Path, tmp_path: Path, alone: Alone) -> None:
    """At the start NPO is (2/beta) ln 2, whoever computes it."""
    run = tmp_path / "run"
    code, _, errors = ended(launch("ddp", *unlearn_arguments(world, run, "--method", "npo", "--set", "epochs=1")))
    assert code == 0, errors
    assert log(run)[0]["loss"] == pytest.approx(2 * 0.6931472, abs=1e-5)
    assert json.loads((run / "run.json").read_text())["stages"]["unlearn"]["processes"] == 2
