"""The study as one page that needs nothing else: figures, tables, and what the models answer.

TOFU is a public data set about people who do not exist. That is why text of rows may be shown here; the pages about
an owner's requests never do.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from .._outcome import Outcome
from ._figures import by_split
from ._summary import Summary
from ._table import REFERENCE, START

CAPTIONS = {
    "tofu-quality-utility": "Forget quality against model utility at the end of each run (Figs. 2, 5 and 9 of the "
    "paper). Best is beside the star, the reference, right and above. Dashed: p = 0.05. p-values below 1e-30 are drawn "
    "at the edge.",
    "tofu-epochs": "Forget quality and utility over the epochs (Fig. 6).",
    "tofu-forget-kl": "Divergence on the answers of the forget rows over the epochs (Fig. 8): from the start model, "
    "and from the reference, where 0 is what is wanted.",
    "tofu-retain-weight": "The weight of the retain term.",
}
COLUMNS = {
    "forget quality": "forget_quality", "D": "D", "utility": "utility", "without ROUGE": "utility_without_rouge",
    "KL(reference || model)": "kl_reference", "KL(start || model)": "kl_start",
    "forget probability": "forget_probability", "forget ROUGE": "forget_rouge", "forget truth ratio": "forget_truth",
    "retain probability": "retain_probability", "retain ROUGE": "retain_rouge",
}  # fmt: skip


def write_page(outcome: Outcome, out: Path) -> Path:
    """Write tofu.html beside the figures, which must be there; the file."""
    summaries: Sequence[Summary] = outcome.data["summary"]
    environment = Environment(
        loader=PackageLoader("forgetctl", "studies/tofu"), undefined=StrictUndefined, autoescape=True, trim_blocks=True
    )
    page = environment.get_template("page.html.j2").render(
        figures={stem: _figure(stem, out) for stem in outcome.figures},
        columns=["method", "retain weight", "seeds", "epochs", *COLUMNS, "best quality", "at epoch"],
        splits={split: [_row(one) for one in own] for split, own in by_split(summaries).items()},
        questions=_questions(outcome.data["answers"]),
        settings=json.dumps(outcome.data["inputs"], indent=1),
    )
    path = out / "tofu.html"
    path.write_text(page, encoding="utf-8")
    return path


def _figure(stem: str, out: Path) -> dict[str, str]:
    data = base64.b64encode((out / f"{stem}.svg").read_bytes()).decode()
    return {"data": data, "alt": CAPTIONS[stem].split(" (")[0], "caption": CAPTIONS[stem]}


def _row(one: Summary) -> list[str]:
    ends = one["method"] in (START, REFERENCE)
    seeds = str(len(one["seeds"])) + (f", {one['diverged']} diverged" if one["diverged"] else "")
    head = [one["method"], "" if ends else f"{one['retain_weight']:g}", "" if ends else seeds]
    final, best = one["final"], one["best"]
    if final is None:
        return [*head, *[""] * (len(COLUMNS) + 3)]
    cells = [_cell(final[name]) for name in COLUMNS.values()]
    return [*head, "" if ends else f"{final['epoch']:g}", *cells, *_best(best, ends=ends)]


def _best(best: Summary, *, ends: bool) -> list[str]:
    return ["", ""] if ends else [_cell(best["forget_quality"]), f"{best['epoch']:g}"]


def _cell(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}"


def _questions(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each split and set the question, and what each model answers; of a run that was repeated the last."""
    shown = [one for one in answers if one["seed"] in (0, 1)]
    questions: dict[tuple[str, str], dict[str, Any]] = {}
    for one in shown:
        for name, answer in one["answers"].items():
            place = questions.setdefault(
                (one["split"], name),
                {"split": one["split"], "set": name.replace("_", " "), "answers": {}, **answer},
            )
            weight = "" if one["method"] in (START, REFERENCE) else f", weight {one['retain_weight']:g}"
            place["answers"][one["method"] + weight] = answer["answer"]
    return [{**place, "answers": sorted(place["answers"].items())} for _, place in sorted(questions.items())]
