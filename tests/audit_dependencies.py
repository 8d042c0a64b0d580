"""Known vulnerabilities of the versions that constraints.txt pins: `make lint` runs this.

pip-audit asks PyPI about each of them. Where PyPI cannot be reached, or an index in its place has no advisories,
nothing was audited, which is said and is no fault; whatever else goes wrong, a known vulnerability first of all, is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

PINNED = Path(__file__).resolve().parents[1] / "constraints.txt"
OPTIONS = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off")
UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Max retries exceeded|Could not connect"
)
SKIPPED = "skipped, the dependencies were not audited"
Ask = Callable[[Path], "subprocess.CompletedProcess[str]"]


def ask(requirements: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), *OPTIONS]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def audit(ask: Ask = ask) -> tuple[int, str]:
    """Exit code and what to say. One package that PyPI surely knows is asked about first."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as one:
        one.write(next(line for line in PINNED.read_text().splitlines(keepends=True) if line.startswith("click==")))
        one.flush()
        known = _audited(ask(Path(one.name)))
    if isinstance(known, tuple):
        return known
    if any("skip_reason" in found for found in known):
        return 0, f"{SKIPPED}: the index here has no advisories"
    found = _audited(ask(PINNED))
    return found if isinstance(found, tuple) else _told(found)


def _audited(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]] | tuple[int, str]:
    """What was found of each dependency, or the end."""
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        if UNREACHABLE.search(done.stderr):
            return 0, f"{SKIPPED}: PyPI cannot be reached"
        return 1, f"failed\n{done.stderr}"
    return found


def _told(found: list[dict[str, Any]]) -> tuple[int, str]:
    unknown = [one["name"] for one in found if "skip_reason" in one]
    bad = [
        f"{one['name']} {one['version']}: {', '.join(v['id'] for v in one['vulns'])}"
        for one in found
        if one.get("vulns")
    ]
    told = [f"{len(found) - len(unknown)} dependencies audited, {len(bad)} with known vulnerabilities", *bad]
    if unknown:
        told.append(f"not audited, since PyPI does not know them: {', '.join(unknown)}")
    return int(bool(bad)), "\n".join(told)


if __name__ == "__main__":
    code, words = audit()
    print(f"pip-audit: {words}")
    sys.exit(code)
