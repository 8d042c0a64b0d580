"""The audit report: every figure shown, hostile names harmless, gaps said, damage named."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetctl.errors import RunError
from forgetctl.stages.report import build, render_html, render_json, render_markdown

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
DIGEST = "ab" * 32


def run_record(**changes: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "id": "20260102-030405-npo-rt",
        "created": "2026-01-02T03:04:05+00:00",
        "kind": "unlearn",
        "versions": {"forgetctl": "0.1.0", "python": "3.11.7"},
        "platform": "Linux x86_64",
        "device": "cpu",
        "argv": ["forgetctl", "unlearn", "--model", "my model"],
        "seed": 42,
        "inputs": {
            "model": {"name": "assistant", "path": "m/assistant", "sha256": DIGEST, "bytes": 11017312},
            "forget": {"path": "requests.jsonl", "rows": 37, "commitment": "hmac-sha256:" + "cd" * 32},
            "retain": {"path": None, "rows": 300, "origin": "the start model's own answers"},
        },
        "stages": {
            "pairing": {"status": "done", "retain_rows": 611, "check_rows": 163, "excluded": {"near_duplicates": 29}},
            "unlearn": {"status": "done", "steps": 70, "epochs": 10, "seconds": 61.2, "peak_memory_bytes": 912345678},
            "verify": {"status": "done"},
        },
        "objective": {
            "method": "npo",
            "formula": "1 * npo",
            "terms": [{"name": "npo", "weight": 1.0, "formula": "-(2/beta) mean log", "source": "eq. 3"}],
        },
        **changes,
    }


def verdict_record(**changes: Any) -> dict[str, Any]:
    measures = ("forget_probability", "retain_probability", "truth_ratio", "rouge", "retain_rouge")
    start, unlearned, reference = (
        dict(zip(measures, values, strict=True))
        for values in (
            (0.911, 0.872, 0.213, 0.934, 0.925),
            (0.0214, 0.865, 0.611, 0.312, 0.903),
            (0.131, 0.876, None, 0.383, None),
        )
    )
    return {
        "schema": 1,
        "verdict": "FAIL",
        "reasons": [{"code": "STILL_KNOWN", "text": "It is higher than it should be."}],
        "checks": [
            {
                "name": "answer log-prob",
                "status": "fail",
                "code": "STILL_KNOWN",
                "text": "It is higher than it should be.",
            },
            {"name": "secrets", "status": "skipped", "code": "NO_SECRETS", "text": "The request names no secrets."},
        ],
        "comparison": {"kind": "model", "name": "retrained"},
        "model": {"name": "model", "sha256": DIGEST},
        "forget_quality": {"D": 0.257, "p": 6.7e-6, "n": 37, "variant": "geometric", "perturbed": "request"},
        "answer_distance": {"D": 0.503, "lower": 0.404, "upper": 0.606, "n": 37},
        **{key: unlearned[key] for key in ("forget_probability", "retain_probability", "truth_ratio", "rouge")},
        "models": {"start": start, "unlearned": unlearned, "reference": reference},
        "kl": {"forget_distance": 0.712, "retain_distance": None, "forget_from_start": 2.417},
        "secrets": {"named": 19, "leaked": 7, "leaked_by_reference": 5},
        "skipped": [{"check": "kl.retain_distance", "reason": "there are no retain rows to compare on"}],
        "bounds": {"delta": 0.15, "utility_loss": 0.023},
        "created": "2026-01-02T04:04:05+00:00",
        "digest": "ef" * 32,
        **changes,
    }


def scores_record(role: str, seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    logp, tokens = (-draw.uniform(1, 9, 37)).tolist(), draw.integers(3, 9, 37).tolist()
    rows = {
        "lines": list(range(1, 38)),
        "answer_logp": logp,
        "answer_tokens": tokens,
        "paraphrase_logp": logp,
        "paraphrase_tokens": tokens,
        "perturbed_logp": [[value - 1, value - 2] for value in logp],
        "perturbed_tokens": [[count, count] for count in tokens],
        "rouge_recall": None,
    }
    return {"role": role, "name": role, "sha256": DIGEST, "sets": {"forget": rows, "holdout": rows}}


def write(folder: Path, name: str, value: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished, verified run about fictitious rows."""
    write(tmp_path, "run.json", run_record())
    write(tmp_path, "plan.json", {"schema": 1, "bounds": {"delta": 0.15, "utility_loss": 0.023}})
    write(tmp_path, "verdict.json", verdict_record())
    for seed, role in enumerate(("start", "unlearned", "reference")):
        write(tmp_path, f"scores/{role}.json", scores_record(role, seed))
    (tmp_path / "recipe.yaml").write_text("method: npo\nbeta: 0.1\nlora: null\nretain: {ratio: 3.0}\n")
    steps = ({"step": n, "loss": 9 / n, "forget_logp_per_token": -n / 5, "learning_rate": 1e-3} for n in range(1, 9))
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return tmp_path


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser would see them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(re.sub(r"<style>.*?</style>", "", source, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag == "small" else ""

    def handle_endtag(self, tag: str) -> None:
        self.text += " " if tag in ("td", "th") else ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


def html(folder: Path) -> Page:
    return Page(render_html(build(folder)))


FIGURES = (
    "0.911 0.872 0.213 0.934 0.925 0.021 0.865 0.611 0.312 0.903 0.131 0.876 0.383 0.257 6.7e-06 0.503 0.404 0.606"
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
    assert len(drawings) == 4
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]+)\)", " ".join(page.values("clip-path"))))
    assert used | {target[1:] for target in page.values("href")} <= set(ids)
    assert render_html(build(run_dir)) == render_html(build(run_dir))


