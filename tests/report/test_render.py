"""The audit report: every figure shown, hostile names harmless, gaps said, damage named."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from forgetctl.errors import RunError
from forgetctl.losses.methods import OBJECTIVES
from forgetctl.recipe.recipe import Calibration, Lora, Recipe
from forgetctl.report._settings import settings
from forgetctl.report.card import card
from forgetctl.report.render import build, expected_html, render_html, render_json, render_markdown
from forgetctl.report.words import LIMITS
from tests.report.report_records import (
    BOUNDS,
    DIGEST,
    HELD_OUT,
    Page,
    events,
    html,
    run_record,
    verdict_record,
    write,
    write_events,
    write_run,
)

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished, verified run about fictitious rows."""
    return write_run(tmp_path)


FIGURES = (
    "0.911 0.872 0.213 0.934 0.925 0.021 0.865 0.611 0.312 0.903 0.131 0.876 0.383 0.257 6.7e-06 0.503 0.402 0.605"
)
OTHERS = "0.712 2.417 19 7 5 0.150 0.023 37 geometric 611 163 29 912"


def test_every_figure_and_the_verdict_are_shown(run_dir: Path) -> None:
    page, text = html(run_dir), render_markdown(build(run_dir))
    for shown in [*FIGURES.split(), *OTHERS.split(), "FAIL", "It is higher than it should be.", "retrained", DIGEST]:
        assert re.search(rf"(?<![\w.]){re.escape(shown)}(?![\w])", page.text), shown
        assert re.search(rf"(?<![\w.]){re.escape(shown)}(?![\w])", text), shown
    assert "there are no retain rows to compare on" in page.text
    assert "not certified deletion" in page.text
    assert "forgetctl unlearn --model 'my model'" in page.text


def test_the_page_loads_nothing_and_runs_nothing(run_dir: Path) -> None:
    source = render_html(build(run_dir))
    page = Page(source)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "http:" not in source
    assert "https:" not in source
    assert "@import" not in source
    assert not page.values("src")
    assert all(target.startswith("#") for target in page.values("href") + page.values("xlink:href"))


def test_plots_are_labelled_unique_and_reproducible(run_dir: Path) -> None:
    page = html(run_dir)
    assert render_html(build(run_dir)).startswith("<!doctype html>")
    drawings = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(drawings) == 6
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]+)\)", " ".join(page.values("clip-path"))))
    assert used | {target[1:] for target in page.values("href")} <= set(ids)
    assert render_html(build(run_dir)) == render_html(build(run_dir))


def test_a_term_of_the_loss_is_shown_with_what_it_does(run_dir: Path) -> None:
    record = run_record()
    (term,) = record["objective"]["terms"]
    assert f"{OBJECTIVES['npo'].summary} {term['source']}" in " ".join(html(run_dir).text.split())
    term["summary"] = "What the signer would like it to be."  # nothing attests it
    write(run_dir, "run.json", record)
    assert f"{OBJECTIVES['npo'].summary} {term['source']}" in " ".join(html(run_dir).text.split())
    assert term["summary"] not in html(run_dir).text
    term["name"] = "a term of another version"
    write(run_dir, "run.json", record)
    assert term["source"] in html(run_dir).text


def test_a_page_is_told_apart_into_its_plots_and_all_around_them(run_dir: Path) -> None:
    page, expected = render_html(build(run_dir)), expected_html(build(run_dir))
    plots = expected.plots_in(page)
    assert plots is not None
    assert list(plots.values()) == re.findall(r"<svg\b.*?</svg>", page, flags=re.DOTALL)
    assert len(plots) > 3
    assert {name: draw() for name, draw in expected.plots.items()} == plots
    assert expected.plots_in(page.replace(plots["training"], "")) == {**plots, "training": ""}
    for other in (page + " ", " " + page, page[:-1], page.replace("<main", "<main ", 1), page.replace("h3", "h4"), ""):
        assert expected.plots_in(other) is None


