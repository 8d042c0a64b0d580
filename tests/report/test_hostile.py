"""Every string that a record can hold, hostile at once: pages and card show it as text, and nothing else of it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from forgetctl.report._formats import clean
from forgetctl.report.card import card
from forgetctl.report.records import Event, Run
from forgetctl.report.render import build, render_html, render_json, render_markdown
from forgetctl.verify.record import Verdict
from tests.report.report_records import Page, events, run_record, verdict_record, write, write_events, write_run

HOSTILE = (
    "</style></svg><script>alert(1)</script>\"'><img src=x onerror=alert(2)> javascript:alert(3) @octocat "
    "![i](https://evil.example/p.png) [l](https://evil.example) <https://evil.example> www.evil.example "
    "a@evil.example `c` | # h\n\n# heading\n\x1b[31m\u202e\u2066\u200b\ufeff {{ 7 * 7 }} {% raw %} &lt;b&gt; --- "
)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, str):
        yield place
    for key, part in parts:
        yield from leaves(part, (*place, key))


def replaced(value: Any, place: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(value)
    *parents, last = place
    inner = changed
    for key in parents:
        inner = inner[key]
    inner[last] = HOSTILE
    return changed


def hostile(kind: type[BaseModel], record: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The record with every string hostile that may be any, and how many these are."""
    record, count = json.loads(json.dumps(record)), 0
    for place in list(leaves(record)):
        changed = replaced(record, place)
        try:
            kind.model_validate(clean(changed))
        except ValidationError:
            continue
        record, count = changed, count + 1
    return record, count


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("hostile"))
    given = run_record() | {"requests": [HOSTILE], "versions": {HOSTILE: HOSTILE}, "license": HOSTILE}
    for name, (kind, record, least) in {
        "run.json": (Run, given, 12),
        "verdict.json": (Verdict, verdict_record(), 12),
    }.items():
        changed, count = hostile(kind, record)
        assert count >= least, name
        write(folder, name, changed)
    write_events(folder, [hostile(Event, {**event, "facts": {"a": "b", HOSTILE: "c"}})[0] for event in events()])
    return folder


def test_the_page_stays_a_page(run_dir: Path) -> None:
    source = render_html(build(run_dir))
    page = Page(source)
    assert not {"script", "img", "iframe", "object", "link", "base", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert not page.values("src")
    assert all(target.startswith("#") for target in page.values("href") + page.values("xlink:href"))
    assert "</style></svg>" not in source
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\x1b\u202e\u2066\u200b\ufeff]", source)
    policies = [attrs for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]["content"]


@pytest.mark.parametrize("kind", ["report", "card"])
def test_markdown_stays_text(run_dir: Path, kind: str) -> None:
    report = build(run_dir)
    text = render_markdown(report) if kind == "report" else card(report, base_model=HOSTILE, license=HOSTILE)
    # Blocks of code hold their content as it is, behind four blanks; so does the quoted metadata of a card.
    body = text.split("\n---\n", 1)[1] if kind == "card" else text
    prose = "\n".join(line for line in body.split("\n") if not line.startswith("    "))
    assert "octocat" in prose
    assert not re.search(r"(?<!\\)<(script|img|/?style|https)", prose)
    assert not re.search(r"(?<!\\)[\[`]", prose.replace("`forgetctl verify`", ""))
    assert "@" not in prose
    assert "https://" not in prose
    assert "www.evil" not in prose
    assert not re.search("^#+ heading", prose, re.MULTILINE)
    assert not re.search("[\x1b\u202e\u2066\u200b\ufeff]", text)


def test_the_json_report_stays_json(run_dir: Path) -> None:
    found = json.dumps(render_json(build(run_dir)), ensure_ascii=False)
    assert "octocat" in found
    assert not re.search("[\x1b\u202e\u2066\u200b\ufeff]", found)
