"""The run directory: only this module knows its file names, its schema version and its locks.

<runs>/<time>-<method>/                one run; <runs>/latest points at the newest
<runs>/<time>-<method>.key             key of the request file's commitment: without it nobody can test guesses
<runs>/<time>-<method>.keys/           keys of the commitments to its rows, one for each request that the run serves
<runs>/<time>-<method>.bundle/         the sealed copy
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .errors import RunError, UsageError
from .files import file_digest, now, private, read_json, write_bytes, write_json
from .seal.commitments import Part, commit_file, commit_parts, make_key, read_key
from .seal.events import append_event

SCHEMA = 1
DEFAULT_RUNS = Path("runs")
LATEST = "latest"


class Run:
    """One run directory. Every write replaces the whole file, so a reader never sees half of one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: dict[str, Any] = {}

    # Names. Nothing outside this class spells them.
    @property
    def record_file(self) -> Path:
        """What was asked, with which versions and inputs, and how far each stage got."""
        return self.path / "run.json"

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def plan_file(self) -> Path:
        """The verdict's bounds, frozen before training."""
        return self.path / "plan.json"

    @property
    def pairs_file(self) -> Path:
        """Which retain rows were chosen, by position."""
        return self.path / "pairs.json"

    @property
    def start_file(self) -> Path:
        """The start model's log-probabilities of the forget rows."""
        return self.path / "start.json"

    @property
    def model_dir(self) -> Path:
        """The unlearned model."""
        return self.path / "model"

    @property
    def model_draft(self) -> Path:
        """The model while it is being written."""
        return self.path / ".model-draft"

    @property
    def checkpoints(self) -> Path:
        """Training state to resume from."""
        return self.path / "checkpoints"

    @property
    def log_file(self) -> Path:
        """One line of figures per optimizer step."""
        return self.path / "log.jsonl"

    @property
    def verdict_file(self) -> Path:
        """The verdict with every figure it rests on."""
        return self.path / "verdict.json"

    @property
    def events_file(self) -> Path:
        """What happened, in order; see `seal.events`."""
        return self.path / "events.jsonl"

    @property
    def commitments_file(self) -> Path:
        """Keyed commitments to the rows of the request."""
        return self.path / "commitments.json"

    @property
    def card_file(self) -> Path:
        """The model card, beside the weights."""
        return self.model_dir / "README.md"

    @property
    def key_file(self) -> Path:
        """The key of the request file's commitment, outside the run directory."""
        return self.path.with_name(self.path.name + ".key")

    @property
    def row_keys(self) -> Path:
        """The keys of the commitments to rows, outside the run directory."""
        return self.path.with_name(self.path.name + ".keys")

    def row_key_file(self, number: int) -> Path:
        """The key for the rows of one request of those that the run serves, counted from 1."""
        return self.row_keys / f"request-{number}.key"

    @property
    def bundle(self) -> Path:
        """Where the sealed copy goes."""
        return self.path.with_name(self.path.name + ".bundle")

    def tracked_file(self, step: int) -> Path:
        """Scores of the model in training, after an optimizer step."""
        return self.path / "tracked" / f"step-{step:06d}.json"

    def tracked_files(self) -> dict[int, Path]:
        """Those that there are, by step."""
        found = sorted(self.tracked_file(0).parent.glob("step-*.json"))
        return {int(file.stem.removeprefix("step-")): file for file in found}

    def scores_file(self, name: str) -> Path:
        """Per-row scores of a model: start, unlearned, reference, reference-2, unlearned-int8, unlearned-relearned."""
        return self.path / "scores" / f"{name}.json"

    def score_files(self) -> dict[str, Path]:
        """Every score file by its name, but those of the model in training."""
        return {file.stem: file for file in sorted(self.scores_file("").parent.glob("*.json"))}

    def write_scores(self, scores: dict[str, dict[str, Any]]) -> None:
        """Write score files by name in place of those of an earlier verification."""
        for file in self.score_files().values():
            file.unlink()
        for name, content in scores.items():
            write_json(self.scores_file(name), content)

    def report_file(self, kind: str) -> Path:
        """The rendered report: html, json or md."""
        return self.path / f"report.{kind}"

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
            raise UsageError(f"{path} cannot be made: {error.strerror}") from None
        run = cls(path)
        run.record = {"schema": SCHEMA, "id": path.name, "uid": secrets.token_hex(6), "created": now(), **record}
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
        if not run.record_file.is_file():
            raise UsageError(f"{path} is not a run directory: it has no {run.record_file.name}")
        run.record = read_json(run.record_file)
        if run.record.get("schema") != SCHEMA:
            raise RunError(f"{run.record_file}: schema {run.record.get('schema')}, this forgetctl reads {SCHEMA}")
        return run

    def save_record(self) -> None:
        """Write run.json."""
        write_json(self.record_file, self.record)

    def stage(self, name: str, status: str, **facts: Any) -> None:
        """Note how far a stage got, with what it found."""
        # The event first: a crash in between makes the stage run again, and never leaves it done without an event.
        self.event(name, status=status, **facts)
        stages = self.record.setdefault("stages", {})
        stages[name] = {**stages.get(name, {}), "status": status, f"{status}_at": now(), **facts}
        self.save_record()

    def event(self, name: str, **facts: Any) -> None:
        """Add a line to the run's events. Raises RunError if they were changed."""
        append_event(self.events_file, name, facts)

    def stage_done(self, name: str) -> bool:
        """Whether a stage was finished."""
        return bool(self.record.get("stages", {}).get(name, {}).get("status") == "done")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for one command. Raises RunError if another holds it."""
        owner = self.path / "lock.json"
        lock = FileLock(self.path / ".lock", mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            holder = read_json(owner) if owner.is_file() else {}
            raise RunError(
                f"{self.path} is in use by process {holder.get('pid', '?')} since {holder.get('since', '?')}"
            ) from None
        try:
            write_json(owner, {"pid": os.getpid(), "since": now()})
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    def freeze(self, recipe: str, bounds: dict[str, float]) -> None:
        """Write recipe and plan, and note their digests: the verdict's bounds cannot change afterwards unseen."""
        write_bytes(self.recipe_file, recipe.encode())
        write_json(self.plan_file, {"schema": SCHEMA, "created": now(), "bounds": bounds})
        self.record["frozen"] = {path.name: file_digest(path) for path in (self.recipe_file, self.plan_file)}
        self.event("frozen", **self.record["frozen"])

    def check_frozen(self) -> None:
        """Raise RunError naming the recipe or the plan if it is not what was frozen."""
        for name, digest in self.record.get("frozen", {}).items():
            if file_digest(self.path / name) != digest:
                raise RunError(f"{self.path / name} has changed since it was frozen")

    def commit(self, request: Path) -> str:
        """HMAC-SHA-256 of the request file under this run's key, which is made on first use.

        Raises RunError if the key is gone, as after it was destroyed on purpose.
        """
        if self.key_file.exists():
            return commit_file(read_key(self.key_file), request.read_bytes())
        if self.record.get("inputs", {}).get("forget", {}).get("commitment"):
            raise RunError(
                f"{self.key_file} is gone, so it cannot be checked that {request} is the same request; "
                "a run that is moved must take its key along"
            )
        return commit_file(make_key(self.key_file), request.read_bytes())

    def commit_rows(self, parts: Sequence[Part]) -> None:
        """Commit to the rows of each request, under new keys that are kept outside the run directory."""
        keys = [make_key(self.row_key_file(number)) for number in range(1, len(parts) + 1)]
        write_json(self.commitments_file, commit_parts(parts, keys))

    def check_unchanged(self, name: str, path: Path, digest: str, *, field: str = "sha256") -> None:
        """Raise RunError, naming the file, if an input is not what the run was started with."""
        if self.record["inputs"][name][field] != digest:
            raise RunError(f"{path} has changed since {self.path} was started; start a new run")

    def log(self, figures: dict[str, float]) -> None:
        """Append one line to log.jsonl."""
        with open(self.log_file, "a", encoding="utf-8", opener=private) as file:
            file.write(json.dumps(figures, allow_nan=False) + "\n")

    def cut_log(self, last_step: int) -> None:
        """Drop log lines after `last_step`: on resuming from a checkpoint they will be written again."""
        if self.log_file.is_file():
            lines = self.log_file.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= last_step]
            write_bytes(self.log_file, "".join(line + "\n" for line in kept).encode())

    def _point_latest(self) -> None:
        latest = self.path.parent / LATEST
        draft = self.path.parent / f".{LATEST}-{os.getpid()}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(self.path.name)
        draft.replace(latest)


def _named(path: Path) -> Path:
    """The path with a name of its own, which `.`, `..` and the link to the newest run lack; else as given."""
    return path.resolve() if path.name in ("", "..", LATEST) else path


def new_run_path(runs: Path, method: str) -> Path:
    """An unused `<runs>/<time>-<method>`."""
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{method}"
    return next(p for n in range(1, 1000) if not (p := runs / (stem if n == 1 else f"{stem}-{n}")).exists())


def refuse_used(path: Path) -> None:
    """Raise UsageError if `path` is a file or a directory with something in it."""
    if path.name == LATEST:
        raise UsageError(f"{path}: '{LATEST}' is the name of the link to the newest run; choose another --out")
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UsageError(f"{path} is in use; choose another --out, or continue it with --resume {path}")
    if (keys := Run(path).row_keys).exists():
        raise UsageError(f"{keys} holds the keys of an earlier run; choose another --out or move them away")