def test_headings_and_tables_are_accessible(run_dir: Path) -> None:
    page = html(run_dir)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    tables = [tag for tag, _ in page.tags if tag in ("table", "caption")]
    assert tables == ["table", "caption"] * (len(tables) // 2)


def test_hostile_names_stay_text(run_dir: Path) -> None:
    check = {"name": IMAGE, "status": "fail", "about": "forgotten", "code": "X", "text": SCRIPT}
    write(
        run_dir,
        "run.json",
        run_record(id=SCRIPT, argv=["forgetctl", IMAGE, "a\n\n# heading"], device="\x1b[31mred\u202e\ud800")
        | {"inputs": {"model": {"name": IMAGE + SCRIPT}}, "versions": {SCRIPT: IMAGE}},
    )
    write(run_dir, "verdict.json", verdict_record(checks=[check], model={"name": SCRIPT, "sha256": None}))
    page = html(run_dir)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not page.values("onerror")
    assert SCRIPT in page.text
    assert IMAGE in page.text
    text = render_markdown(build(run_dir))
    assert "<script>" not in text.replace("\\<script", "")
    assert "\n# heading" not in text
    for rendered in (page.text, text):
        rendered.encode()  # a lone surrogate would not encode
        assert "\x1b" not in rendered
        assert "\u202e" not in rendered


def test_markdown_tables_keep_their_shape(run_dir: Path) -> None:
    check = {
        "name": "a|b\nc",
        "status": "pass",
        "about": "forgotten",
        "code": "X|Y",
        "text": "one | two\n\n| three | http://x.example www.x.example `",
    }
    write(run_dir, "verdict.json", verdict_record(checks=[check]))
    text = render_markdown(build(run_dir))
    row = next(line for line in text.splitlines() if line.startswith("| a\\|b"))
    assert row == r"| a\|b c | ✓ passed | one \| two \| three \| http\://x.example www\.x.example \` (X\|Y) |"
    width = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert cells == width or not width or not cells, line
        width = cells


def test_every_format_says_what_the_verdict_does_not_mean(run_dir: Path) -> None:
    for verified in (True, False):
        if not verified:
            (run_dir / "verdict.json").unlink()
        report = build(run_dir)
        page = Page(render_html(report)).text
        formats = {
            "html": page.split("What this does not mean")[1].split("For engineers")[0],
            "md": render_markdown(report).split("### What this does not mean")[1].split("## 2 For engineers")[0],
            "json": " ".join(render_json(report)["limits"]),
            "card": card(report, base_model=None, license=None),
        }
        for kind, text in formats.items():
            for words in (
                "not certified deletion",
                "is no proof that there is none",
                "prompts, languages and decoding",
            ):
                assert words in text, (kind, words)
            assert "can compare them and may learn who asked" in text, kind
            assert all(limit in text for limit in LIMITS), kind


def test_the_report_has_three_parts_in_order(run_dir: Path) -> None:
    parts = {
        "For the data-protection officer": ("What was asked", "What this does not mean"),
        "For engineers": ("What was done", "Checks", "Figures", "Settings", "Environment"),
        "For auditors": ("Digests", "How to check the seal"),
    }
    page = html(run_dir)
    contents = page.text.split("Report on a request to forget")[1]
    for number, (part, sections) in enumerate(parts.items(), 1):
        assert contents.count(part) == 2  # in the contents, and over the part
        text = render_markdown(build(run_dir)).split(f"\n## {number} {part}\n")[1].split("\n## ")[0]
        places = [text.find(f"### {section}\n") for section in sections if section != "What was asked"]
        assert -1 not in places
        assert places == sorted(places)
        shown = contents.split(part)[2]
        places = [shown.find(section) for section in sections]
        assert -1 not in places
        assert places == sorted(places)


def test_reasons_without_room_on_the_first_page_are_counted_and_told_below(run_dir: Path) -> None:
    checks = [
        {"name": f"check {n}", "status": "fail", "about": "forgotten", "code": "X", "text": f"Finding {n}: " + "x" * 90}
        for n in range(20)
    ]
    write(run_dir, "verdict.json", verdict_record(checks=checks))
    summary, rest = html(run_dir).text.split("What was asked")
    told = re.findall(r"Finding (\d+):", summary)
    assert told == ["0", "1", "2", "3"]  # two lines each, of ten; each of two people takes one
    assert "and 16 more" in summary
    assert re.findall(r"Finding (\d+):", rest) == [str(n) for n in range(20)]
    assert "Finding 19:" in render_markdown(build(run_dir)).split("## 2")[0]
    write(run_dir, "plan.json", {"bounds": {"delta": 0.1}})  # whose warning takes the room of two lines
    assert "and 17 more" in html(run_dir).text
    checks[0]["text"] = "y" * 9000  # one reason is always told
    write(run_dir, "verdict.json", verdict_record(checks=checks))
    assert "and 19 more" in html(run_dir).text


def test_many_further_references_are_counted(run_dir: Path) -> None:
    others = [f"retrained without them {n}" for n in range(9)]
    write(run_dir, "verdict.json", verdict_record(comparison={"kind": "model", "name": "a", "others": others}))
    assert f"also {others[0]}, {others[1]} and 7 more" in html(run_dir).text


def test_without_a_verdict_the_report_says_so(run_dir: Path) -> None:
    (run_dir / "verdict.json").unlink()
    (run_dir / "log.jsonl").unlink()
    write_events(run_dir, events()[:-1])
    page = html(run_dir)
    assert "Not verified yet" in page.text
    assert not re.search(r"\b(PASS|FAIL|INCONCLUSIVE)\b", page.text.split("What was asked")[1])
    assert "70 optimizer steps" in page.text
    assert "Not verified yet" in render_markdown(build(run_dir))
    assert render_json(build(run_dir))["verdict"] is None
    assert render_json(build(run_dir))["training"] is None


def test_inconclusive_without_a_reference(run_dir: Path) -> None:
    check = {
        "name": "comparison",
        "status": "unknown",
        "about": "forgotten",
        "code": "NO_REFERENCE",
        "text": "Nothing to compare with.",
    }
    nothing: dict[str, Any] = {
        "forget_quality": None,
        "secrets": None,
        "exposure": None,
        "distances": [],
    }
    models = {"models": {"unlearned": verdict_record()["models"]["unlearned"]}}
    changes = {
        "verdict": "INCONCLUSIVE",
        "checks": [check],
        "comparison": {"kind": "none", "name": None, "others": []},
    }
    write(run_dir, "verdict.json", verdict_record(**changes, **nothing, **models))
    for role in ("start", "reference"):
        (run_dir / "scores" / f"{role}.json").unlink()
    page = html(run_dir)
    assert "INCONCLUSIVE" in page.text
    assert "This is not a PASS" in page.text
    assert "Nothing to compare with." in page.text
    assert "Reference" not in [label.strip() for label in re.findall(r"Measure(\w+)", page.text)]


def test_a_pass_against_holdout_rows_claims_less(run_dir: Path) -> None:
    write(
        run_dir,
        "verdict.json",
        verdict_record(verdict="PASS", comparison=HELD_OUT),
    )
    for text in (html(run_dir).text, render_markdown(build(run_dir))):
        assert "like rows that it never saw" in text
        assert "weaker evidence" in text
        assert "Compared with" in text
    write(run_dir, "verdict.json", verdict_record(verdict="PASS"))
    for text in (html(run_dir).text, render_markdown(build(run_dir))):
        assert "like a model that never saw them" in " ".join(text.split())
        assert "weaker evidence" not in text


def test_a_model_that_no_run_made(tmp_path: Path) -> None:
    record = run_record(kind="verify", stages={"verify": {"status": "done"}})
    del record["objective"], record["inputs"]["retain"]
    write(tmp_path, "run.json", record)
    write(tmp_path, "verdict.json", verdict_record())
    page = html(tmp_path)
    assert "forgetctl trained nothing" in page.text
    assert "Verified" in page.text
    assert "Unlearned" not in page.text
    assert "forgetctl trained nothing" in render_markdown(build(tmp_path))


def test_an_interrupted_run_can_be_reported(run_dir: Path) -> None:
    write(run_dir, "run.json", run_record(stages={"unlearn": {"status": "interrupted"}}))
    (run_dir / "verdict.json").unlink()
    with (run_dir / "log.jsonl").open("a") as log:
        log.write('{"step": 9, "lo')  # cut off while it was written
    report = build(run_dir)
    assert report.steps[-1].step == 8
    assert "Training has not finished" in render_html(report)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bounds": {**BOUNDS, "delta": 0.2}}, "other bounds than those"),
        ({"model": {"name": "model", "sha256": "00" * 32}}, "belong to different models"),
        ({}, ""),
    ],
)
def test_contradictions_are_pointed_out(run_dir: Path, changes: dict[str, Any], words: str) -> None:
    write(run_dir, "verdict.json", verdict_record(**changes))
    warnings = render_json(build(run_dir))["warnings"]
    assert len(warnings) == bool(words)
    assert words in " ".join(warnings)
    assert words in html(run_dir).text


