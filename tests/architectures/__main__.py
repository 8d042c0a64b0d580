"""The sweep's list: `python -m tests.architectures [NAME ...] [--md | --json]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict

import transformers

from .compare import Result
from .running import in_child
from .shapes import ALL


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.architectures", description=__doc__)
    parser.add_argument("names", nargs="*", help="of `shapes.ALL`; all of them if none is given")
    parser.add_argument("--md", action="store_true", help="a table in Markdown")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with all differences")
    options = parser.parse_args()
    results = []
    for name in options.names or ALL:
        results.append(in_child(name))
        if not options.md:
            print(json.dumps(asdict(results[-1])) if options.json else f"{name}: {_words(results[-1])}", flush=True)
    if options.md:
        print(table(results))
    sys.exit(any(result.status == "fault" for result in results))


def _words(result: Result) -> str:
    return f"{result.status}: {result.why}" if result.why else result.status


HEADINGS = {
    "equal": "Equal to plain transformers: scores, answers, gradients, adapters and the saved model",
    "untrained": "Equal, but `unlearn` refuses it before it trains",
    "refused": "Refused with a sentence when it is loaded or scored",
    "unbuilt": "Plain transformers itself cannot build it tiny, or run it, where this was made",
    "fault": "Other values, or a crash",
}


def table(results: list[Result]) -> str:
    """The results in Markdown: names of what equals, a table of the rest with why."""
    counts = Counter(result.status for result in results)
    parts = [f"{len(results)} models, transformers {transformers.__version__}."]
    for status, heading in HEADINGS.items():
        some = sorted((result for result in results if result.status == status), key=lambda result: result.name)
        if not some:
            continue
        parts.append(f"## {heading} ({counts[status]})")
        if status == "equal":
            largest = max(max(result.differences.values()) for result in some)
            parts.append(", ".join(result.name for result in some) + ".")
            parts.append(f"The largest difference of any of them is {largest:.1e} of what is compared.")
        else:
            rows = [f"| {result.name} | {result.why.replace('|', chr(92) + '|')} |" for result in some]
            parts.append("\n".join(["| model | why |", "|---|---|", *rows]))
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
