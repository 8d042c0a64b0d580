"""The report in a real browser: nothing runs and nothing is loaded, everybody can read it, page one is page one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from forgetctl.report.render import build, render_html
from tests.report.report_records import run_record, verdict_record, write, write_events, write_run

CHECK = Path(__file__).with_name("check.mjs")
MODULES = Path(os.environ.get("FORGETCTL_NODE_MODULES") or CHECK.parents[2] / ".browser" / "node_modules")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MODES = ["light", "dark", "phone", "print"]

SCRIPT = "<script>console.log('ran')</script>"
IMAGE = '"><img src="http://127.0.0.1:9/x" onerror="console.log(\'ran\')">'
ATTRIBUTE = "' onmouseover='alert(1)' autofocus onfocus=\"alert(1)\" x='"
STYLE = "</style></title></svg></textarea><svg onload=console.log('ran')>{{ 7 * 7 }}"
HOSTILE = (SCRIPT, IMAGE, ATTRIBUTE, STYLE)

# What the check must find, or else it would find nothing in a report either.
CONTROL = """<!doctype html><html><body class="summary" onclick="0"><a href="#nowhere">a</a>
<script>console.log("ran")</script><img src="other.png"><p style="width: 3000px; color: #ddd">faint</p></body></html>"""


def many_reasons(folder: Path) -> None:
    """As much on the summary page as there can be."""
    write_run(folder)
    text = (
        "The mean log-probability is surely above the comparison's (+0.731 nats a token, 0.531 to 0.931; limit 0.492)."
    )
    failed = [
        {"name": f"check {n}", "status": "fail", "about": "forgotten", "code": "X", "text": f"{n}: {text}"}
        for n in range(30)
    ]
    comparison = {"kind": "holdout", "name": "holdout", "others": [f"retrained-without-them-{n}" for n in range(9)]}
    bounds = {**verdict_record()["bounds"], "delta": 0.2}
    changes = {"comparison": comparison, "bounds": bounds, "model": {"name": "model", "sha256": "00" * 32}}
    write(folder, "verdict.json", verdict_record(checks=failed, **changes))
    record = run_record(requests=[f"DSR-2026-{n:04d}" for n in range(60)])
    record["stages"]["unlearn"]["status"] = record["stages"]["verify"]["status"] = "interrupted"
    write(folder, "run.json", record)


def hostile(folder: Path) -> None:
    """Names that try to get out of the text in which they stand, wherever the owner or a file may name something."""
    write_run(folder)
    names = {f"name {n}": text for n, text in enumerate(HOSTILE)}
    inputs = {key: {"name": text, "path": text, "origin": text} for key, text in names.items()}
    objective = {
        "method": STYLE,
        "formula": SCRIPT,
        "terms": [dict.fromkeys(("name", "formula", "source"), IMAGE) | {"weight": 1}],
    }
    record = run_record(
        id=STYLE, requests=HOSTILE, argv=HOSTILE, device=IMAGE, objective=objective, versions={SCRIPT: IMAGE}
    )
    write(folder, "run.json", record | {"inputs": {"model": inputs["name 0"], "retain": inputs["name 1"], **inputs}})
    checks = [{"name": text, "status": "fail", "about": "forgotten", "code": text, "text": text} for text in HOSTILE]
    given = [{"role": text, "name": text, "kind": text, "sha256": text} for text in HOSTILE]
    changes = {
        "comparison": {"kind": "model", "name": STYLE, "others": HOSTILE},
        "model": {"name": IMAGE, "sha256": ATTRIBUTE},
    }
    skipped = [{"check": text, "reason": text, "source": "measuring"} for text in HOSTILE]
    verdict = verdict_record(checks=checks, inputs=given, skipped=skipped, **changes)
    verdict["distances"][0]["name"] = verdict["kept"][0]["name"] = verdict["attacks"]["by"][0]["name"] = STYLE
    write(folder, "verdict.json", verdict)
    facts = {text: text for text in HOSTILE}
    write_events(folder, [{"n": 1, "time": IMAGE, "event": SCRIPT, "facts": facts, "previous": STYLE}])
    (folder / "recipe.yaml").write_text(json.dumps({"method": STYLE, IMAGE: SCRIPT, ATTRIBUTE: [STYLE]}))


def passed(folder: Path) -> None:
    write_run(folder)
    checks = [
        {"name": f"check {n}", "status": "pass", "about": "forgotten", "code": "X", "text": f"Finding {n}."}
        for n in range(14)
    ]
    write(folder, "verdict.json", verdict_record(verdict="PASS", checks=checks))


def unverified(folder: Path) -> None:
    write_run(folder)
    (folder / "verdict.json").unlink()


REPORTS = {
    "many reasons": (many_reasons, MODES),
    "hostile": (hostile, ["light", "phone"]),
    "passed": (passed, ["dark", "print"]),
    "unverified": (unverified, ["print"]),
}
CASES = [(name, mode) for name, (_, modes) in REPORTS.items() for mode in modes]
Found = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What the browser found in every report, by its name and by how it was looked at."""
    node = shutil.which("node")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    if node is None:
        pytest.skip("needs Node.js")
    if not (MODULES / "playwright-core").is_dir() or not (MODULES / "axe-core").is_dir():
        pytest.skip(f"needs playwright-core and axe-core in {MODULES} (`make browser`, or FORGETCTL_NODE_MODULES)")
    folder = tmp_path_factory.mktemp("pages")
    pages = {"control": folder / "control.html"}
    pages["control"].write_text(CONTROL)
    for name, (fill, _) in REPORTS.items():
        (run := folder / name).mkdir()
        fill(run)
        pages[name] = run / "report.html"
        pages[name].write_text(render_html(build(run)), encoding="utf-8")
    asked = {str(page): REPORTS[name][1] if name in REPORTS else ["light"] for name, page in pages.items()}
    found = subprocess.run(
        [node, CHECK, CHROMIUM, json.dumps(asked)],
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
        env={**os.environ, "FORGETCTL_NODE_MODULES": str(MODULES)},
    )
    told = json.loads(found.stdout)
    return {name: told[str(page)] for name, page in pages.items()}