def test_json_is_strict_and_keeps_the_records(run_dir: Path) -> None:
    (run_dir / "log.jsonl").write_text('{"step": 1, "loss": 1}\n{"step": 1, "loss": null, "grad_norm": 2.5}\n')
    nothing = dict.fromkeys(("forget_distance", "retain_distance", "forget_from_start"))
    write(run_dir, "verdict.json", verdict_record(kl=nothing))
    write(run_dir, "plan.json", {"bounds": BOUNDS, "added_later": {"x": [1]}})
    value = json.loads(json.dumps(render_json(build(run_dir)), allow_nan=False))
    assert value["verdict"]["distances"][0]["tofu_p"] == 6.7e-6
    assert value["verdict"]["kl"]["forget_distance"] is None
    assert value["plan"]["added_later"] == {"x": [1]}
    assert value["training"]["last"]["grad_norm"] == 2.5
    assert value["distributions"]["truth_ratio"]["reference"]["n"] == 37
    assert value["recipe"]["retain"] == {"ratio": 3.0}
    assert "not measured" in html(run_dir).text


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_no_record_of_ours_holds_what_is_no_number(number: str, run_dir: Path) -> None:
    (run_dir / "log.jsonl").write_text(f'{{"step": 1, "loss": 0.5}}\n{{"step": 2, "loss": {number}}}\n')
    with pytest.raises(RunError, match=r"log\.jsonl:2: is damaged: it holds "):
        build(run_dir)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "{"),
        ("run.json", "[]"),
        ("run.json", '{"id": "x"}'),
        ("verdict.json", '{"verdict": "PERHAPS"}'),
        ("verdict.json", json.dumps(verdict_record(verdict="PERHAPS"))),
        ("verdict.json", "[" * 100_000),
        ("plan.json", '{"bounds": {"delta": "wide"}}'),
        ("recipe.yaml", "a: [1"),
        ("recipe.yaml", "a: &a [*a]"),
        ("log.jsonl", '{"step": 1}\n{"st\n{"step": 3}\n'),
        ("events.jsonl", '{"n": 1, "time": "t", "event": "e", "facts": {}, "previous": ""}\n{}\n'),
        ("events.jsonl", '{"n": 1, "time": "t", "event": "e", "facts": ["a secret"], "previous": ""}\n'),
        ("scores/unlearned.json", '{"sets": {"forget": {"answer_logp": [-1, -2], "answer_tokens": [3]}}}'),
        ("scores/start.json", '{"sets": {"forget": {"answer_logp": ["a secret"], "answer_tokens": [3]}}}'),
        ("log.jsonl", '{"step": 1, "loss": NaN}\n{"step": 2, "loss": 3.0}\n'),
    ],
)
def test_damage_names_the_file(run_dir: Path, name: str, content: str) -> None:
    (run_dir / name).write_text(content)
    with pytest.raises(RunError) as caught:
        build(run_dir)
    assert str(run_dir / name) in str(caught.value)
    assert "a secret" not in str(caught.value)


