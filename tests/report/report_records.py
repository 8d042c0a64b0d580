"""A finished, verified run about fictitious rows, as its files would say it; every figure is another one."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from forgetctl.report.render import build, render_html
from forgetctl.verify.registry import MEASURES as REGISTERED
from forgetctl.verify.registry import Findings

DIGEST = "ab" * 32
BOUNDS = {
    "share_left": 0.12,
    "share_left_contrast": 0.27,
    "share_left_unpaired": 0.26,
    "overshoot": 0.24,
    "contrast_rows": 21,
    "delta": 0.15,
    "utility_loss": 0.023,
    "pass_level": 0.011,
    "fail_level": 0.042,
}
HELD_OUT: dict[str, Any] = {"kind": "holdout", "name": "holdout", "others": []}
MEASURES = (
    "forget_probability",
    "retain_probability",
    "truth_ratio",
    "rouge",
    "retain_rouge",
    "exact_memorisation",
    "fact_tokens",
    "fact_tokens_likely",
    "extraction_strength",
    "model_utility",
    "model_utility_geometric",
)


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
        "requests": ["R-7", "R-19"],
        "frozen": {"recipe.yaml": "12" * 32, "plan.json": "34" * 32},
        "inputs": {
            "model": {"name": "assistant", "path": "m/assistant", "sha256": DIGEST, "bytes": 11017312},
            "forget": {"path": "requests.jsonl", "rows": 37, "commitment": "hmac-sha256:" + "cd" * 32},
            "retain": {"path": None, "rows": 300, "origin": "the start model's own answers"},
        },
        "stages": {
            "pairing": {"status": "done", "retain_rows": 611, "check_rows": 163, "excluded": {"near_duplicates": 29}},
            "unlearn": {
                "status": "done",
                "steps": 70,
                "epochs": 10,
                "seconds": 61.2,
                "peak_memory_bytes": 912345678,
                "model_sha256": "90" * 32,
            },
            "verify": {"status": "done"},
        },
        "objective": {
            "method": "npo",
            "formula": "1 * npo",
            "terms": [{"name": "npo", "weight": 1.0, "formula": "-(2/beta) mean log", "source": "eq. 3"}],
        },
        **changes,
    }


def interval(D: float, lower: float, upper: float, unit: str = "subjects", n: int = 37) -> dict[str, Any]:
    return {"D": D, "lower": lower, "upper": upper, "n": n, "unit": unit, "noise": 0.3}


def closeness(name: str, D: float, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "distance": interval(D, D - 0.101, D + 0.102),
        "gap": None,
        "shift": None,
        "p": 0.0321,
        "tofu_p": 0.0654,
        **changes,
    }


def shift(difference: float, spread: float) -> dict[str, Any]:
    return {"difference": difference, "lower": difference - 0.2, "upper": difference + 0.2, "spread": spread, "n": 37}


def change(before: float, now: float) -> dict[str, Any]:
    moved = now / before - 1
    bounds = {"lower": moved - 0.03, "upper": moved + 0.02}
    return {"before": before, "now": now, "relative": moved, **bounds, "n": 163, "rows_needed": 512}


def point(step: int, D: float | None, p: float | None, forget: float, retain: float | None) -> dict[str, Any]:
    return {"step": step, "epoch": step / 7, "D": D, "p": p, "forget_probability": forget, "retain_probability": retain}


def events() -> list[dict[str, Any]]:
    """What happened to the run; the digests do not chain."""
    facts: list[tuple[str, dict[str, Any]]] = [
        ("created", {"kind": "unlearn"}),
        ("frozen", {"recipe.yaml": "12" * 32, "plan.json": "34" * 32}),
        ("pairing", {"retain_rows": 611, "status": "done", "excluded": {"near_duplicates": 29}}),
        ("unlearn", {"status": "done", "steps": 70, "seconds": 61.2, "stopped_early": False, "note": None}),
        ("verify", {"status": "done", "verdict": "FAIL"}),
    ]
    return [
        {
            "n": n,
            "time": f"2026-01-02T03:0{n}:05+00:00",
            "event": event,
            "facts": found,
            "previous": f"{n - 1:02d}" * 32,
        }
        for n, (event, found) in enumerate(facts, 1)
    ]


def leaks(answers: int, *chances: tuple[int, float, float]) -> dict[str, Any]:
    """Of a model: by number of draws the worst row's chance, and the mean."""
    shown = [{"draws": draws, "worst": worst, "mean": mean} for draws, worst, mean in chances]
    return {"answers": answers, "chances": shown}


