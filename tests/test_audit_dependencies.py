"""The dependency audit fails on findings and faults, and only an unreachable network is no failure."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.audit_dependencies import PINNED, audit

FINE = {"name": "click", "version": "8.5.1", "vulns": []}
BAD = {"name": "jinja2", "version": "1.0", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}
UNKNOWN = {"name": "x", "skip_reason": "none"}
OFFLINE = "requests.exceptions.ConnectionError: Max retries exceeded with url"


@pytest.mark.parametrize(
    ("found", "error", "code", "words"),
    [
        ([FINE], "", 0, "1 dependencies audited, 0 with"),
        ([FINE, BAD], "Found 2 known vulnerabilities", 1, "jinja2 1.0: PYSEC-1, PYSEC-2"),
        ([FINE, UNKNOWN], "", 0, "not audited, since PyPI does not know them: x"),
        (None, OFFLINE, 0, "skipped, the dependencies were not audited: PyPI cannot be reached"),
        (None, "ERROR: No module named pip_audit", 1, "failed"),
        (None, "ERROR: requirement file is invalid", 1, "failed"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["at once", "later"])
def test_the_outcome(first: bool, found: list[object] | None, error: str, code: int, words: str) -> None:
    def ask(requirements: Path) -> subprocess.CompletedProcess[str]:
        if requirements != PINNED:
            assert requirements.read_text().startswith("click==")
            if found is not None or not first:
                return subprocess.CompletedProcess([], 0, json.dumps({"dependencies": [FINE]}), "")
        output = "" if found is None else json.dumps({"dependencies": found, "fixes": []})
        return subprocess.CompletedProcess([], 1, output, error)

    got, told = audit(ask)
    assert got == code
    assert words in told


def test_an_index_without_advisories_is_asked_about_one_package_only() -> None:
    asked: list[Path] = []

    def ask(requirements: Path) -> subprocess.CompletedProcess[str]:
        asked.append(requirements)
        return subprocess.CompletedProcess([], 0, json.dumps({"dependencies": [UNKNOWN]}), "")

    assert audit(ask) == (0, "skipped, the dependencies were not audited: the index here has no advisories")
    assert len(asked) == 1
