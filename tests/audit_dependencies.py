"""Known vulnerabilities of the versions that constraints.txt pins: `make lint` runs this.

pip-audit asks PyPI about each of them. Where that cannot be reached nothing was audited, which is said and is no fault;
whatever else goes wrong, a known vulnerability first of all, is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

PINNED = Path(__file__).resolve().parents[1] / "constraints.txt"
OPTIONS = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off")
UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Max retries exceeded|Could not connect"
)
Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def audit(run: Run = run) -> tuple[int, str]:
    """Exit code and what to say."""
    done = run([sys.executable, "-m", "pip_audit", "--requirement", str(PINNED), *OPTIONS])
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        if UNREACHABLE.search(done.stderr):
            return 0, "pip-audit: skipped, PyPI cannot be reached; the dependencies were not audited"
        return 1, f"pip-audit: failed\n{done.stderr}"
    unknown = [one["name"] for one in found if "skip_reason" in one]
    bad = [
        f"{one['name']} {one['version']}: {', '.join(v['id'] for v in one['vulns'])}"
        for one in found
        if one.get("vulns")
    ]
    told = [f"pip-audit: {len(found) - len(unknown)} dependencies audited, {len(bad)} with known vulnerabilities", *bad]
    if unknown:
        told.append(f"not audited, since PyPI does not know them: {', '.join(unknown)}")
    return int(bool(bad)), "\n".join(told)


if __name__ == "__main__":
    code, words = audit()
    print(words)
    sys.exit(code)
