"""All scores that a verdict rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...model.scores import REPHRASED, Role, Scores, ScoreSet

Comparison = Literal["model", "scores", "tofu-log", "holdout", "none"]


@dataclass(frozen=True)
class Tracked:
    """Scores of the model in training, after an optimizer step."""

    step: int
    epoch: float
    scores: Scores


EARLIER = "earlier"
"""Name of the set that holds what an earlier run made a model forget."""


@dataclass(frozen=True)
class Earlier:
    """Scores of what an earlier run forgot, in the set EARLIER: of its own model when it was verified, and of the
    model under test now. then.name is the run's id."""

    then: Scores
    now: Scores


@dataclass(frozen=True)
class Collected:
    """Scores by model.

    kind: what the model is compared with. references: the first is the comparison, the others show the noise floor.
    precisions: the same models at other precisions. relearned: after training on other rows of the same subjects.
    rephrased: file names of the sets rephrased-1, rephrased-2 ... tracked: of the model in training, in order; shown,
    and never part of the verdict. earlier: what earlier runs had forgotten.
    """

    unlearned: Scores
    kind: Comparison
    start: Scores | None = None
    references: tuple[Scores, ...] = ()
    precisions: Mapping[str, Mapping[Role, Scores]] = field(default_factory=dict)
    relearned: Mapping[Role, Scores] = field(default_factory=dict)
    rephrased: tuple[str, ...] = ()
    tracked: tuple[Tracked, ...] = ()
    earlier: tuple[Earlier, ...] = ()

    @property
    def reference(self) -> Scores | None:
        """The model that never saw the rows."""
        return self.references[0] if self.references else None

    @property
    def models(self) -> dict[Role, Scores]:
        """The models at full precision, by role."""
        found: dict[Role, Scores | None] = {
            "start": self.start,
            "unlearned": self.unlearned,
            "reference": self.reference,
        }
        return {role: scores for role, scores in found.items() if scores is not None}

    def forget_sets(self) -> Iterator[tuple[str, str]]:
        """Names of the sets that ask for what was to be forgotten, with what is appended to a check's name."""
        yield "forget", ""
        for number, file in enumerate(self.rephrased, 1):
            yield f"{REPHRASED}{number}", f", {file}"


def same_tokens(ours: ScoreSet, theirs: ScoreSet) -> bool:
    """Whether answers have the same lengths: log-probabilities per token of other tokens are not comparable."""
    return ours.answer_tokens == theirs.answer_tokens