def verdict_record(**changes: Any) -> dict[str, Any]:
    """A FAIL. The reference has no truth ratio and was not asked to retain anything."""
    start = dict(
        zip(MEASURES, (0.911, 0.872, 0.213, 0.934, 0.925, 0.991, 0.987, 0.989, 0.956, 0.755, 0.766), strict=True)
    )
    unlearned = dict(
        zip(MEASURES, (0.0214, 0.865, 0.611, 0.312, 0.903, 0.412, 0.321, 0.332, 0.121, 0.733, 0.744), strict=True)
    )
    reference = dict(
        zip(MEASURES, (0.131, 0.876, None, 0.383, None, 0.423, 0.048, 0.057, 0.143, None, None), strict=True)
    )
    return {
        "schema": 4,
        "verdict": "FAIL",
        "answers": {"forgotten": "FAIL", "kept": "PASS"},
        "checks": [
            {
                "name": "answer log-prob",
                "status": "fail",
                "code": "STILL_KNOWN",
                "text": "It is higher than it should be.",
                "about": "forgotten",
            },
            {
                "name": "secrets",
                "status": "skipped",
                "code": "NO_SECRETS",
                "text": "The request names no secrets.",
                "about": "forgotten",
            },
        ],
        "model": {"name": "model", "sha256": DIGEST},
        "comparison": {"kind": "model", "name": "retrained", "others": ["retrained-again"]},
        "subjects": [
            {
                "subject": 1,
                "named": True,
                "rows": 25,
                "verdict": "FAIL",
                "share_left": {"low": 0.314, "high": 0.443},
                "reasons": [{"code": "MEMORY_LEFT", "view": "taught wording", "text": "At least 31 % is left."}],
                "views": [seen("taught wording", 0.379, 0.314, 0.443, 3.456, known=24)],
            },
            {
                "subject": 2,
                "named": False,
                "rows": 12,
                "verdict": "NOT_KNOWN",
                "share_left": None,
                "reasons": [{"code": "NOTHING_KNOWN", "view": None, "text": "Nothing was known to forget."}],
                "views": [],
            },
        ],
        "models": {"start": start, "unlearned": unlearned, "reference": reference},
        "distances": [
            closeness("truth ratio", 0.258, tofu_p=6.7e-6),
            closeness("answer log-prob", 0.503, gap=0.877, shift=shift(0.731, 1.3)),
            closeness("answer log-prob, int8", 0.514, p=None, tofu_p=None),
        ],
        "control": [closeness("answer log-prob", 0.891)],
        "noise_floor": [closeness("answer log-prob", 0.117)],
        "recipes": None,
        "forget_quality": {"variant": "geometric", "perturbed": "request"},
        "kl": {"forget_distance": 0.712, "retain_distance": None, "forget_from_start": 2.417},
        "extraction": {
            "start": {"greedy": {"answers": 1, "rouge": 0.934, "secrets": [18, 19], "whole": [33, 34]}},
            "unlearned": {
                "greedy": {"answers": 1, "rouge": 0.312, "secrets": [7, 19], "whole": [16, 34]},
                "first tokens": {"answers": 1, "rouge": 0.345, "secrets": [8, 19], "whole": [0, 0]},
                "affirmative": {"answers": 1, "rouge": None, "secrets": [0, 0], "whole": [0, 0]},
                "sampled": {"answers": 8, "rouge": 0.456, "secrets": [9, 19], "whole": [0, 22]},
            },
            "reference": {"greedy": {"answers": 1, "rouge": 0.383, "secrets": [5, 19], "whole": [0, 34]}},
        },
        "attack_prompts": {
            "version": 1,
            "rounds": 2,
            "prompts": {"direct": 47, "cloze": 21, "as asked": 6},
            "uncompared": 0,
        },
        "secrets": {
            "named": 19,
            "untested": 3,
            "leaked": 7,
            "leaked_by_reference": 5,
            "beyond_reference": 4,
            "names": ["2", "11", "12", "13", "14", "35"],
            "remembered": 3,
            "guessed": 1,
            "p": 0.0042,
        },
        "exposure": {
            "compared": True,
            "uncompared": 0,
            "secrets": [
                {
                    "name": "11",
                    "secret": 1,
                    "strings": 99,
                    "rank": 1,
                    "reference": 25,
                    "start": 1,
                    "lead": 1,
                    "p": 0.00031,
                    "together": 0.0053,
                    "state": "remembered",
                }
            ],
            "unplaced": {"said by the prompt": 2},
        },
        "whole_answers": {
            "against": "references",
            "counted": {"more": 14, "fewer": 1, "total": 31, "p": 0.0432, "names": ["17"]},
            "by_words": [],
            "guessed": 0.0765,
        },
        "samples": {"items": 53, "answers": 8, "leaked": 9, "by_reference": 6, "beyond": 4, "p": 0.0876},
        "leak_at_k": [
            {
                "served": False,
                "sampling": "temperature 1",
                "rows": 32,
                "leaked": 13,
                "unlearned": leaks(8, (1, 0.125, 0.0161), (8, 0.625, 0.0494), (16, 0.626, 0.0505)),
                "references": [leaks(8, (1, 0.0115, 0.0013), (8, 0.0445, 0.0042), (16, 0.0456, 0.0055))],
            },
            {
                "served": True,
                "sampling": "temperature 0.7, top-p 0.9",
                "rows": 31,
                "leaked": 12,
                "unlearned": leaks(4, (1, 0.251, 0.0262), (2, 0.502, 0.0373), (4, 0.753, 0.0484)),
                "references": [],
            },
        ],
        "response_chance": {
            "samples": 10000,
            "rows": 36,
            "worst": {"name": "22", "asked": "", "chance": 0.0654, "reference": 0.0471, "known": False},
            "likely": 21,
            "unexplained": 16,
            "names": [],
        },
        "single_rows": None,
        "attacks": {
            "by": [
                {
                    "name": "min_k",
                    "auc": 0.678,
                    "lower": 0.567,
                    "upper": 0.789,
                    "reference": 0.532,
                    "difference": 0.146,
                    "difference_lower": 0.044,
                    "difference_upper": 0.248,
                    "most": 0.259,
                    "noise": 0.161,
                }
            ],
            "priv_leak": -0.312,
            "retained": {"start": 0.857, "unlearned": 0.838},
        },
        "relearning": {"shift": shift(0.621, 1.2), "distance": interval(0.333, 0.222, 0.444, "rows")},
        "kept": [
            {"name": "retain probability", "start": change(0.872, 0.865), "reference": change(0.876, 0.865)},
            {"name": "retain ROUGE", "start": change(0.925, 0.903), "reference": None},
        ],
        "answers_kept": [
            {
                "rows": "unrehearsed rows",
                "lost": {"more": 25, "fewer": 3, "total": 171, "lower": 0.0777, "upper": 0.222, "rows_needed": None},
            }
        ],
        "perplexity": {
            "start": {"before": 4.321, "now": 4.345, "rise": 0.024, "lower": -0.019, "upper": 0.0555, "n": 83},
            "reference": None,
        },
        "gibberish": {"more": 15, "fewer": 10, "total": 194, "p": 0.0543, "names": []},
        "earlier": [],
        "curve": {
            "score": "truth ratio",
            "points": [
                point(0, 0.4131, 8.3e-16, 0.911, 0.872),
                point(35, 0.3243, 4.5e-9, 0.255, 0.869),
                point(70, 0.2571, 6.7e-6, 0.0214, 0.865),
            ],
        },
        "skipped": [
            {
                "check": "kl.retain_distance",
                "reason": "there are no retain rows to compare on",
                "source": "measuring",
            }
        ],
        "bounds": BOUNDS,
        "inputs": [
            given("start", "assistant", "model", sha256="56" * 32),
            given("holdout", "unseen.jsonl", "rows", sha256="78" * 32, rows=83),
            given("forget", "requests.jsonl", "rows", commitment="hmac-sha256:" + "cd" * 32, rows=37),
        ],
        "basis": {
            "scores": {"start": DIGEST, "unlearned": DIGEST, "reference": DIGEST},
            "tracked": {},
            "rephrased": [],
            "unmeasured": [],
            "model": DIGEST,
        },
        "created": "2026-01-02T04:04:05+00:00",
        "digest": "ef" * 32,
        **changes,
    }


