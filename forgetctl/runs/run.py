"""The run directory: its record, its schema version, its events and its lock. Names of files are in `layout`."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import InputError, RunError, UsageError
from ..files.canonical import canonical, sha256
from ..files.disk import unmade
from ..files.outside import read_bytes
from ..files.plain_text import one_line
from ..files.strict_json import parse_json
from ..files.writing import (
    MANIFEST,
    SEAL,
    file_digest,
    model_digest,
    now,
    private,
    private_files,
    read_json,
    refuse_in_bundle,
    write_bytes,
    write_json,
    writing,
)
from ..rows.formats import Fields
from .commitments import Part, commit_file, commit_parts, make_key, read_key
from .events import append_event
from .layout import RunFiles

SCHEMA = 1
DEFAULT_RUNS = Path("runs")
LATEST = "latest"
LOCK = ".lock"
BOUND = "bound"
"""The event that holds the digests of what was given and chosen before the work began."""


class Run(RunFiles):
    """One run directory. Every write replaces the whole file, so a reader never sees half of one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.record: dict[str, Any] = {}

    def write_scores(self, scores: dict[str, dict[str, Any]]) -> None:
        """Write score files by name in place of those of an earlier verification."""
        for file in self.score_files().values():
            file.unlink()
        for name, content in scores.items():
            write_json(self.scores_file(name), content)

    @classmethod
    def create(cls, path: Path, record: dict[str, Any]) -> Run:
        """Make the directory and its record; `<parent>/latest` then points at it.

        Raises UsageError if the place is in use.
        """
        path = _named(path)
        refuse_used(path)
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
        except OSError as error:
            raise unmade(path, error) from None
        run = cls(path)
        run.record = {
            "schema": SCHEMA,
            "id": one_line(path.name),
            "uid": secrets.token_hex(6),
            "created": now(),
            **record,
        }
        run.save_record()
        run.event("created", kind=record.get("kind"))
        run._point_latest()
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run. Raises UsageError if there is none, RunError if it is damaged or from a later version."""
        run = cls(resolved := _named(path))
        if not resolved.is_dir():
            raise UsageError(f"no run at {path}" + (": nothing has been run here yet" if path.name == LATEST else ""))
        if any(os.path.lexists(resolved / name) for name in (SEAL, MANIFEST)):
            raise UsageError(f"{path} is a sealed bundle, not a run, and nothing may change it; give the run itself")
        if not run.record_file.is_file():
            raise UsageError(f"{path} is not a run directory: it has no {run.record_file.name}")
        run.load_record()
        return run

    def load_record(self) -> None:
        """Read run.json. Raises RunError if it is damaged or from a later version."""
        record = read_json(self.record_file)
        if record.get("schema") != SCHEMA:
            raise RunError(f"{self.record_file}: schema {record.get('schema')}, this forgetctl reads {SCHEMA}")
        stages = record.get("stages", {})
        parts = [record.get("inputs", {}), stages, *(stages.values() if isinstance(stages, dict) else ())]
        if not all(isinstance(part, dict) for part in parts):
            raise RunError(f"{self.record_file} is damaged: it is no record of a run")
        self.record = record

    def save_record(self) -> None:
        """Write run.json."""
        write_json(self.record_file, self.record)

    def stage(self, name: str, status: str, **facts: Any) -> None:
        """Note how far a stage got, with its facts."""
        # The event first: a crash in between makes the stage run again, and never leaves it done without an event.
        time = self.event(name, status=status, **facts)
        stages = self.record.setdefault("stages", {})
        stages[name] = {**stages.get(name, {}), "status": status, f"{status}_at": time, **facts}
        self.save_record()

    def event(self, name: str, **facts: Any) -> str:
        """Add a line to the run's events; returns its time. Raises RunError if they were changed or cannot be
        written."""
        with writing(self.events_file):
            return append_event(self.events_file, name, facts)

    def stage_done(self, name: str) -> bool:
        """Whether a stage was finished."""
        return bool(self.record.get("stages", {}).get(name, {}).get("status") == "done")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for one command. Raises RunError if another holds it, or if nothing can be written here."""
        owner = self.path / "lock.json"
        lock = FileLock(self.path / LOCK, mode=0o600)
        with writing(self.path):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise RunError(f"{self.path} is in use by {_holder(owner)}") from None
        try:
            write_json(owner, {"pid": os.getpid(), "since": now()})
            try:
                self.load_record()  # another command may have changed it before this one got the lock
                with private_files():
                    yield
            finally:
                owner.unlink(missing_ok=True)
        finally:
            lock.release()

    def freeze(self, recipe: str, bounds: dict[str, float]) -> None:
        """Write recipe and plan, and note their digests: the verdict's bounds cannot change afterwards unseen."""
        write_bytes(self.recipe_file, recipe.encode())
        write_json(self.plan_file, {"schema": SCHEMA, "created": now(), "bounds": bounds})
        self.record["frozen"] = {path.name: file_digest(path) for path in (self.recipe_file, self.plan_file)}
        self.event("frozen", **self.record["frozen"])

    def bind(self) -> None:
        """Write run.json, and note in the events its digest and those of the commitments and pairs, which from here on
        stay as they are: nobody can exchange one of them alone unseen. Only the stages are still to come."""
        self.save_record()
        files = [file for file in (self.commitments_file, self.pairs_file) if file.is_file()]
        digests = {file.name: file_digest(file) for file in files}
        self.event(BOUND, **digests, **{self.record_file.name: given_digest(self.record)})

    def check_frozen(self) -> None:
        """Raise RunError naming the recipe or the plan if it is not what was frozen."""
        for name, digest in self.record.get("frozen", {}).items():
            file = self.path / name
            if not file.is_file():
                raise RunError(f"{file} is missing")
            if file_digest(file) != digest:
                raise RunError(f"{file} has changed since it was frozen")

    def check_model(self) -> None:
        """Raise RunError if the model is not the one that was made, as after a copy that was cut short."""
        made = self.record.get("stages", {}).get("unlearn", {}).get("model_sha256")
        if not self.model_dir.is_dir():
            raise RunError(f"{self.model_dir}, the model of {self.path}, is gone")
        if model_digest(self.model_dir) != made:
            raise RunError(
                f"{self.model_dir} has changed since {self.path} made it; copy it elsewhere to use it as it is"
            )

    def commit(self, request: Path, sha256: str | None = None, fields: Fields | None = None) -> str:
        """HMAC-SHA-256 of a source that holds request text under this run's key, which is made on first use.

        sha256: of the source as its rows were read, where that is known; fields: how it is read. Raises RunError if the
        key is gone, as after it was destroyed on purpose, InputError for a source that has changed since.
        """
        if self.key_file.exists():
            return commit_file(read_key(self.key_file), request, sha256, fields)
        if self.record.get("inputs", {}).get("forget", {}).get("commitment"):
            raise RunError(
                f"{self.key_file} is gone, so it cannot be checked that {request} is the same request; "
                "a run that is moved must take its key along"
            )
        return commit_file(make_key(self.key_file), request, sha256, fields)

    def commit_rows(self, parts: Sequence[Part]) -> None:
        """Commit to the rows of each request, under new keys that are kept outside the run directory."""
        keys = [make_key(self.row_key_file(number)) for number in range(1, len(parts) + 1)]
        write_json(self.commitments_file, commit_parts(parts, keys))

    def check_unchanged(self, name: str, path: Path, digest: str, *, field: str = "sha256") -> None:
        """Raise RunError, naming the file, if an input is not what the run was started with."""
        known = self.record["inputs"].get(name, {}).get(field)
        if known is None:
            raise RunError(f"{self.record_file} does not say which {name} it was started with; start a new run")
        if known != digest:
            raise RunError(f"{path} has changed since {self.path} was started; start a new run")

    def check_start(self, path: Path) -> None:
        """Raise RunError if the model at `path` is not the one that the run was started with."""
        self.check_unchanged("model", path, model_digest(path))

    def log(self, figures: dict[str, float]) -> None:
        """Append one line to log.jsonl. Raises RunError if it cannot be written."""
        with writing(self.log_file), open(self.log_file, "a", encoding="utf-8", opener=private) as file:
            file.write(json.dumps(figures, allow_nan=False) + "\n")

    def cut_log(self, last_step: int) -> None:
        """Drop log lines after `last_step`: on resuming from a checkpoint they will be written again.

        A last line that was cut off by a crash goes too. Raises RunError for any other that is damaged.
        """
        if not self.log_file.is_file():
            return
        try:
            lines = read_bytes(self.log_file).splitlines()
        except InputError as error:
            raise RunError(str(error)) from None
        steps = [_logged_step(line) for line in lines]
        if None in steps[:-1]:
            raise RunError(f"{self.log_file}:{steps.index(None) + 1} is damaged")
        kept = [line for line, step in zip(lines, steps, strict=True) if step is not None and step <= last_step]
        write_bytes(self.log_file, b"".join(line + b"\n" for line in kept))

    def _point_latest(self) -> None:
        latest = self.path.parent / LATEST
        draft = self.path.parent / f".{LATEST}-{os.getpid()}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(self.path.name)
        draft.replace(latest)


