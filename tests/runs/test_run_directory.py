import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetctl.errors import InputError, RunError, UsageError
from forgetctl.files.writing import (
    file_digest,
    model_digest,
    read_json,
    text_digest,
    write_bytes,
    write_json,
    write_new,
)
from forgetctl.runs.run import LATEST, SCHEMA, Run, new_run_path, refuse_used

PRIVATE = "Velmira Oskandt"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "runs" / "first", {"kind": "unlearn", "inputs": {"forget": {}}})


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    path = tmp_path / "request.jsonl"
    path.write_text(json.dumps({"text": PRIVATE}))
    return path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Create and open


def test_created_run_opens_equal(run: Run) -> None:
    opened = Run.open(run.path)
    assert opened.record == run.record
    assert (opened.record["schema"], opened.record["id"], opened.record["kind"]) == (SCHEMA, "first", "unlearn")
    assert opened.record["created"].endswith("+00:00")


def test_latest_points_at_the_newest(tmp_path: Path, run: Run) -> None:
    latest = tmp_path / "runs" / LATEST
    assert Run.open(latest).path == run.path.resolve()
    second = Run.create(tmp_path / "runs" / "second", {})
    assert Run.open(latest).path == second.path.resolve()
    assert names(tmp_path / "runs") == {"first", "second", LATEST}


def test_latest_still_works_when_the_folder_moves(tmp_path: Path, run: Run) -> None:
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert Run.open(tmp_path / "moved" / LATEST).path == (tmp_path / "moved" / "first").resolve()


def test_files_of_latest_and_of_the_run_are_the_same(tmp_path: Path, run: Run) -> None:
    assert Run.open(tmp_path / "runs" / LATEST).key_file == run.key_file.resolve()


