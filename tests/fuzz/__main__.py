"""`python -m tests.fuzz`: every target in turn, in a process of its own; JSON on stdout, exit code 1 for a finding.

atheris mutates what the corpus holds, guided by the code that it reaches. An input that ends in another exception
than ours is written to --findings; once the fault is mended, it goes to the corpus.
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

CORPUS = Path(__file__).parent / "corpus"
NAMES = ("request", "container", "recipe", "scores", "logs", "gguf", "seal", "bundle")
LONGEST = {"recipe": 1024}
"""Bytes of an input, else 4096; limits of length have tests of their own, and YAML is slow."""


def fuzz(name: str, seconds: int, findings: Path, scratch: Path) -> None:
    """Fuzz one target in this process, and end it."""
    import atheris

    with atheris.instrument_imports(include=["forgetctl", "yaml", "json"]):
        from tests.fuzz.targets import TARGETS

    for path in (CORPUS / name).iterdir():
        TARGETS[name](path.read_bytes())  # what is imported or made on first use is no slow input
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST.get(name, 4096)}",
        f"-artifact_prefix={findings}/{name}-",
    ]
    options += ["-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *options, str(scratch), str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


def measured(name: str, seconds: int, findings: Path) -> dict[str, Any]:
    """Fuzz one target in a child: how often it was run, and what was found."""
    before = set(findings.glob(f"{name}-*"))
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "tests.fuzz", "--target", name, "--seconds", str(seconds)]
        command += ["--findings", str(findings), "--scratch", scratch]
        ended = subprocess.run(command, stderr=subprocess.PIPE, stdout=sys.stderr, text=True, errors="replace")
    done = re.search(r"stat::number_of_executed_units:\s+(\d+)", ended.stderr)
    found = sorted(str(path) for path in set(findings.glob(f"{name}-*")) - before)
    if ended.returncode or done is None:
        print(ended.stderr[-4000:], file=sys.stderr)
    return {
        "target": name,
        "executions": int(done[1]) if done else 0,
        "seconds": seconds,
        "exit": ended.returncode,
        "found": found,
    }


def main() -> None:
    """Share the time among the targets, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="in all, or of the one target")
    parser.add_argument("--only", choices=NAMES, nargs="+", default=NAMES)
    parser.add_argument("--findings", type=Path, default=Path(".fuzz"))
    parser.add_argument("--target", choices=NAMES, help="in this process")
    parser.add_argument("--scratch", type=Path, help="where inputs that reach new code are kept meanwhile")
    chosen = parser.parse_args()
    chosen.findings.mkdir(parents=True, exist_ok=True)
    if chosen.target:
        fuzz(chosen.target, chosen.seconds, chosen.findings, chosen.scratch)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    share = max(1, chosen.seconds // len(chosen.only))
    results = [measured(name, share, chosen.findings) for name in chosen.only]
    print(json.dumps({"executions": sum(one["executions"] for one in results), "targets": results}, indent=1))
    sys.exit(any(one["exit"] or one["found"] or not one["executions"] for one in results))


if __name__ == "__main__":
    main()
