"""How long TOFU's evaluation takes, and in how much memory, beside the textbook's: `python -m tests.bench.evaluation`.

tofu-mini on TOFU's four sets, with the start model, whose answers end by themselves, and with the same model kept from
ending them, as unlearning may leave one: then every answer has 200 tokens. Both sides run in fresh processes, in turns;
their numbers must agree before a ratio is shown. JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from forgetctl.model.encoding import Encoder
from forgetctl.model.hardware import peak_memory
from forgetctl.model.load import load_model, load_tokenizer
from forgetctl.model.metrics import truth_ratio
from forgetctl.model.scores import GREEDY, ScoreSet
from forgetctl.progress import Silent
from forgetctl.recipe.recipe import load_recipe
from forgetctl.rows.formats import Fields
from forgetctl.rows.reading import read_rows
from forgetctl.verify.measuring import RowSets, Scorer

from . import textbook, textbook_evaluation
from .shapes import SHARED
from .textbook_evaluation import Measures

CPU = torch.device("cpu")
FILES = {
    name: SHARED / "tofu" / f"{file}_perturbed.json"
    for name, file in {
        "forget": "forget05",
        "retain": "retain",
        "real_authors": "real_authors",
        "world_facts": "world_facts",
    }.items()
}
TOLERANCE = 1e-4
TIED_ANSWERS = 0.01
"""Share of answers that may differ: where two tokens are all but equally likely, rounding decides."""


def read_sets() -> RowSets:
    """TOFU's four sets, with what truth ratios need."""
    rows = {name: read_rows(path, Fields()) for name, path in FILES.items()}
    return RowSets(rows=rows, files=FILES, perturbed="request")


def run_forgetctl(model: Path, sets: RowSets) -> dict[str, Measures]:
    """What `verify` measures of a start model: the peers' metrics and no more."""
    scorer = Scorer(sets=sets, recipe=load_recipe(method="npo-rt"), device=CPU, progress=Silent())
    return {name: _measures(scored) for name, scored in scorer.start(model).sets.items()}


def _measures(scored: ScoreSet) -> Measures:
    assert scored.paraphrase_logp is not None
    assert scored.paraphrase_tokens is not None
    assert scored.perturbed_logp is not None
    assert scored.perturbed_tokens is not None
    ratios = truth_ratio(
        scored.paraphrase_logp, scored.paraphrase_tokens, scored.perturbed_logp, scored.perturbed_tokens
    ).tolist()
    recall = [value for value in scored.elicited[GREEDY].recall if value is not None]
    measures = {"probability": scored.probabilities.tolist(), "truth_ratio": ratios, "rouge": recall}
    for name in ("exact_memorisation", "extraction_strength"):
        measures |= {name: values} if (values := getattr(scored, name)) is not None else {}
    return measures


def run_textbook(model: Path, sets: RowSets) -> dict[str, Measures]:
    """The same from the textbook."""
    loaded = textbook.load(model)
    encoder = Encoder(load_tokenizer(model), load_recipe(method="npo-rt").prompt_format)
    return {
        name: textbook_evaluation.evaluate(loaded, encoder, rows, memorisation=name == "forget")
        for name, rows in sets.rows.items()
    }


def one_side(side: str, model: Path) -> dict[str, Any]:
    """One evaluation in this process, from reading the rows on."""
    before, begin = peak_memory(CPU), time.perf_counter()
    measures = {"forgetctl": run_forgetctl, "textbook": run_textbook}[side](model, read_sets())
    return {
        "seconds": time.perf_counter() - begin,
        "peak_beyond_imports_mib": (peak_memory(CPU) - before) / 2**20,
        "measures": measures,
    }


def check_agreement(ours: dict[str, Measures], theirs: dict[str, Measures]) -> dict[str, Any]:
    """The largest difference and the number of answers that differ. Raises ValueError where the sides disagree."""
    if {name: set(found) for name, found in ours.items()} != {name: set(found) for name, found in theirs.items()}:
        raise ValueError("the two sides measure different things")
    differences = {
        (name, metric): np.abs(np.array(values) - np.array(theirs[name][metric]))
        for name, found in ours.items()
        for metric, values in found.items()
    }
    answers = np.concatenate([found for (_, metric), found in differences.items() if metric == "rouge"])
    largest = max(float(found.max()) for (_, metric), found in differences.items() if metric != "rouge")
    differing = int((answers > TOLERANCE).sum())
    if largest > TOLERANCE or differing > TIED_ANSWERS * len(answers):
        raise ValueError(f"the two sides disagree: by up to {largest}, and on {differing} of {len(answers)} answers")
    return {"largest_difference": largest, "answers": len(answers), "differing_answers": differing}


def compare(model: Path, repetitions: int) -> dict[str, Any]:
    """Both sides in turns; medians, once they agree."""
    results: dict[str, list[dict[str, Any]]] = {"textbook": [], "forgetctl": []}
    for _ in range(repetitions):
        for side, found in results.items():
            command = [sys.executable, "-m", "tests.bench.evaluation", "--side", side, "--model", str(model)]
            found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    agreement = check_agreement(results["forgetctl"][-1]["measures"], results["textbook"][-1]["measures"])
    medians = {
        side: {key: round(median(one[key] for one in found), 2) for key in ("seconds", "peak_beyond_imports_mib")}
        for side, found in results.items()
    }
    ratios = {key: round(value / medians["textbook"][key], 3) for key, value in medians["forgetctl"].items()}
    seconds = {side: [round(one["seconds"], 2) for one in found] for side, found in results.items()}
    return {**medians, "forgetctl_to_textbook": ratios, "agreement": agreement, "all_seconds": seconds}


def kept_from_ending(source: Path, target: Path) -> Path:
    """The model at `source` with no preference for any end of turn, so that it goes on and on."""
    model, tokenizer = load_model(source, CPU, torch.float32), load_tokenizer(source)
    stops = Encoder(tokenizer, "{prompt}").stop_ids
    with torch.no_grad():
        model.get_output_embeddings().weight[stops] = 0
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


def measure(repetitions: int = 1, only: str | None = None) -> dict[str, Any]:
    """Both models, or one of them: answers that end by themselves, and answers that never do."""
    start = SHARED / "tofu-mini" / "full"
    with tempfile.TemporaryDirectory() as folder:
        models = {"answers end": start, "answers never end": kept_from_ending(start, Path(folder, "model"))}
        return {name: compare(model, repetitions) for name, model in models.items() if only in (None, name)}


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", choices=["answers end", "answers never end"])
    parser.add_argument("--side", choices=["forgetctl", "textbook"], help="run this side once, in this process")
    parser.add_argument("--model", type=Path)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(one_side(chosen.side, chosen.model)))
        return
    print(json.dumps(measure(chosen.repetitions, chosen.only), indent=1))


if __name__ == "__main__":
    main()
