"""`python -m tests.bench`: how fast and how small, beside a textbook implementation, in one run.

Writes everything that was measured as JSON, and prints the tables that the README shows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from . import evaluation, pairing, startup
from .shapes import SHAPES
from .training import bench_training


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", default="training,evaluation,pairing,startup")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="forgetctl-bench-"))
    found: dict[str, Any] = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    parts = {
        "training": lambda: bench_training(chosen.shapes.split(","), chosen.repeats, folder),
        "evaluation": lambda: evaluation.measure(chosen.repeats),
        "pairing": lambda: pairing.measure(),
        "startup": lambda: startup.measure(),
    }
    try:
        for part in chosen.parts.split(","):
            found[part] = parts[part]()
            chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    finally:
        shutil.rmtree(folder)
    print(training_table(found.get("training", [])))


def training_table(results: list[dict[str, Any]]) -> str:
    """Ratios forgetctl / textbook, as Markdown; forgetctl's default precision beside float32 where it is another."""
    headings = ["shape", "", "step", "memory", "estimate / peak", "useful / product rate", "by arithmetic"]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for result in results:
        way = "LoRA" if result["lora"] else "full"
        for key in ("float32", "default"):
            if found := result.get(key):
                values = ("step_ratio", "memory_ratio", "estimate_ratio", "useful_over_product_rate", "product_ratio")
                cells = [f"{result['shape']}: {result['says']}", way if key == "float32" else f"{way}, default"]
                lines.append(f"| {' | '.join([*cells, *(f'{found[value]:.2f}' for value in values)])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