@pytest.mark.parametrize("way", [".", "../first", "../latest"])
def test_opened_from_inside_it_finds_its_key(
    run: Run, request_file: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    commitment = run.commit(request_file)
    monkeypatch.chdir(run.path)
    assert Run.open(Path(way)).commit(request_file) == commitment


def test_create_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    run = Run.create(Path(), {})
    assert run.record["id"] == "empty"
    assert Run.open(tmp_path / LATEST).record["id"] == "empty"


def test_create_takes_an_empty_directory_and_makes_it_private(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    Run.create(path, {})
    assert mode(path) == 0o700


def test_create_refuses_a_used_place_and_leaves_it_alone(tmp_path: Path, run: Run) -> None:
    before = run.record_file.read_bytes()
    with pytest.raises(UsageError, match="is in use; choose another --out, or continue it with --resume") as caught:
        Run.create(run.path, {"kind": "other"})
    assert caught.value.exit_code == 2
    assert str(run.path) in str(caught.value)
    assert run.record_file.read_bytes() == before


def test_refuse_used(tmp_path: Path) -> None:
    file, empty = tmp_path / "file", tmp_path / "empty"
    file.touch()
    empty.mkdir()
    with pytest.raises(UsageError, match="file is in use"):
        refuse_used(file)
    refuse_used(empty)
    refuse_used(tmp_path / "none")


def test_run_cannot_be_called_latest(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Run.create(tmp_path / LATEST, {})


def test_create_below_a_file_is_refused(tmp_path: Path, request_file: Path) -> None:
    with pytest.raises(UsageError):
        Run.create(request_file / "run", {})


def test_open_where_nothing_has_been_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run at .*latest: nothing has been run here yet"):
        Run.open(tmp_path / LATEST)
    with pytest.raises(UsageError, match=r"no run at .*none$"):
        Run.open(tmp_path / "none")


def test_open_another_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run directory: it has no run\.json"):
        Run.open(tmp_path)


@pytest.mark.parametrize("schema", [SCHEMA + 1, 0, "1", None])
def test_open_another_schema(run: Run, schema: object) -> None:
    write_json(run.record_file, {**run.record, "schema": schema})
    with pytest.raises(RunError, match=f"schema {schema}, this forgetctl reads {SCHEMA}") as caught:
        Run.open(run.path)
    assert caught.value.exit_code == 1
    assert str(run.record_file) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"schema": 1, "id": "Velmira Osk',
        b"[1]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema": ' + b"1" * 5000 + b"}",
    ],
    ids=["empty", "torn", "array", "null", "bytes", "nested", "huge"],
)
def test_open_a_damaged_record(run: Run, content: bytes) -> None:
    run.record_file.write_bytes(content)
    with pytest.raises(RunError, match="damaged") as caught:
        Run.open(run.path)
    assert caught.value.exit_code == 1
    assert str(run.record_file) in str(caught.value)
    assert "Velmira" not in str(caught.value)


def test_new_run_path_is_unused(tmp_path: Path) -> None:
    paths = [new_run_path(tmp_path, "npo-rt")]
    for _ in range(4):
        paths[-1].mkdir()
        paths.append(new_run_path(tmp_path, "npo-rt"))
    assert len(set(paths)) == 5
    assert not paths[-1].exists()
    assert all(path.parent == tmp_path and "-npo-rt" in path.name for path in paths)


# Stages


def test_stage_keeps_what_it_found(run: Run) -> None:
    run.stage("unlearn", "running", steps=40)
    assert not run.stage_done("unlearn")
    run.stage("unlearn", "done", seconds=2.5)
    stage = Run.open(run.path).record["stages"]["unlearn"]
    assert (stage["status"], stage["steps"], stage["seconds"]) == ("done", 40, 2.5)
    assert {"running_at", "done_at"} <= set(stage)
    assert Run.open(run.path).stage_done("unlearn")
    assert not run.stage_done("verify")


# Lock

HOLD = """
import sys
from pathlib import Path
from forgetctl.runs.run import Run
with Run.open(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(run: Run) -> Iterator[subprocess.Popen[str]]:
    """A second process that holds the run's lock until the block ends."""
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(60)
def test_lock_held_by_another_process(run: Run) -> None:
    with held_by_another_process(run) as process:
        with pytest.raises(RunError, match=f"is in use by process {process.pid} since 20") as caught, run.lock():
            pytest.fail("the lock was given twice")
        assert caught.value.exit_code == 1
        assert str(run.path) in str(caught.value)
        assert (run.path / "lock.json").is_file()  # the refused one has not removed the holder's note


@pytest.mark.timeout(60)
def test_lock_of_a_killed_process_is_free(run: Run) -> None:
    with held_by_another_process(run):
        pass
    assert (run.path / "lock.json").is_file()
    with run.lock():
        assert read_json(run.path / "lock.json")["pid"] == os.getpid()


def test_lock_is_released_after_use_and_after_an_error(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock():
        pass
    assert "lock.json" not in names(run.path)


def test_lock_is_not_given_twice_in_one_process(run: Run) -> None:
    with run.lock(), pytest.raises(RunError, match=f"process {os.getpid()}"), Run.open(run.path).lock():
        pytest.fail("the lock was given twice")


def test_lock_whose_holder_has_left_no_note_yet(run: Run) -> None:
    with run.lock():
        (run.path / "lock.json").unlink()
        with pytest.raises(RunError, match="is in use by another command"), Run.open(run.path).lock():
            pytest.fail("the lock was given twice")


# What was frozen or made


def test_what_was_frozen_must_be_there_and_the_same(run: Run) -> None:
    run.freeze("seed: 1\n", {"utility": 0.5})
    run.check_frozen()
    for file in (run.recipe_file, run.plan_file):
        before = file.read_bytes()
        file.write_bytes(before + b" ")
        with pytest.raises(RunError, match=f"{file} has changed since it was frozen"):
            run.check_frozen()
        file.unlink()
        with pytest.raises(RunError, match=f"{file} is missing"):
            run.check_frozen()
        file.write_bytes(before)
    run.check_frozen()


def test_the_model_must_be_the_one_that_was_made(run: Run) -> None:
    with pytest.raises(RunError, match=f"{run.model_dir}, the model of {run.path}, is gone"):
        run.check_model()
    run.model_dir.mkdir()
    for name in ("config.json", "model.safetensors"):
        (run.model_dir / name).write_bytes(name.encode())
    run.record["stages"] = {"unlearn": {"model_sha256": model_digest(run.model_dir)}}
    run.check_model()
    (run.model_dir / "model.safetensors").write_bytes(b"model.safetensor")
    with pytest.raises(RunError, match=f"{run.model_dir} has changed since {run.path} made it"):
        run.check_model()


# Writing


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"long": "x" * 1000})
    write_json(path, {"name": "Ünal 東京"})
    assert read_json(path) == {"name": "Ünal 東京"}
    assert names(path.parent) == {"a.json"}


@pytest.mark.parametrize(
    ("value", "error"),
    [({"a": object()}, TypeError), ({"a": [1, {2, 3}]}, TypeError), ({(1, 2): 3}, TypeError)],
    ids=["object", "set", "key"],
)
def test_failed_write_leaves_the_old_file_and_no_draft(
    tmp_path: Path, value: dict[Any, Any], error: type[Exception]
) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(error):
        write_json(path, value)
    assert read_json(path) == {"old": 1}
    assert names(tmp_path) == {"a.json"}


