"""The relearning attack on a model: train it on half of the forget rows, score it on the other half.

Hu et al. 2024 (arXiv 2406.13356). Imports torch, which a report does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...files.writing import model_digest
from ...model.generation import seeded
from ...model.protocol import Model
from ...model.scores import Role, Scores, ScoreSet
from ...model.scoring import score
from ...model.windows import row_sums
from ...recipe.recipe import Recipe
from ...rows.row import Key, Row
from ...train.fine_tuning import fine_tune, fine_tuning, unplanned
from ...train.plan import training_precision
from ...train.trainer import put_together, with_adapters
from ..measuring import Scorer


def relearned(scorer: Scorer, role: Role, path: Path, known: ScoreSet) -> Scores:
    """Scores of each half of the forget rows after an epoch of training on the other half.

    The halves share subjects but no row, so what is measured is what comes back by itself. known: the model's scores of
    the same rows before.
    """
    rows, halves = scorer.sets.forget, split_halves(scorer.sets.forget)
    logp: dict[int, float] = {}
    for taught, tested in (halves, halves[::-1]):
        scored = _taught(scorer, role, path, [rows[index] for index in taught], [rows[index] for index in tested])
        logp.update(zip(tested, scored, strict=True))
    after = ScoreSet(
        names=known.names,
        answer_logp=[logp[index] for index in range(len(rows))],
        answer_tokens=known.answer_tokens,
        subjects=known.subjects,
        copies=known.copies,
        conversations=known.conversations,
    )
    return Scores(role=role, name=path.name, sha256=model_digest(path), sets={"forget": after})


def _taught(scorer: Scorer, role: Role, path: Path, to_learn: Sequence[Row], tested: Sequence[Row]) -> list[float]:
    """Answer scores of some rows after an epoch on others; the model on disk stays as it is."""
    recipe, ranks, attack = scorer.recipe, scorer.ranks, _attack(scorer)
    with ranks.agreed():
        loaded = scorer.load_for_training(path)
        taught, encoded = loaded.encode("forget", to_learn), loaded.encode("forget", tested)
    precision, _ = training_precision(attack, loaded.facts, scorer.device)
    plan = replace(unplanned(attack), precision=precision)
    steps = -(-len(taught) // attack.batch_size)
    with seeded(scorer.device, attack.seed), scorer.progress.bar(f"Teaching the {role} model again", steps) as bar:
        model = with_adapters(loaded.model, recipe)
        weights = fine_tune(model, taught, attack, plan=plan, advance=bar.advance, ranks=ranks)

    def again() -> Model:
        return with_adapters(scorer.load_for_training(path).model, recipe)

    return ranks.from_first(lambda: row_sums(encoded, score(put_together(model, weights, again), encoded)))


def _attack(scorer: Scorer) -> Recipe:
    """Plain fine-tuning on what is taught again, with the run's own rate unless it has another for this."""
    recipe = scorer.recipe
    return fine_tuning(
        epochs=1,
        learning_rate=recipe.verify.relearn_learning_rate or recipe.learning_rate,
        seed=recipe.seed,
        micro_batch_size=recipe.micro_batch_size,
        precision=recipe.precision,
        weights="float32",  # small steps would be rounded away in half precision
        # The run's, since its model may fit with no other; but FSDP has none with 8-bit moments.
        optimizer="adamw" if scorer.ranks.sharded else recipe.optimizer,
        lora={**recipe.lora.model_dump(), "quantisation": "none"} if recipe.lora else None,
    )


def split_halves(rows: Sequence[Row]) -> tuple[list[int], list[int]]:
    """Positions of two halves of the rows: each subject's rows alternate, identical rows stay together."""
    halves: tuple[list[int], list[int]] = ([], [])
    side: dict[Key, int] = {}
    next_half: dict[str | None, int] = {}  # a new subject begins on the emptier side
    for index, row in enumerate(rows):
        if row.key not in side:
            following = next_half.setdefault(row.subject_id, int(len(halves[1]) < len(halves[0])))
            side[row.key], next_half[row.subject_id] = following % 2, following + 1
        halves[side[row.key]].append(index)
    return halves
