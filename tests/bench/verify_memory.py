"""`python -m tests.bench.verify_memory`: most memory of `forgetctl verify`, by how many models it is given.

Each verification runs in a process of its own, whose highest resident memory (VmHWM) the system tells. The models are
random Llamas of many layers, about 200 MB each, so that one that stays in the memory shows. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.world import write_people

LAYERS, WIDTH = 32, 384
MODELS = ("start", "unlearned", "reference-1", "reference-2")
ALLOWED = 1.1
"""How many times the memory of start and unlearned alone two references may take it to."""
MEASURED = """
import sys
from pathlib import Path
from forgetctl.cli.main import cli
try:
    cli(sys.argv[1:])
finally:
    print(Path("/proc/self/status").read_text(), file=sys.stderr)
"""


def build(folder: Path, layers: int, width: int) -> None:
    """The models and a few rows."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from forgetctl.demo.training import save

    tokenizer = write_people(folder, 12, 2)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=8 * width // 3, num_hidden_layers=layers,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=256, pad_token_id=0, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    for seed, name in enumerate(MODELS):
        torch.manual_seed(seed)
        save(LlamaForCausalLM(config), tokenizer, folder / name)


def peak(folder: Path, references: int) -> int:
    """Bytes that a verification with so many references takes at most."""
    named = ["--model", "unlearned", "--start", "start", "--forget", "requests.jsonl", "--retain", "remaining.jsonl"]
    named += [part for number in range(1, references + 1) for part in ("--reference", f"reference-{number}")]
    quick = ["--set", "verify.samples=2", "--set", "verify.answer_tokens=8", "--out", f"run-{references}", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "verify", *named, *quick],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    found = re.search(r"^VmHWM:\s*(\d+) kB$", done.stderr, re.MULTILINE)
    if done.returncode not in (0, 3, 4) or found is None:
        raise RuntimeError(f"verify ended with {done.returncode}:\n{done.stderr}")
    return int(found[1]) * 1024


def measure(folder: Path, layers: int = LAYERS, width: int = WIDTH) -> dict[str, Any]:
    """Peaks in bytes by the number of references, and what they are of the first."""
    build(folder, layers, width)
    size = (folder / MODELS[0] / "model.safetensors").stat().st_size
    peaks = [peak(folder, references) for references in range(3)]
    return {"model_bytes": size, "peaks": peaks, "ratios": [round(found / peaks[0], 3) for found in peaks]}


def main() -> None:
    """Measure, and fail if a third and fourth model take more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--width", type=int, default=WIDTH)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forgetctl-bench-") as folder:
        found = measure(Path(folder), chosen.layers, chosen.width)
    print(json.dumps(found, indent=1))
    sys.exit(max(found["ratios"]) > ALLOWED)


if __name__ == "__main__":
    main()
