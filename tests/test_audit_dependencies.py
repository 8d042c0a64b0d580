"""The dependency audit fails on findings and faults, and only an unreachable network is no failure."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.audit_dependencies import audit

FINE = {"name": "click", "version": "8.5.1", "vulns": []}
BAD = {"name": "jinja2", "version": "1.0", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}


@pytest.mark.parametrize(
    ("found", "error", "code", "words"),
    [
        ([FINE], "", 0, "1 dependencies audited, 0 with"),
        ([FINE, BAD], "Found 2 known vulnerabilities", 1, "jinja2 1.0: PYSEC-1, PYSEC-2"),
        ([FINE, {"name": "x", "skip_reason": "none"}], "", 0, "not audited, since PyPI does not know them: x"),
        (
            None,
            "requests.exceptions.ConnectionError: Max retries exceeded with url",
            0,
            "skipped, PyPI cannot be reached",
        ),
        (None, "ERROR: No module named pip_audit", 1, "failed"),
        (None, "ERROR: requirement file is invalid", 1, "failed"),
    ],
)
def test_the_outcome(found: list[object] | None, error: str, code: int, words: str) -> None:
    output = "" if found is None else json.dumps({"dependencies": found, "fixes": []})
    got, told = audit(lambda command: subprocess.CompletedProcess(command, 1, output, error))
    assert got == code
    assert words in told