def test_the_check_finds_what_is_wrong(opened: Found) -> None:
    found = opened["control"]["light"]
    assert sorted(found["messages"]) == ["Failed to load resource: net::ERR_FILE_NOT_FOUND", "ran"]
    assert [Path(request).name for request in found["requests"]] == ["other.png"]
    assert len(found["active"]) == 2
    assert found["handlers"] == ["onclick"]
    assert found["astray"] == ["#nowhere"]
    assert found["tooWide"] > 0
    grave = {one["id"] for one in found["violations"] if one["impact"] in ("serious", "critical")}
    assert {"color-contrast", "image-alt"} <= grave


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_nothing_runs_and_nothing_is_loaded(opened: Found, name: str, mode: str) -> None:
    found = opened[name][mode]
    for key in ("messages", "requests", "active", "handlers", "astray"):
        assert found[key] == [], key


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_axe_finds_nothing(opened: Found, name: str, mode: str) -> None:
    assert opened[name][mode]["violations"] == []


def test_hostile_names_are_text(opened: Found) -> None:
    text = opened["hostile"]["light"]["text"]
    assert [name for name in HOSTILE if name not in text] == []


@pytest.mark.parametrize(("name", "mode"), [case for case in CASES if case[1] != "print"])
def test_nothing_runs_over_the_side(opened: Found, name: str, mode: str) -> None:
    assert opened[name][mode]["tooWide"] <= 0


@pytest.mark.parametrize("name", ["many reasons", "passed", "unverified"])
def test_verdict_meaning_and_limits_fit_on_the_first_printed_page(opened: Found, name: str) -> None:
    found = opened[name]["print"]
    assert 0 < found["summaryEnd"] <= found["height"]


def test_reasons_without_room_are_counted(opened: Found) -> None:
    text = opened["many reasons"]["print"]["text"].split("What was asked")[0]
    assert "0: The mean log-probability" in text
    assert "9: The mean log-probability" not in text
    assert "and 29 more" in text
    assert "DSR-2026-0000" in text
    assert "DSR-2026-0059" not in text
