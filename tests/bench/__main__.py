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
    """Ratios forgetctl / textbook, as Markdown. Where forgetctl chooses float32 by default, one run counts for both."""
    lines = [
        "| shape | | step, float32 | step, default | memory, float32 | estimate / peak | useful / product rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        same, default = result["float32"], result.get("default", result["float32"])
        lines.append(
            f"| {result['shape']}: {result['says']} | {'LoRA' if result['lora'] else 'full'} "
            f"| {same['step_ratio']:.2f} | {default['step_ratio']:.2f} | {same['memory_ratio']:.2f} "
            f"| {same['estimate_ratio']:.2f} | {same['useful_over_product_rate']:.2f} "
            f"({default['useful_over_product_rate']:.2f} default) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
