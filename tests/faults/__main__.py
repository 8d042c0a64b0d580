"""`python -m tests.faults`: real processes, really struck down, and whether anything was lost. Prints a table.

Fifty random moments under SIGKILL, SIGTERM and SIGINT, spread over training, the writing of checkpoints, the final
save, verify and report; then a full disk at every point of writing. Ends with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from tests.world import build_world

from .disk import POINTS, crowded, small_disk
from .moments import MOMENTS, SIGNALS, Moment, hit
from .trial import Outcome, Workshop

Key = tuple[str, str]
ATTEMPTS = 5


def main() -> None:
    """Run all trials."""
    parser = argparse.ArgumentParser(description=__doc__.partition(". ")[0])
    parser.add_argument("--moments", type=int, default=50, help="signals at random moments")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="forgetctl-faults-"))
    try:
        (folder / "world").mkdir()
        workshop = Workshop(build_world(folder / "world"), folder / "whole")
        found: dict[Key, list[Outcome]] = defaultdict(list)
        for key, outcome in itertools.chain(
            _struck(workshop, folder, chosen.moments, Random(chosen.seed)), _full(workshop, folder)
        ):
            found[key].append(outcome)
            print(f"{key[0]:8}  {key[1]:26} {outcome.fate} {outcome.why}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    print(_table(found))
    sys.exit(any(outcome.fate == "lost" for outcomes in found.values() for outcome in outcomes))


def _struck(workshop: Workshop, folder: Path, count: int, random: Random) -> Iterator[tuple[Key, Outcome]]:
    """Every moment under every signal in turn; which step, and how long after it, is random."""
    for index, (moment, number) in enumerate(itertools.islice(itertools.cycle(_cells()), count)):
        for attempt in range(ATTEMPTS):
            place = folder / f"{index}-{attempt}"
            outcome = hit(workshop, moment, number, place, random)
            shutil.rmtree(place)
            if outcome is not None:
                yield (number.name, moment.name), outcome
                break
        else:
            print(f"{number.name} never came in time for: {moment.name}", file=sys.stderr)


def _cells() -> list[tuple[Moment, signal.Signals]]:
    """Moments and signals so that any first few hold different ones of both."""
    return [(moment, SIGNALS[(place + turn) % 3]) for turn in range(3) for place, moment in enumerate(MOMENTS)]


def _full(workshop: Workshop, folder: Path) -> Iterator[tuple[Key, Outcome]]:
    with small_disk(folder / "disk") as disk:
        for point in POINTS:
            place = (disk or folder) / point.name
            yield ("full disk" if disk else "full disk (limit)", point.name), crowded(workshop, point, place, disk)
            shutil.rmtree(place)


def _table(found: dict[Key, list[Outcome]]) -> str:
    """Markdown."""
    lines = ["| fault | moment | tried | same weights and verdict | said why not | lost |", "|---|---|---|---|---|---|"]
    for (fault, moment), outcomes in sorted(found.items()):
        lines.append(_row(fault, moment, outcomes))
    lines.append(_row("all", "", [outcome for outcomes in found.values() for outcome in outcomes]))
    return "\n".join(lines)


def _row(fault: str, moment: str, outcomes: list[Outcome]) -> str:
    fates = [outcome.fate for outcome in outcomes]
    counts = (fates.count(fate) for fate in ("survived", "said why not", "lost"))
    return f"| {fault} | {moment} | {len(fates)} | " + " | ".join(map(str, counts)) + " |"


if __name__ == "__main__":
    main()
