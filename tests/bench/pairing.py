"""How long pairing takes, and in how much memory, as the retain file grows: `python -m tests.bench.pairing`.

Invented rows of some 200 bytes, among them forget rows, near copies of them and holders of their secrets, in files of
each kind (`--kinds jsonl parquet arrow csv`). Each runs in a process of its own, with all that `forgetctl unlearn`
imports; JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

SIZES = (10_000, 100_000, 1_000_000)
KINDS = ("jsonl", "parquet", "arrow", "csv")
FREQUENT = "the of and to in a is was for on that with as by at from his her which has who it known".split()
SYLLABLES = [start + end for start in "b c d f g h j k l m n p r s t v w z st tr pl".split() for end in "aeiou"]


class Author:
    """Writes sentences of invented words, as frequent as words are (Zipf)."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.words = ["".join(self.random.choices(SYLLABLES, k=self.random.randint(1, 4))) for _ in range(20_000)]
        self.weights = list(accumulate(1 / (rank + 3) for rank in range(len(self.words))))

    def sentence(self, shortest: int, longest: int) -> str:
        """So many words, two of five of them frequent ones."""
        count = self.random.randint(shortest, longest)
        rare = self.random.choices(self.words, cum_weights=self.weights, k=count)
        return " ".join(self.random.choice(FREQUENT) if self.random.random() < 0.4 else word for word in rare)

    def row(self) -> dict[str, Any]:
        """A question with its answer, some 200 bytes of JSON."""
        return {
            "prompt": self.sentence(7, 13).capitalize() + "?",
            "response": self.sentence(13, 27).capitalize() + ".",
        }

    def request(self, count: int) -> list[dict[str, Any]]:
        """Rows to forget, each with a paraphrase and a secret."""
        rows = [self.row() for _ in range(count)]
        for row in rows:
            row["paraphrased_response"] = self.sentence(13, 27)
            row["secrets"] = [f"{self.random.randrange(10**10):010d}"]
        return rows

    def retain(self, count: int, request: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Rows, of which one in a thousand should be kept out of training."""
        for position in range(count):
            row, known = self.row(), self.random.choice(request)
            if position % 3000 == 0:
                row = {"prompt": known["prompt"].upper(), "response": known["response"]}
            elif position % 3000 == 1000:
                place = self.random.randrange(len(known["response"]) - 4)
                row["response"] = known["response"][:place] + known["response"][place + 4 :]
            elif position % 3000 == 2000:
                row["response"] += f" {known['secrets'][0]}"
            yield row


def write(path: Path, rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    """Rows as JSONL."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def convert(lines: Path, kind: str) -> Path:
    """The rows of a JSONL file in another kind of file beside it, written as pyarrow does unless it is told else."""
    import pyarrow as pa
    from pyarrow import csv, ipc, json, parquet

    path = lines.with_suffix(f".{kind}")
    if kind == "jsonl":
        return path
    rows: pa.Table = json.read_json(lines)
    if kind == "arrow":
        with ipc.new_stream(path, rows.schema) as writer:  # in batches of a thousand, as `datasets` saves
            writer.write_table(rows, max_chunksize=1000)
    else:
        {"parquet": parquet.write_table, "csv": csv.write_csv}[kind](rows, path)
    return path


def pair(forget: Path, retain: Path) -> dict[str, Any]:
    """Read and pair in this process. Seconds, and memory in MiB."""
    import forgetctl.train.unlearn  # noqa: F401 (what the command imports)
    from forgetctl.people.mentions import Mentions
    from forgetctl.recipe.recipe import Retain
    from forgetctl.rows.pairing import choose_retain
    from forgetctl.rows.reading import RowFile, read_rows

    imports, begin = peak(), time.perf_counter()
    rows = RowFile(retain)
    read = time.perf_counter() - begin
    request = read_rows(forget)
    found = choose_retain(request, rows, Retain(), 0, Mentions.of_rows(request).among)
    return {
        "read_seconds": round(read, 2),
        "pair_seconds": round(time.perf_counter() - begin - read, 2),
        "processor_seconds": round(time.process_time(), 2),
        "peak_mib": round(peak()),
        "peak_beyond_imports_mib": round(peak() - imports),
        "excluded": asdict(found.excluded),
    }


def peak() -> float:
    """The most memory that this process has held, in MiB (Linux; unlike getrusage's it is not the parent's)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _measure(forget: Path, retain: Path, count: int) -> dict[str, Any]:
    """One file in a fresh process: what it says, and its whole time."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "tests.bench.pairing", "--files", str(forget), str(retain)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    whole = time.perf_counter() - begin
    return {
        "retain_rows": count,
        "kind": retain.suffix[1:],
        "retain_mb": round(retain.stat().st_size / 1e6, 1),
        "whole_seconds": round(whole, 2),
        **json.loads(done.stdout),
    }


def measure(
    sizes: Sequence[int] = SIZES, forget_rows: int = 200, kinds: Sequence[str] = ("jsonl", "parquet")
) -> dict[str, Any]:
    """Every size and kind of file in turn."""
    author = Author(seed=0)
    request = author.request(forget_rows)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        forget, retain = Path(folder, "forget.jsonl"), Path(folder, "retain.jsonl")
        write(forget, request)
        for count in sizes:
            write(retain, author.retain(count, request))
            results += [_measure(forget, convert(retain, kind), count) for kind in kinds]
    return {"forget_rows": forget_rows, "sizes": results}


def main() -> None:
    """Measure every size and kind, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--forget-rows", type=int, default=200)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS[:2])
    parser.add_argument("--files", type=Path, nargs=2, metavar=("FORGET", "RETAIN"), help="pair these, nothing else")
    options = parser.parse_args()
    found = pair(*options.files) if options.files else measure(options.sizes, options.forget_rows, options.kinds)
    print(json.dumps(found, indent=None if options.files else 1))


if __name__ == "__main__":
    main()
