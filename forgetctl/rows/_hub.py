"""A data set of the hub, `hf://ORG/NAME[/CONFIGURATION][@REVISION][:SPLIT]`: streamed once, and held in memory.

A revision is resolved to the commit that it stands for, which the digest is of, too. Nothing of the data set stays on
the disk: `datasets` has a cache of its own for as long as it reads, into which no row goes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal, cast

from ..errors import InputError
from ..files.strict_json import LooseJSONError, parse_json
from ._held import Blocks, check_count, check_length
from ._values import Other, size_of
from .containers import Container, Limits, Place, Record, ignore

_SOURCE = re.compile(
    r"hf:/{1,2}(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:/(?P<configuration>[^/@:]+))?"
    r"(?:@(?P<revision>[^@:]+))?(?::(?P<split>\w[\w.]*))?"
)
LARGEST_RECORD = 16 * 2**20
"""Bytes of a row where nothing else is said."""
ESCAPED, SLACK = 6, 4096
"""Bytes of an answer: most for one of its row, and most beside."""


@dataclass(frozen=True)
class DataSet:
    """A data set of the hub. revision: branch, tag or commit, None for the main branch."""

    repository: str
    configuration: str | None
    revision: str | None
    split: str | None

    @classmethod
    def named(cls, path: Path) -> DataSet | None:
        """The data set that a source names, None where it names none. Raises InputError for a name that is none."""
        if not str(path).startswith("hf:/"):
            return None
        if not (match := _SOURCE.fullmatch(str(path))):
            raise InputError(path, "is no data set; write hf://ORG/NAME, hf://ORG/NAME/CONFIGURATION@REVISION:SPLIT")
        return cls(**match.groupdict())

    def at(self, commit: str) -> str:
        """The data set's name at a commit."""
        configuration, split = self.configuration or "", self.split or ""
        return f"hf://{self.repository}/{configuration}@{commit}:{split}"


def open_data_set(path: Path, data_set: DataSet, *, allow_download: bool) -> Container:
    """The container of a data set. Raises InputError unless it may be downloaded."""
    if not allow_download or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise InputError(path, "is a data set of the hub, which needs --allow-download")
    return _rows(path, data_set)


@cache
def _rows(path: Path, data_set: DataSet) -> HubRows:
    """A process downloads a data set once, however often its rows or its digest are asked for."""
    return HubRows(path, data_set)


class HubRows:
    """A container of one split of a data set, which is downloaded when it is first read, and once only.

    revision: the commit, once it was read.
    """

    unit: Literal["row"] = "row"

    def __init__(self, path: Path, data_set: DataSet) -> None:
        self.path = path
        self.revision: str | None = None
        self._data_set = data_set
        self._blocks, self._offsets = Blocks(), array("q")

    def check_size(self, limits: Limits) -> None:
        """As `Container`."""
        self._fetch(limits)

    def records(self, limits: Limits, seen: Callable[[bytes], None] = ignore) -> Iterator[Record]:
        """As `Container`."""
        self._fetch(limits)
        for chunk in self.chunks():
            seen(chunk)
        for record in self.again(Place(number, offset, 0) for number, offset in enumerate(self._offsets, start=1)):
            check_count(self.path, record.number, limits, record.number)
            check_length(self.path, record.size, limits, record.number)
            yield record

    def again(self, places: Iterable[Place]) -> Iterator[Record]:
        """As `Container`: a commit never changes."""
        for number, offset, _ in places:
            (value, kinds), _ = self._blocks.get(offset)
            size = size_of(value)
            yield Record(number, value | {name: Other(kind) for name, kind in kinds.items()}, offset, 0, size)

    def chunks(self) -> Iterator[bytes]:
        """As `Container`: the data set's name at its commit, and a line a row."""
        self._fetch(Limits(LARGEST_RECORD))
        yield f"{self._data_set.at(str(self.revision))}\n".encode()
        yield from (f"{text}\n".encode() for text in self._blocks.texts())

    def _fetch(self, limits: Limits) -> None:
        """Download the rows, if that was not done before."""
        if self.revision is not None:
            return
        blocks, offsets = Blocks(), array("q")
        with _answers(self._data_set) as lines:
            _, commit = self._next(lines, limits, 0)
            while (answer := self._next(lines, limits, len(offsets) + 1))[0] == "row":
                offsets.append(blocks.add(answer[1:]))
                check_count(self.path, len(offsets), limits, len(offsets))
        self._blocks, self._offsets, self.revision = blocks, offsets, commit

    def _next(self, lines: IO[bytes], limits: Limits, number: int) -> list[Any]:
        """The next answer. Raises InputError for a refusal, and where the other process ended before it was done."""
        line = lines.readline(limits.record_bytes * ESCAPED + SLACK)
        try:
            if line and not line.endswith(b"\n"):
                raise LooseJSONError(f"is longer than {limits.record_bytes // 1024} KiB")
            answer = parse_json(line.decode()) if line else ["refused", "cannot be read: what read it was ended"]
        except LooseJSONError as error:
            raise InputError(self.path, str(error), number or None) from None
        if answer[0] == "refused":
            raise InputError(self.path, answer[1])
        return list(answer)


@contextmanager
def _answers(data_set: DataSet) -> Iterator[IO[bytes]]:
    """What the process that streams a data set writes, line by line."""
    # By its file, and without any folder for that: where we are, anything may be called `datasets`.
    command = [sys.executable, "-P", str(Path(__file__).with_name("_hub_process.py"))]
    with tempfile.TemporaryDirectory(prefix="forgetctl-hub-") as cache:
        process = subprocess.Popen(  # noqa: S603 (no shell, and nothing of the data set's name)
            command,
            env=_environment(Path(cache)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with process:
            try:
                yield _asked(process, data_set)
            finally:
                process.kill()


def _asked(process: subprocess.Popen[bytes], data_set: DataSet) -> IO[bytes]:
    """The answers of a process that was told which data set to stream."""
    with suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as request:  # it has ended, and so do its answers
        request.write(json.dumps(asdict(data_set)).encode())
    return cast(IO[bytes], process.stdout)


def _environment(cache: Path) -> dict[str, str]:
    """That of this process, with every cache of the libraries in one folder, and without what they say of their use."""
    names = ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_MODULES_CACHE", "HF_XET_CACHE", "TMPDIR")
    off = dict.fromkeys(("HF_UPDATE_DOWNLOAD_COUNTS", "USE_TORCH", "USE_TF", "USE_JAX"), "0")
    on = dict.fromkeys(("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "PYTHONUTF8"), "1")
    return {**os.environ, **dict.fromkeys(names, str(cache)), **off, **on}
