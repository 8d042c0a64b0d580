"""What is fuzzed: each function gives any bytes to a reader, which must read them or raise an error of ours."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import forgetctl.seal.audit as auditing
from forgetctl.errors import ForgetctlError
from forgetctl.files.canonical import MalformedError, parse_canonical
from forgetctl.model.configs import load_config
from forgetctl.model.gguf import read_gguf
from forgetctl.model.score_files import read_scores
from forgetctl.recipe.recipe import load_recipe, parse_recipe
from forgetctl.report.render import build
from forgetctl.rows.converting import run_convert
from forgetctl.rows.formats import Fields
from forgetctl.rows.reading import RowFile, read_rows
from forgetctl.rows.refusals import read_refusals
from forgetctl.runs.events import ChainError, read_chain
from forgetctl.seal.bundle import read_bundle
from forgetctl.seal.keys import generate_key
from forgetctl.seal.manifest import Manifest
from forgetctl.seal.seal import SealOptions, run_seal
from forgetctl.seal.statement import read_envelope, read_statement
from forgetctl.seal.timestamp import read_timestamp
from tests.seal.verified import verified_run

KINDS = ("", ".csv", ".tsv", ".json", ".txt", ".parquet", ".arrow", ".csv.gz", ".json.bz2", ".jsonl.xz", ".txt.zst")
"""Endings of files of rows."""
OURS = (ForgetctlError, MalformedError, ChainError)
RECORD = {
    **{"schema": 1, "id": "run", "created": "2026-01-01T00:00:00+00:00", "kind": "unlearn"},
    **{"versions": {}, "inputs": {}},
}


@cache
def folder() -> Path:
    """A folder of this process, in the memory where the system has such."""
    memory = Path("/dev/shm")  # noqa: S108
    made = Path(tempfile.mkdtemp(prefix="forgetctl-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def written(data: bytes, name: str = "input") -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


def request(data: bytes) -> None:
    """All rows at once, and left in the file: the same rows, or refused by both."""
    path = written(data)
    read_both_ways(path)
    with suppress(ForgetctlError):
        read_refusals(path)


def container(data: bytes) -> None:
    """A file of any kind, which the first byte chooses."""
    name = f"input{KINDS[data[0] % len(KINDS)] if data else ''}"
    read_both_ways(written(data[1:], name))


def read_both_ways(path: Path) -> None:
    """The first looks through the whole file before it says what is wrong with a row, so that they may name another.
    What is read can be written in our own form, and read again as the same."""
    fields = Fields(max_line=2**20)
    converted(path, fields)
    found: list[Any] = []
    for read in (lambda: read_rows(path, fields.kept), lambda: list(RowFile(path, kept=0))):
        try:
            found.append(read())
        except ForgetctlError:
            found.append("refused")
    assert found[0] == found[1]


def converted(path: Path, fields: Fields) -> None:
    """Row by row, since another line is another number."""
    out = folder() / "own.jsonl"
    out.unlink(missing_ok=True)
    with suppress(ForgetctlError):
        rows = read_rows(path, fields)
        run_convert([path], out, fields)
        again = read_rows(out, replace(fields, max_line=2**24))
        assert [replace(row, line=1, file=None) for row in rows] == [replace(row, line=1) for row in again]


def recipe(data: bytes) -> None:
    """What is accepted can be written, and read again as the same."""
    path = written(data)
    with suppress(ForgetctlError):
        found = load_recipe(str(path))
        assert parse_recipe(found.to_yaml()) == found


def scores(data: bytes) -> None:
    """Score files and TOFU's logs; figures can be made of what is accepted."""
    with suppress(ForgetctlError):
        found, _ = read_scores(written(data), "reference")
        assert type(found).model_validate_json(found.model_dump_json()) == found
        for part in found.sets.values():
            _ = (part.units, part.probability, part.choice_probabilities, part.truth_ratios, part.rouge)


def logs(data: bytes) -> None:
    """What a run wrote step by step, as a report reads it."""
    run = folder() / "run"
    run.mkdir(exist_ok=True)
    (run / "run.json").write_text(json.dumps(RECORD))
    for name in ("log.jsonl", "events.jsonl", "plan.json"):
        (run / name).write_bytes(data)
        with suppress(ForgetctlError):
            build(run)
        (run / name).unlink()


def gguf(data: bytes) -> None:
    """A GGUF file's header; what passes is something that transformers can make a config of, or that it refuses."""
    with suppress(ForgetctlError):
        path = written(data, "input.gguf")
        read_gguf(path)
        load_config(path)


def seal(data: bytes) -> None:
    """The files that an auditor reads before anything is known to be sealed."""
    for read in (parse_canonical, Manifest.from_bytes, read_chain, read_timestamp):
        with suppress(OURS):
            read(data)
    with suppress(OURS):
        read_statement(read_envelope(data))


@cache
def sealed() -> tuple[Path, list[str]]:
    """A sealed run, and the names of its records but for the reports, which are only compared."""
    run = verified_run(folder(), count=12)
    generate_key(folder() / "officer")
    bundle = run_seal(SealOptions(path=run.path, key=folder() / "officer"))
    names = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    return bundle, [name for name in names if not name.startswith("report.")]


def bundle(data: bytes) -> None:
    """A whole bundle with one file in another's place: the first byte says which, the rest is what it holds."""
    place, names = sealed()
    file = place / names[data[0] % len(names) if data else 0]
    before = file.read_bytes()
    file.write_bytes(data[1:])
    try:
        # These reach the verdict and write the reports again: seconds of the same work, whatever the input.
        with suppress(OURS), patch.multiple(auditing, _judge_again=_nothing, _report_again=_nothing):
            auditing.audit_contents(read_bundle(place))
    finally:
        file.write_bytes(before)


def _nothing(*_: object, **__: object) -> Iterator[Any]:
    return iter(())


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (request, container, recipe, scores, logs, gguf, seal, bundle)
}