def given_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of what run.json said before anything was done: all of it but the stages, as canonical JSON.

    Raises MalformedError for a record that canonical JSON cannot spell.
    """
    return sha256(canonical({key: value for key, value in record.items() if key != "stages"}))


def _holder(owner: Path) -> str:
    """Who holds a lock, from the note that it left beside it."""
    try:
        holder = read_json(owner)
    except RunError:  # it has just taken the lock, or is just giving it back
        return "another command"
    return f"process {holder.get('pid', '?')} since {holder.get('since', '?')}"


def _logged_step(line: bytes) -> int | None:
    """The step that a line of the log is about, None if it is damaged."""
    try:
        return int(parse_json(line.decode())["step"])
    except (ValueError, KeyError, TypeError):
        return None


def _named(path: Path) -> Path:
    """The path with a name of its own, which `.`, `..` and the link to the newest run lack; else as given."""
    return path.resolve() if path.name in ("", "..", LATEST) else path


def new_run_path(runs: Path, method: str) -> Path:
    """An unused `<runs>/<time>-<method>`."""
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{method}"
    return next(p for n in range(1, 1000) if not (p := runs / (stem if n == 1 else f"{stem}-{n}")).exists())


def refuse_used(path: Path) -> None:
    """Raise UsageError if `path` is a file, a directory with something in it, or within a sealed bundle."""
    refuse_in_bundle(path)
    if path.name == LATEST:
        raise UsageError(f"{path}: '{LATEST}' is the name of the link to the newest run; choose another --out")
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UsageError(f"{path} is in use; choose another --out, or continue it with --resume {path}")
    left = Run(path)
    if keys := [str(file) for file in (left.key_file, left.row_keys) if file.exists()]:
        raise UsageError(f"{keys[0]} is left of an earlier run of this name; choose another --out or move it away")
