"""What the report says of a verdict: every figure with its meaning, and nothing where nothing was measured."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forgetctl.errors import RunError
from forgetctl.model.scores import Scores
from forgetctl.recipe.bounds import Bounds
from forgetctl.report.render import build, render_json, render_markdown
from forgetctl.runs.run import Run
from forgetctl.verify.basis import verdict_of
from forgetctl.verify.judge import conclude
from forgetctl.verify.record import OtherVersionError, Verdict
from forgetctl.verify.registry import MEASURES
from tests.report.report_records import (
    BOUNDS,
    HELD_OUT,
    html,
    interval,
    run_record,
    scores_record,
    unmeasured_record,
    verdict_record,
    write,
    write_run,
)
from tests.verify.handmade import collected

SCRIPT, IMAGE = "<script>alert(1)</script>", '"><img src=x onerror=alert(2)>|\n| x'


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def markdown(folder: Path) -> str:
    return render_markdown(build(folder))


def row(folder: Path, start: str) -> str:
    """The first row of a figure in the Markdown report that begins so."""
    figures = markdown(folder).split("### Figures")[1]
    return next(line for line in figures.splitlines() if line.startswith(f"| {start}"))


def flat(text: str) -> str:
    return " ".join(text.split())


# Each line is a table row as Markdown shows it; the page has the same figures.
ROWS = (
    "| truth ratio | 0.258 (0.157 to 0.360) | 37 (subjects resampled) | – | 0.032 | 6.7e-06 |",
    # The limit: D = 2 Phi(m / 2) - 1 = 0.15 at m = 2 * 0.18912 = 0.3782 deviations, of 1.3 nats each: 0.492.
    "| answer log-prob | 0.503 (0.402 to 0.605) | 37 (subjects resampled) | "
    "+0.731 (+0.531 to +0.931; limit ±0.492; medians +0.877) | 0.032 | 0.065 |",
    "| answer log-prob, int8 | 0.514 (0.413 to 0.616) | 37 (subjects resampled) | – | – | – |",
    "| answer log-prob | 0.891 (0.790 to 0.993) | 37 (subjects resampled) | – | 0.032 | 0.065 |",
    "| answer log-prob | 0.117 (0.016 to 0.219) | 37 (subjects resampled) | – | 0.032 | 0.065 |",
    "| remembered | 1 of 100 (6.644 bits) | 25 of 100 (2.000 bits) | 1 of 100 (6.644 bits) | 5.3e-03 (lead 1 of 100) |",
    "| Asked: secrets said | 18 of 19 | 7 of 19 | 5 of 19 |",
    "| Asked: whole responses | 33 of 34 | 16 of 34 | 0 of 34 |",
    "| Beginning given: secrets said | – | 8 of 19 | – |",
    "| Sampled: whole responses | – | 0 of 22 | – |",
    "| 7 | 5 | 4 (rows 2, 11, 12, 13, 14 and 1 more) | 19 (3 untested) | 4.2e-03 |",
    "| 9 | 6 | 4 | 53 (8 samples each) | 0.088 |",
    "| 14 (row 17) | 1 | 31 | 0.043 |",
    "| 15 | 10 | 194 | 0.054 |",
    "| 0.678 (0.567 to 0.789) | 0.532 | +0.146 (+0.044 to +0.248) |",
    "| 0.857 | 0.838 |",
    # 0.3782 deviations of 1.2 nats: 0.454, on one side.
    "| Rows not trained on again | +0.621 (+0.421 to +0.821; limit +0.454) | 0.333 (0.222 to 0.444) | 37 |",
    # 0.865 / 0.872 - 1 = -0.8 %, 0.865 / 0.876 - 1 = -1.3 %; the bounds lie 3 % below and 2 % above.
    "| 0.872 | 0.865 | 0.876 | -0.8% (-3.8% to +1.2%; n = 163) | -1.3% (-4.3% to +0.7%; n = 163) |",
    "| retain ROUGE | 0.925 | 0.903 | – | -2.4% (-5.4% to -0.4%; n = 163) | – |",
    "| unrehearsed rows | 25 | 3 | 171 | 14.6% (7.8% to 22.2%; limit 5%) |",  # 25 / 171
    "| perplexity of unseen text | 4.321 | 4.345 | – | +0.024 (-0.019 to +0.056; n = 83) | – |",
    "| 0.991 | 0.412 | 0.423 |",
    "| 0.956 | 0.121 | 0.143 |",
    "| 0.755 | 0.733 | – |",
    "| 0.766 | 0.744 | – |",
    "| fail | 31 % to 45 % | 25 |",
    "| not known | – | 12 |",
    "| 31 % to 45 % | 12 % | 3.456 | 0.234 (of two rows 0.05 alike) | 17 |",
    "| 0.120 (fixed on 2 January 2026, 03:05 UTC) |",
    "| 0.011 (fixed on 2 January 2026, 03:05 UTC) |",
    "| 0.042 (fixed on 2 January 2026, 03:05 UTC) |",
    "| 0, the start model | 0 | 0.413 | 8.3e-16 | 0.911 | 0.872 |",
    "| 35 | 5 | 0.324 | 4.5e-09 | 0.255 | 0.869 |",
    "| 70 | 10 | 0.257 | 6.7e-06 | 0.021 | 0.865 |",
)


def test_every_figure_of_the_verdict_is_shown(run_dir: Path) -> None:
    text, page = markdown(run_dir), flat(html(run_dir).text)
    for expected in ROWS:
        assert expected in text
        for shown in re.findall(r"[^|(;)]+", expected.strip("| ")):
            assert shown.strip() in page, shown
    for words in (
        "PrivLeak (MUSE), from Min-K%: -0.312. Negative means that the rows are still known",
        "Surely 0.105 above it they are still known",  # Phi(sqrt 2 * 0.18912) - 0.5
        "its upper bound lies below 0.150",
        "surely fell by less than 2.3%",
        "(retrained); for the noise between such models also retrained-again",
        "It knows the rows, so it must fail.",
        "gives them away",
    ):
        assert words in page


def test_what_was_not_measured_is_no_number(run_dir: Path) -> None:
    elicited = {"answers": 1, "rouge": None, "secrets": [0, 0], "whole": [0, 0]}
    moved = {"difference": 0.7, "lower": None, "upper": None, "spread": 1.0, "n": 37}
    only = {"p": None, "tofu_p": None, "gap": None, "name": "answer log-prob"}
    attack = {"name": "loss", "auc": 0.6, "lower": None, "upper": 0.7, "most": 0.3, "noise": 0.2}
    alone = dict.fromkeys(("reference", "difference", "difference_lower", "difference_upper"))
    change = {"before": 0.5, "now": 0.4, "relative": -0.2, "lower": None, "upper": None, "n": 1, "rows_needed": None}
    write(
        run_dir,
        "verdict.json",
        verdict_record(
            distances=[{**only, "distance": {**interval(0.5, 0, 0), "lower": None, "upper": None}, "shift": moved}],
            extraction={"unlearned": {"greedy": elicited}},
            attacks={"by": [{**attack, **alone}], "priv_leak": None, "retained": {}},
            kept=[{"name": "model utility", "start": change, "reference": None}],
            gibberish=None,
            samples=None,
            secrets={
                "named": 2,
                "untested": 0,
                "leaked": 1,
                "leaked_by_reference": None,
                "beyond_reference": None,
                "names": [],
                "remembered": 0,
                "guessed": 0,
                "p": None,
            },
        ),
    )
    shown = row(run_dir, "answer log-prob |")
    assert "| 0.500 (no bounds) |" in shown
    assert "+0.700 (no bounds; limit ±0.378) | – | – |" in shown
    assert row(run_dir, "model utility |") == "| model utility | 0.500 | 0.400 | – | -20.0% (no bounds; n = 1) | – |"
    assert row(run_dir, "Named secrets").endswith("| 1 | – | – | 2 | – |")
    assert row(run_dir, "Loss").endswith("| 0.600 (at most 0.700) | – | – |")
    text = markdown(run_dir)
    assert "Empty or repeating" not in text
    assert "Asked" not in text.split("#### What comes out")[1]
    assert "Without a reference nobody knows what AUC such rows have" in html(run_dir).text
    assert "PrivLeak" not in html(run_dir).text


def parts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything in a JSON value."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from parts(item, (*path, key))


@pytest.mark.parametrize("gone", [True, False], ids=["missing", "null"])
def test_any_part_may_be_missing_or_null(run_dir: Path, *, gone: bool) -> None:
    """Whatever is not there, the report stands, or says which file is damaged."""
    whole, damaged = verdict_record(), set[str]()
    for path in (run_dir / "scores").iterdir():
        path.unlink()  # they would only be read again
    for *above, last in parts(whole):
        changed = copy.deepcopy(whole)
        place: Any = changed
        for key in above:
            place = place[key]
        if gone:
            del place[last]
        else:
            place[last] = None
        write(run_dir, "verdict.json", changed)
        text = told(run_dir)
        if text is None:
            damaged.add(".".join(key for key in (*above, last) if isinstance(key, str)))
        else:
            assert "None" not in text, (above, last)
            assert "nan" not in text, (above, last)
    assert damaged >= {"verdict", "checks", "distances.distance", "models.unlearned.forget_probability", "basis.scores"}
    if gone:
        there = {path for path in leaves(whole) if not re.fullmatch(ENTRIES, path)}
        assert there - damaged == OPTIONAL


OPTIONAL = {"inputs.sha256", "inputs.commitment", "inputs.rows"}
"""What may be missing, since it says nothing by that: everything else that is not measured is null."""
ENTRIES = (
    r"attacks\.retained\.\w+|models\.\w+|extraction\.\w+(\.[\w ]+)?|basis\.scores\.\w+|attack_prompts\.prompts\.[\w ]+"
    r"|exposure\.unplaced\.[\w ]+"
)
"""Models, ways of asking, templates, reasons and files, of which there may be fewer."""


def leaves(value: Any) -> set[str]:
    """Paths of everything that stands under a key, without the numbers of items."""
    return {".".join(key for key in path if isinstance(key, str)) for path in parts(value) if isinstance(path[-1], str)}


def told(folder: Path) -> str | None:
    """The report, or None where it says that the verdict is damaged."""
    try:
        return markdown(folder)
    except RunError as error:
        return None if re.search(r"verdict\.json: (is damaged|was written by another)", str(error)) else str(error)


def test_empty_parts_leave_no_table(run_dir: Path) -> None:
    write(run_dir, "verdict.json", unmeasured_record())
    page, text = html(run_dir), markdown(run_dir)
    figures = text.split("### Figures")[1].split("#### Distributions")[0]
    assert re.findall("^#### (.*)$", figures, re.MULTILINE) == ["Distance from the comparison", "Limits of the checks"]
    measured = [line.rpartition("| ")[2] for line in figures.splitlines() if line.startswith("| KL ")]
    assert measured == ["not measured |"] * 3
    assert [tag for tag, _ in page.tags if tag == "tbody"]


def test_hostile_names_of_scores_stay_text(run_dir: Path) -> None:
    changes = verdict_record()
    for part in (*changes["distances"], *changes["control"], *changes["attacks"]["by"], *changes["kept"]):
        part["name"] = SCRIPT + IMAGE
    changes["extraction"]["unlearned"][SCRIPT] = {"answers": 1, "rouge": 0.5, "secrets": [0, 0], "whole": [0, 0]}
    changes["comparison"] = {"kind": "model", "name": IMAGE, "others": [SCRIPT]}
    changes["skipped"] = [{"check": IMAGE, "reason": SCRIPT, "source": "measuring"}]
    write(run_dir, "verdict.json", changes)
    page, text = html(run_dir), markdown(run_dir)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not page.values("onerror")
    assert SCRIPT in page.text
    assert "<script>" not in text.replace("\\<script", "")
    assert "\n| x" not in text
    width = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert cells == width or not width or not cells, line
        width = cells


@pytest.mark.parametrize("delta", [-1.0, 0.0, 0.3, 1.0, 7.0])
def test_an_impossible_delta_is_damage(run_dir: Path, delta: float) -> None:
    write(run_dir, "verdict.json", verdict_record(bounds={**BOUNDS, "delta": delta}))
    with pytest.raises(RunError, match=r"verdict\.json: is damaged: bounds\.delta"):
        markdown(run_dir)


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_evidence_from_other_rows_is_called_weaker(run_dir: Path, verdict: str) -> None:
    write(
        run_dir,
        "verdict.json",
        verdict_record(verdict=verdict, comparison=HELD_OUT),
    )
    summary = flat(html(run_dir).text.split("What was asked")[0])
    assert "rows that it never saw (weaker evidence than a reference model)" in summary
    assert "This is weaker evidence: the forget rows were compared with other rows that no model saw" in summary
    assert "This is weaker evidence" in markdown(run_dir).split("### What this does not mean")[0]


def test_many_passed_checks_are_named_on_the_summary_and_told_below(run_dir: Path) -> None:
    checks = [
        {"name": f"check {n}", "status": "pass", "about": "forgotten", "code": "X", "text": f"Finding {n}."}
        for n in range(7)
    ]
    skipped = {
        "name": "secrets",
        "status": "skipped",
        "about": "forgotten",
        "code": "NO_SECRETS",
        "text": "None are named.",
    }
    write(run_dir, "verdict.json", verdict_record(verdict="PASS", checks=[*checks, skipped]))
    for text, end in ((html(run_dir).text, "What was asked"), (markdown(run_dir), "### What this")):
        summary, rest = flat(text).split(end, 1)
        assert "All 7" in summary
        assert "passed: check 0; check 1" in summary
        assert "Finding 3." not in summary
        assert "Finding 3." in rest
    write(run_dir, "verdict.json", verdict_record(verdict="PASS", checks=checks[:2]))
    assert "Finding 1." in html(run_dir).text.split("What was asked")[0]
    failed = [{**check, "status": "fail"} for check in checks]
    write(run_dir, "verdict.json", verdict_record(checks=failed))
    assert "Finding 6." in html(run_dir).text.split("What was asked")[0]


def test_the_json_report_is_the_verdict_as_it_stands(run_dir: Path) -> None:
    written = verdict_record()
    write(run_dir, "verdict.json", written)
    assert json.loads(json.dumps(render_json(build(run_dir)), allow_nan=False))["verdict"] == written


def test_what_is_written_is_read_by_the_same_class(run_dir: Path) -> None:
    read = verdict_of(Run(run_dir))
    assert read.content() == verdict_record()
    assert Verdict.model_validate(read.content()) == read
    assert list(read.content())[:5] == ["schema", "verdict", "answers", "checks", "model"]
    assert {measure.key for measure in MEASURES} < set(read.content())


@pytest.mark.parametrize("schema", [1, 2, 3, 5, None, "4"])
def test_another_version_must_be_verified_again(run_dir: Path, schema: Any) -> None:
    """Whatever it says, it is not read, not even as damage."""
    older = {"schema": schema, "verdict": "PASS", "reasons": [], "checks": [], "answer_distance": {"D": 0.5}}
    write(run_dir, "verdict.json", {key: value for key, value in older.items() if value is not None})
    with pytest.raises(RunError) as caught:
        build(run_dir)
    assert f"{run_dir / 'verdict.json'}: was written by another version of forgetctl" in str(caught.value)
    assert f"this one reads 4); verify again: forgetctl verify {run_dir}" in str(caught.value)


def test_a_model_that_no_run_made_is_verified_anew(run_dir: Path) -> None:
    """`forgetctl verify RUN` would be refused."""
    write(run_dir, "run.json", run_record(kind="verify"))
    write(run_dir, "verdict.json", {"schema": 2})
    with pytest.raises(RunError) as caught:
        build(run_dir)
    assert str(caught.value).endswith(
        "verify the model or its scores anew: forgetctl verify, with --model or --scores as before"
    )


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.key)
def test_a_verdict_of_fewer_checks_is_of_another_version(measure: Any, run_dir: Path) -> None:
    changes = verdict_record()
    del changes[measure.key]
    write(run_dir, "verdict.json", changes)
    with pytest.raises(OtherVersionError) as caught:
        build(run_dir)
    assert f"(it has no {measure.key}, which this one checks); verify again: forgetctl verify {run_dir}" in str(
        caught.value
    )


def test_a_verdict_of_more_checks_is_of_another_version(run_dir: Path) -> None:
    write(run_dir, "verdict.json", {**verdict_record(), "prompt": "a secret of the request"})
    with pytest.raises(
        OtherVersionError, match=r"\(it has checks that this one does not know\); verify again"
    ) as caught:
        build(run_dir)
    assert "a secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["model", "holdout", "none"])
def test_a_verdict_made_of_scores_is_read(run_dir: Path, kind: Any) -> None:
    models = [Scores.model_validate(scores_record(role, seed)) for seed, role in enumerate(("start", "unlearned"))]
    reference = (Scores.model_validate(scores_record("reference", 2)),) if kind == "model" else ()
    made = conclude(collected(models[1], kind, models[0], reference), Bounds()).content()
    write(run_dir, "verdict.json", verdict_record(**json.loads(json.dumps(made))))
    text = markdown(run_dir)
    assert f"{made['verdict']}**" in text
    compared = [line for line in text.splitlines() if line.startswith("| answer log-prob |") and " = " not in line]
    assert len(compared) == {"model": 2, "holdout": 2, "none": 0}[kind]  # of the model and of the control
    assert "nan" not in text


def test_the_models_behind_the_scores_have_their_digests(run_dir: Path) -> None:
    write(run_dir, "scores/reference.json", scores_record("reference", 2) | {"sha256": "12" * 32, "name": IMAGE})
    for text in (html(run_dir).text, markdown(run_dir)):
        assert "12" * 32 in text
        assert "start, as scored" in text
    assert render_json(build(run_dir))["scored"]["reference"] == {"name": IMAGE, "sha256": "12" * 32}


@pytest.mark.parametrize("place", ["secrets", "attacks", "gibberish"])
def test_keys_that_nobody_knows_are_damage(run_dir: Path, place: str) -> None:
    """They might hold anything, and nothing could be said of them."""
    changes = verdict_record()
    changes[place]["prompt"] = "a secret of the request"
    write(run_dir, "verdict.json", changes)
    with pytest.raises(RunError, match=r"verdict\.json: is damaged: .*prompt") as caught:
        build(run_dir)
    assert "a secret" not in str(caught.value)


def test_each_person_is_told_in_plain_words_on_the_first_page(run_dir: Path) -> None:
    """Those first whom somebody should look at; of more than four the rest is counted."""
    summary = flat(html(run_dir).text.split("What was asked")[0])
    assert "Person 1 (25 rows): FAIL, 31 % to 45 % of what the model knew is left." in summary
    assert "Person 2 (12 rows, which name nobody): NOT KNOWN, the model knew nothing" in summary
    assert "Are the rows forgotten? FAIL. Was the rest kept? PASS." in summary
    known, unknown = verdict_record()["subjects"]
    low = {**known, "verdict": "PASS", "share_left": {"low": 0.0, "high": 0.052}, "reasons": [], "views": []}
    some = [{**low, "subject": number} for number in range(1, 7)] + [{**unknown, "subject": 7}]
    write(run_dir, "verdict.json", verdict_record(subjects=some))
    summary = flat(html(run_dir).text.split("What was asked")[0])
    assert summary.count("PASS, at most 6 % of what the model knew is left.") == 4
    assert "And 2 PASS, 1 NOT KNOWN" in summary
    assert "Person 1 (25 rows): PASS" in markdown(run_dir).split("## 2")[0]
