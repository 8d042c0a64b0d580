"""A complete verification made by hand, of a model exactly like its reference, and the verdicts on changes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from forgetctl.model.scores import Elicited, Exposure, FactTokens, Role, Scores, ScoreSet, Standing, Wording
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.collected import Collected
from forgetctl.verify.judge import conclude
from forgetctl.verify.record import Conclusion

BOUNDS = Bounds()
COUNT = 400
"""Rows of every set: so many that a mean which did not change surely did not fall."""
KL = {"forget_distance": 0.01, "retain_distance": 0.02, "forget_from_start": 2.0}


def rows(
    level: float, seed: int, count: int, *, own: str = "", lead: float = 0.0, modes: Sequence[str] = (), **more: Any
) -> ScoreSet:
    """Rows whose answers get about `level` nats a token; `lead` is how much likelier the truth is than a wrong one.

    seed: the same rows have the same one, so that models differ only by what is changed on purpose. own: of a model,
    whose scores differ by a hundredth of a nat from those of another one.
    """
    random, noise = np.random.default_rng(seed), np.random.default_rng([seed, *own.encode()])
    scale = 0.05 if level > -1 else 0.7
    values = np.minimum(random.normal(level, scale, count) + noise.normal(0, 0.01, count), -0.01)
    wrong = random.normal(-3, 1, count)
    right = wrong + lead + random.normal(0, 0.7, count) + noise.normal(0, 0.01, count)
    right, wrong = right - 2, wrong - 2
    sampled = {"sampled": Elicited(answers=4, leaked=[0] * count, **answers(count))} if "sampled" in modes else {}
    lists: dict[str, Any] = {
        "subjects": [row // 2 for row in range(count)],
        "copies": list(range(count)),
        "paraphrase_logp": right.tolist(),
        "paraphrase_tokens": [1] * count,
        "own_paraphrases": 0,
        "perturbed_logp": [[value] for value in wrong.tolist()],
        "perturbed_tokens": [[1]] * count,
        "min_k": (values - 1).tolist(),
        "min_k_plus_plus": (values / 2).tolist(),
        "exact_memorisation": [0.5] * count,
        "facts": FactTokens(pairs=900, different=300, tokens=3, first_choices=[0.3] * count, likely=0.31),
        "extraction_strength": [0.1] * count,
        "elicited": {mode: Elicited(**answers(count)) for mode in modes if mode != "sampled"} | sampled,
    }
    logp, tokens = (4 * values).tolist(), [4] * count
    return ScoreSet(
        names=[str(row) for row in range(1, count + 1)], answer_logp=logp, answer_tokens=tokens, **{**lists, **more}
    )


def answers(count: int) -> dict[str, Any]:
    """Nothing leaks; the first row names a secret."""
    return {
        "recall": [0.8] * count,
        "secrets": [[0], *[[]] * (count - 1)],
        "whole": [0] * count,
        "verbatim": [0] * count,
        "by_words": [True] * count,
        "traits": {"gibberish": [False] * count},
    }


def exposed(role: Role, name: str, count: int) -> Exposure:
    """The first row's secret, which the start model alone makes likelier than other strings of its form."""
    others = np.random.default_rng(8).normal(size=99) + np.random.default_rng([8, *name.encode()]).normal(0, 0.1, 99)
    standing = Standing(secret=8.0 if role == "start" else 0.3, others=others.tolist())
    return Exposure(version=1, strings=99, left_out=0, rows=[[standing], *[[]] * (count - 1)])


ALL_MODES = ("greedy", "first tokens", "affirmative", "sampled")


def model(role: Role, name: str, count: int, level: float, lead: float, **more: Any) -> Scores:
    sets = {
        "forget": rows(
            level,
            1,
            count,
            own=name,
            lead=lead,
            modes=ALL_MODES if role != "start" else ("greedy",),
            exposure=exposed(role, name, count),
            **more,
        ),
        "retain": rows(-0.2, 2, count, own=name, lead=2, modes=["greedy"], **more),
        "holdout": rows(-3, 3, count, own=name, **more),
        "real_authors": rows(-1.5, 4, count, own=name, lead=1, modes=["greedy"], **more),
        "world_facts": rows(-1.5, 5, count, own=name, lead=1, modes=["greedy"], **more),
    }
    if role != "start":
        sets["rephrased-1"] = rows(level, 6, count, own=name, lead=lead, modes=["greedy"], **more)
    asked = ("greedy",) if role != "start" else ()
    again = rows(level, 7, count, own=name, lead=lead, modes=asked, **more)
    sets["attack-1"] = again.model_copy(update={"wording": worded(count)})
    return Scores(role=role, name=name, sha256="ab", perturbed="request", sets=sets)


def worded(count: int) -> Wording:
    """Every row asked again after a dialogue."""
    return Wording(version=1, templates={"dialogue": count})


@cache
def complete(count: int = COUNT) -> Collected:
    """A model that is exactly like the reference, with everything measured that can be."""
    reference, second = (model("reference", name, count, -3, 0) for name in ("reference", "second"))
    unlearned, start = model("unlearned", "m", count, -3, 0), model("start", "start", count, -0.3, 3)
    at: dict[Role, Scores] = {"start": start, "unlearned": unlearned, "reference": reference}
    relearned: dict[Role, Scores] = {"unlearned": unlearned, "reference": reference}
    return Collected(
        unlearned=unlearned,
        kind="model",
        start=start,
        references=(reference, second),
        precisions={"nf4": at},
        altered={"relearned": relearned},
        rephrased=("a.jsonl",),
        kl=KL,
    )


def verdict(collected: Collected, **more: Any) -> dict[str, Any]:
    """The content of verdict.json but for its basis, after a round trip through strict JSON."""
    content = conclude(replace(collected, **more), BOUNDS).content()
    shown: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    assert shown == json.loads(json.dumps(content))
    assert Conclusion.model_validate(shown).content() == shown
    return shown


def changed(scores: Scores, name: str, **lists: Any) -> Scores:
    return scores.model_copy(update={"sets": {**scores.sets, name: scores.sets[name].model_copy(update=lists)}})


def moved(scores: Scores, name: str, nats: float, which: slice = slice(None)) -> Scores:
    """Answers so many nats a token likelier."""
    values = np.asarray(scores.sets[name].answer_logp)
    values[which] = np.minimum(values[which] + 4 * nats, -0.01)
    return changed(scores, name, answer_logp=values.tolist())


def answering(scores: Scores, name: str, mode: str, **lists: Any) -> Scores:
    elicited = scores.sets[name].elicited
    return changed(scores, name, elicited={**elicited, mode: elicited[mode].model_copy(update=lists)})


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Values by path; items of lists by their name, where they have one."""
    if isinstance(value, dict):
        return {key: item for name, inner in value.items() for key, item in flat(inner, f"{path}.{name}").items()}
    if isinstance(value, list):
        named = [(inner.get("name", place) if isinstance(inner, dict) else place) for place, inner in enumerate(value)]
        pairs = zip(named, value, strict=True)
        return {key: item for name, inner in pairs for key, item in flat(inner, f"{path}[{name}]").items()}
    return {path.removeprefix("."): value}