def test_headings_and_tables_are_accessible(run_dir: Path) -> None:
    page = html(run_dir)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    tables = [tag for tag, _ in page.tags if tag in ("table", "caption")]
    assert tables == ["table", "caption"] * (len(tables) // 2)


def test_hostile_names_stay_text(run_dir: Path) -> None:
    check = {"name": IMAGE, "status": "fail", "code": "X", "text": SCRIPT}
    write(
        run_dir,
        "run.json",
        run_record(id=SCRIPT, argv=["forgetctl", IMAGE, "a\n\n# heading"], device="\x1b[31mred\u202e\ud800")
        | {"inputs": {"model": {"name": IMAGE + SCRIPT}}, "versions": {SCRIPT: IMAGE}},
    )
    write(run_dir, "verdict.json", verdict_record(checks=[check], reasons=[check], model={"name": SCRIPT}))
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
    check = {"name": "a|b\nc", "status": "pass", "code": "X|Y", "text": "one | two\n\n| three | http://x.example `"}
    write(run_dir, "verdict.json", verdict_record(checks=[check]))
    text = render_markdown(build(run_dir))
    row = next(line for line in text.splitlines() if line.startswith("| a"))
    assert row == r"| a\|b c | ✓ passed | one \| two \| three \| http\://x.example \` (X\|Y) |"
    width = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert cells == width or not width or not cells, line
        width = cells


def test_without_a_verdict_the_report_says_so(run_dir: Path) -> None:
    (run_dir / "verdict.json").unlink()
    (run_dir / "log.jsonl").unlink()
    page = html(run_dir)
    assert "Not verified yet" in page.text
    assert not re.search(r"\b(PASS|FAIL|INCONCLUSIVE)\b", page.text.split("What was asked")[1])
    assert "70 optimizer steps" in page.text
    assert "Not verified yet" in render_markdown(build(run_dir))
    assert render_json(build(run_dir))["verdict"] is None
    assert render_json(build(run_dir))["training"] is None


def test_inconclusive_without_a_reference(run_dir: Path) -> None:
    check = {"name": "comparison", "status": "unknown", "code": "NO_REFERENCE", "text": "Nothing to compare with."}
    nothing = {"forget_quality": None, "answer_distance": None, "kl": None, "secrets": None}
    models = {"models": {"unlearned": verdict_record()["models"]["unlearned"], "reference": None}}
    changes = {
        "verdict": "INCONCLUSIVE",
        "checks": [check],
        "reasons": [check],
        "comparison": {"kind": "none", "name": None},
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
    write(run_dir, "verdict.json", verdict_record(verdict="PASS", comparison={"kind": "holdout", "name": "holdout"}))
    assert "like rows that it never saw" in html(run_dir).text
    write(run_dir, "verdict.json", verdict_record(verdict="PASS"))
    assert "like a model that never saw them" in " ".join(html(run_dir).text.split())


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
        ({"bounds": {"delta": 0.2, "utility_loss": 0.023}}, "other bounds than those"),
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
    (run_dir / "log.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 1, "loss": 1e999, "grad_norm": 2.5}\n')
    write(run_dir, "verdict.json", verdict_record(kl={"forget_distance": float("nan")}, added_later={"x": [1]}))
    value = json.loads(json.dumps(render_json(build(run_dir)), allow_nan=False))
    assert value["verdict"]["forget_quality"]["p"] == 6.7e-6
    assert value["verdict"]["kl"]["forget_distance"] is None
    assert value["verdict"]["added_later"] == {"x": [1]}
    assert value["training"]["last"]["grad_norm"] == 2.5
    assert value["distributions"]["truth_ratio"]["reference"]["n"] == 37
    assert value["recipe"]["retain"] == {"ratio": 3.0}
    assert "not measured" in html(run_dir).text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "{"),
        ("run.json", "[]"),
        ("run.json", '{"id": "x"}'),
        ("verdict.json", '{"verdict": "PERHAPS"}'),
        ("verdict.json", "[" * 100_000),
        ("plan.json", '{"bounds": {"delta": "wide"}}'),
        ("recipe.yaml", "a: [1"),
        ("recipe.yaml", "a: &a [*a]"),
        ("log.jsonl", '{"step": 1}\n{"st\n{"step": 3}\n'),
        ("scores/unlearned.json", '{"sets": {"forget": {"answer_logp": [-1, -2], "answer_tokens": [3]}}}'),
        ("scores/start.json", '{"sets": {"forget": {"answer_logp": ["a secret"], "answer_tokens": [3]}}}'),
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
    code = "import sys, forgetctl.stages.report, forgetctl.document.plots; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
