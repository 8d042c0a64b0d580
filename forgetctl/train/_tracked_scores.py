"""What `--track` measures after every epoch: the scores that `verify` will take, but for generated answers."""

from __future__ import annotations

from collections.abc import Callable

from ..model.protocol import Model
from ..model.row_scorer import RowScorer
from ..model.scores import Scores, ScoreSet
from ..rows.pairing import with_perturbed
from ..rows.reading import pick
from .job import Job, Sample


def score_in_training(job: Job, sample: Sample) -> Callable[[Model], Scores]:
    """What scores the model in training on the forget rows and on the check rows of the retain sample."""
    check = pick(sample.rows, sample.pairing.check)
    forget, perturbed = with_perturbed(job.forget, check, job.recipe.verify.distractors)
    sets = {"forget": forget, "retain": check}

    def measure(model: Model) -> Scores:
        scorer = RowScorer(
            model=model,
            encoder=job.encode.encoder,
            encode=lambda rows: job.encode(rows, job.options.forget),
            settings=job.recipe.verify,
            context=job.facts.context,
            seed=job.recipe.seed,
            advance=lambda _: None,
        )
        scored: dict[str, ScoreSet] = {
            name: scorer.scores(rows, tokens=False, truth=name == "forget") for name, rows in sets.items()
        }
        return Scores(role="unlearned", name="in training", perturbed=perturbed, sets=scored)

    return measure