def test_failure_after_the_draft_is_written_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()  # the draft can be written, but not renamed onto a directory
    with pytest.raises(RunError, match=r"a\.json cannot be written: Is a directory"):
        write_bytes(tmp_path / "a.json", b"{}")
    assert names(tmp_path) == {"a.json"}


def test_a_full_disk_is_told_with_the_file_and_leaves_the_old_one(tmp_path: Path, run: Run) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with full_disk(), pytest.raises(RunError, match=r"a\.json cannot be written: File too large") as caught:
        write_json(tmp_path / "a.json", {"new": 2})
    assert caught.value.exit_code == 1
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert names(tmp_path) == {"a.json", "runs"}
    with full_disk(), pytest.raises(RunError, match=r"log\.jsonl cannot be written"):
        run.log({"step": 1, "loss": 0.5})
    with full_disk(), pytest.raises(RunError, match=r"events\.jsonl cannot be written"):
        run.event("unlearn")
    run.event("unlearn")  # what was cut off is dropped


def test_a_key_that_could_not_be_written_is_not_in_the_way(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(UsageError, match=r"new\.key cannot be written: File too large"):
        write_new(tmp_path / "new.key", b"0123")
    write_new(tmp_path / "new.key", b"0123")
    with pytest.raises(UsageError, match=r"new\.key exists and is not overwritten"):
        write_new(tmp_path / "new.key", b"4567")
    assert (tmp_path / "new.key").read_bytes() == b"0123"


@contextmanager
def full_disk() -> Iterator[None]:
    """While this lasts no file can hold a byte more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_cannot_hold_are_refused(tmp_path: Path, run: Run, number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": number})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.log({"loss": number})
    assert not (tmp_path / "a.json").exists()
    assert run.log_file.read_bytes() == b""


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # A file name that is not UTF-8 reaches us with lone surrogates, and run.json records file names.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), json_values, max_size=4))
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_json(path, value)
    assert read_json(path) == value


def test_file_name_that_is_not_utf8_can_be_recorded(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jsonl")
    Run.create(tmp_path / "run", {"options": {"forget": name}})
    assert Run.open(tmp_path / "run").record["options"]["forget"] == name


def test_everything_is_private(run: Run, request_file: Path) -> None:
    old = os.umask(0)
    try:
        run.save_record()
        run.commit(request_file)
        run.log({"step": 1, "loss": 0.5})
        write_json(run.scores_file("start"), {})
        with run.lock():
            files = [path for path in run.path.rglob("*") if path.is_file()]
            expected = {"run.json", "events.jsonl", "log.jsonl", "start.json", "lock.json", ".lock"}
            assert {path.name for path in files} == expected
            assert {mode(path) for path in (*files, run.key_file)} == {0o600}
    finally:
        os.umask(old)
    assert {mode(run.path), mode(run.path / "scores")} == {0o700}


# Commitments


def test_commitment_is_the_same_for_the_same_file(run: Run, request_file: Path) -> None:
    first = run.commit(request_file)
    key = run.key_file.read_bytes()
    assert run.commit(request_file) == first
    assert Run.open(run.path).commit(request_file) == first
    assert run.key_file.read_bytes() == key
    assert first.startswith("hmac-sha256:")
    assert len(bytes.fromhex(first.removeprefix("hmac-sha256:"))) == 32


def test_commitment_of_a_changed_file_differs(run: Run, request_file: Path) -> None:
    first = run.commit(request_file)
    request_file.write_bytes(request_file.read_bytes() + b"\n")
    assert run.commit(request_file) != first


def test_commitments_of_two_runs_differ(tmp_path: Path, run: Run, request_file: Path) -> None:
    other = Run.create(tmp_path / "runs" / "second", {})
    assert other.commit(request_file) != run.commit(request_file)


def test_commitment_is_no_plain_hash(run: Run, request_file: Path) -> None:
    assert file_digest(request_file) not in run.commit(request_file)


def test_key_lies_outside_the_run_directory(run: Run, request_file: Path) -> None:
    commitment = run.commit(request_file)
    run.record["inputs"]["forget"]["commitment"] = commitment
    run.save_record()
    assert run.key_file == run.path.parent / "first.key"
    assert len(bytes.fromhex(run.key_file.read_text())) == 32
    key = run.key_file.read_bytes()
    assert all(key not in path.read_bytes() for path in run.path.rglob("*") if path.is_file())


def test_key_that_is_gone(run: Run, request_file: Path) -> None:
    run.record["inputs"]["forget"]["commitment"] = run.commit(request_file)
    run.save_record()
    run.key_file.unlink()
    with pytest.raises(RunError, match=r"first\.key is gone") as caught:
        Run.open(run.path).commit(request_file)
    assert caught.value.exit_code == 1
    assert PRIVATE not in str(caught.value)
    assert not run.key_file.exists()  # a new key would hide that the old one is gone


@pytest.mark.parametrize("key", ["", "not hexadecimal", "\N{SNOWMAN}"])
def test_key_that_is_damaged(run: Run, request_file: Path, key: str) -> None:
    run.commit(request_file)
    run.key_file.write_text(key, encoding="utf-8")
    with pytest.raises(RunError) as caught:
        run.commit(request_file)
    assert str(run.key_file) in str(caught.value)


def test_check_unchanged(run: Run, request_file: Path) -> None:
    run.record["inputs"]["forget"]["commitment"] = run.commit(request_file)
    run.record["inputs"]["retain"] = {"sha256": file_digest(request_file)}
    run.check_unchanged("forget", request_file, run.commit(request_file), field="commitment")
    run.check_unchanged("retain", request_file, file_digest(request_file))
    request_file.write_text(f"{PRIVATE} moved")
    why = rf"{request_file} has changed since {run.path} was started"
    with pytest.raises(RunError, match=why) as caught:
        run.check_unchanged("forget", request_file, run.commit(request_file), field="commitment")
    assert PRIVATE not in str(caught.value)
    with pytest.raises(RunError, match=why):
        run.check_unchanged("retain", request_file, file_digest(request_file))


# Digests


def test_digests_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "abc") == known
    assert text_digest(["a", "b", "c"]) == known


@pytest.mark.parametrize("name", ["none", "."])
def test_digest_of_what_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"no such file|is not a regular file") as caught:
        file_digest(tmp_path / name)
    assert caught.value.exit_code == 2
    assert caught.value.path == tmp_path / name


def test_model_digest_covers_weights_and_config_only(tmp_path: Path) -> None:
    for name in ("config.json", "a.safetensors", "b.safetensors", "README.md"):
        (tmp_path / name).write_bytes(name.encode())
    first = model_digest(tmp_path)
    (tmp_path / "README.md").write_bytes(b"other")
    assert model_digest(tmp_path) == first
    for name in ("config.json", "b.safetensors"):
        before = model_digest(tmp_path)
        (tmp_path / name).write_bytes(b"other")
        assert model_digest(tmp_path) != before
    before = model_digest(tmp_path)
    (tmp_path / "b.safetensors").rename(tmp_path / "c.safetensors")
    assert model_digest(tmp_path) != before


# The log


def write_log(run: Run, steps: int) -> None:
    for step in range(1, steps + 1):
        run.log({"step": step, "loss": 1 / step})


def read_steps(run: Run) -> list[int]:
    return [json.loads(line)["step"] for line in run.log_file.read_text().splitlines()]


@pytest.mark.parametrize(("last", "left"), [(3, [1, 2, 3]), (0, []), (5, [1, 2, 3, 4, 5]), (9, [1, 2, 3, 4, 5])])
def test_cut_log(run: Run, last: int, left: list[int]) -> None:
    write_log(run, 5)
    run.cut_log(last)
    assert read_steps(run) == left


@pytest.mark.parametrize("kept_bytes", [1, 5, 12, 20])
def test_cut_log_drops_a_torn_last_line(run: Run, kept_bytes: int) -> None:
    write_log(run, 3)
    whole = run.log_file.read_bytes()
    run.log_file.write_bytes(whole + b'{"step": 4, "loss": 0.25}\n'[:kept_bytes])
    run.cut_log(9)
    assert run.log_file.read_bytes() == whole
    run.log({"step": 4, "loss": 0.25})
    assert read_steps(run) == [1, 2, 3, 4]


def test_cut_log_keeps_a_whole_last_line_without_a_break(run: Run) -> None:
    write_log(run, 3)
    run.log_file.write_bytes(run.log_file.read_bytes().rstrip())
    run.cut_log(9)
    run.log({"step": 4, "loss": 0.25})
    assert read_steps(run) == [1, 2, 3, 4]


def test_cut_log_refuses_damage_in_the_middle(run: Run) -> None:
    write_log(run, 3)
    whole = run.log_file.read_bytes()
    run.log_file.write_bytes(whole.replace(b'"step": 2', b'"st\x00p": 2'))
    with pytest.raises(RunError, match=rf"{run.log_file}:2 is damaged"):
        run.cut_log(3)


def test_cut_log_drops_what_a_power_cut_left(run: Run) -> None:
    write_log(run, 3)
    whole = run.log_file.read_bytes()
    run.log_file.write_bytes(whole + bytes(100))
    run.cut_log(3)
    assert run.log_file.read_bytes() == whole


def test_cut_log_without_a_log(run: Run) -> None:
    run.cut_log(3)
    assert not run.log_file.exists()
