"""Scores made by hand: one token an answer, so that a log-probability is the score per token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forgetctl.model.scores import Elicited, Role, Scores, ScoreSet
from forgetctl.verify.collected import Collected, Kind


def rows(logp: Sequence[float], **lists: Any) -> ScoreSet:
    """A set with these log-probabilities; truth: the truth ratios it has, with one wrong answer a row."""
    count = len(logp)
    if "truth" in lists:
        ratios = lists.pop("truth")  # exp(wrong - right) with right = -1, given as log R
        lists |= {"paraphrase_logp": [-1.0] * count, "paraphrase_tokens": [1] * count}
        lists |= {"perturbed_logp": [[ratio - 1.0] for ratio in ratios], "perturbed_tokens": [[1]] * count}
    values = {"names": [str(row) for row in range(1, count + 1)], "answer_tokens": [1] * count, **lists}
    return ScoreSet(answer_logp=list(logp), **values)


def said(count: int = 0, **lists: Any) -> Elicited:
    """Answers to `count` rows, or to as many as the lists have; without recall it is 0."""
    count = count or len(next(iter(lists.values())))
    return Elicited(**{"recall": [0.0] * count, **lists})


def asked(**modes: Elicited) -> ScoreSet:
    """Rows of which only the answers matter; first_tokens stands for "first tokens"."""
    count = len(next(iter(modes.values())).recall)
    return rows([-1.0] * count, elicited={name.replace("_", " "): mode for name, mode in modes.items()})


def model(role: Role, forget: ScoreSet, **sets: ScoreSet) -> Scores:
    """Scores of a model; rephrased_1 stands for "rephrased-1"."""
    named = {name.replace("rephrased_", "rephrased-"): found for name, found in sets.items()}
    return Scores(role=role, name=role, perturbed="request", sets={"forget": forget, **named})


def collected(
    unlearned: Scores,
    kind: Kind,
    start: Scores | None = None,
    references: tuple[Scores, ...] = (),
    **more: Any,
) -> Collected:
    """Scores by model, in the order in which they are told most often."""
    return Collected(unlearned=unlearned, kind=kind, start=start, references=references, **more)


def against(ours: ScoreSet, theirs: ScoreSet | None, **more: Any) -> Collected:
    """A model and, if there is one, its reference."""
    references = (model("reference", theirs),) if theirs is not None else ()
    return collected(model("unlearned", ours), "model" if references else "none", references=references, **more)