def seen(view: str, share: float, low: float, high: float, lead: float, known: int) -> dict[str, Any]:
    left = {"share": share, "low": low, "high": high, "lead": lead, "bound": 0.12, "control": True, "outcome": "FAIL"}
    left |= {"reason": "above", "noise": 0.234, "correlation": 0.05, "known": known, "half": [], "sure": []}
    return {"view": view, "kind": view, "counts": True, "left": {**left, "rows_needed": 17}}


def given(role: str, name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "name": name, "kind": kind, "sha256": None, "commitment": None, "rows": None, **more}


def unmeasured_record() -> dict[str, Any]:
    """A verdict of which nothing was measured."""
    empty = {measure.key: measure.empty for measure in REGISTERED}
    shown = Findings(**empty).model_dump(mode="json")
    return verdict_record(**shown, verdict="INCONCLUSIVE", checks=[], skipped=[], inputs=[])


def scores_record(role: str, seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    logp, tokens = (-draw.uniform(1, 9, 37)).tolist(), [3 + row % 6 for row in range(37)]
    rows = {
        "names": [str(row) for row in range(1, 38)],
        "answer_logp": logp,
        "answer_tokens": tokens,
        "paraphrase_logp": logp,
        "paraphrase_tokens": tokens,
        "perturbed_logp": [[value - 1, value - 2] for value in logp],
        "perturbed_tokens": [[count, count] for count in tokens],
        "elicited": {"greedy": {"recall": draw.uniform(0, 1, 37).tolist(), "secrets": [[0]] * 37, "whole": [0] * 37}},
    }
    sets = {"forget": rows, "retain": rows, "holdout": rows}
    return {"schema_version": 4, "role": role, "name": role, "sha256": DIGEST, "sets": sets}


def write(folder: Path, name: str, value: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_events(folder: Path, found: list[dict[str, Any]]) -> None:
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in found), encoding="utf-8")


def write_run(folder: Path) -> Path:
    write(folder, "run.json", run_record())
    write(folder, "plan.json", {"schema": 1, "created": "2026-01-02T03:05:06+00:00", "bounds": BOUNDS})
    write(folder, "verdict.json", verdict_record())
    for seed, role in enumerate(("start", "unlearned", "reference")):
        write(folder, f"scores/{role}.json", scores_record(role, seed))
    (folder / "recipe.yaml").write_text("method: npo\nbeta: 0.1\nlora: null\nretain: {ratio: 3.0}\n")
    write_events(folder, events())
    steps = ({"step": n, "loss": 9 / n, "forget_logp_per_token": -n / 5, "learning_rate": 1e-3} for n in range(1, 9))
    (folder / "log.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return folder


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
        self.text += " " if tag in ("td", "th", "dt", "small") else ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


def html(folder: Path) -> Page:
    return Page(render_html(build(folder)))