def test_without_run_json_it_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json"):
        build(tmp_path)


def test_the_report_needs_no_torch() -> None:
    code = "import sys, forgetctl.report.render, forgetctl.report.plots; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_setting_has_a_meaning() -> None:
    recipe = Recipe(
        terms={"npo": 1.0}, hyperparameters={"gamma": 0.0}, lora=Lora(), calibration=Calibration()
    ).model_dump(mode="json")
    shown = list(settings(recipe))
    assert {name for name, _, _ in shown} >= {"terms.npo", "hyperparameters.gamma", "verify.relearn_learning_rate"}
    assert [name for name, _, meaning in shown if not meaning] == []


def test_settings_of_a_training_that_never_was_are_not_shown(run_dir: Path) -> None:
    (run_dir / "recipe.yaml").write_text("method: npo\nbeta: 0.1\nlearning_rate: 1e-3\nverify: {samples: 8}\n")
    write(run_dir, "run.json", run_record(kind="verify"))
    assert "| learning\\_rate |" in render_markdown(build(run_dir))  # the relearning attack used it
    write(run_dir, "verdict.json", verdict_record(relearning=None))
    text = render_markdown(build(run_dir))
    assert "| verify.samples | 8 |" in text
    assert "| beta |" not in text
    assert "| learning\\_rate |" not in text
