"""Verdicts from little evidence: strict JSON, never a PASS, and a reason for everything that is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from forgetctl.model.scores import Elicited, Role, Scores, ScoreSet
from forgetctl.verify.collected import Collected
from forgetctl.verify.judge import gather
from tests.verify.handmade import collected
from tests.verify.verdicts import BOUNDS, KL, changed, complete, flat, model, verdict

# A reason for everything that is missing

REASONS = {
    r"forget_quality": ["forget_quality", "truth_ratio"],
    r"models\.\w+\.truth_ratio": ["truth_ratio"],
    r"models\.\w+\.(retain_probability|retain_rouge)": ["retain_probability"],
    r"models\.\w+\.rouge|models\.\w+\.retain_rouge|extraction\..*\.rouge": ["rouge"],
    r"models\.\w+\.model_utility(_geometric)?": ["model_utility"],
    r"models\.\w+\.exact_memorisation": ["exact_memorisation"],
    r"models\.\w+\.fact_tokens(_likely)?": ["fact_tokens"],
    r"models\.\w+\.extraction_strength": ["extraction_strength"],
    r"noise_floor": ["noise_floor"],
    r"recipes": ["recipes"],
    r"secrets(\.\w+_reference|\.p)?": ["secrets", "forget_quality"],
    r"exposure": ["exposure"],
    r"exposure\.secrets\[.*\]\.(reference|lead)": ["exposure.reference"],
    r"exposure\.secrets\[.*\]\.start": ["exposure.start"],
    r"samples": ["sampled_answers"],
    r"samples\.(by_reference|beyond|p)": ["samples.by_reference"],
    r"whole_answers": ["whole_answers"],
    r"response_chance\.worst\.(reference|known)": ["response_chance"],
    r"perplexity": ["perplexity"],
    r"single_rows": ["single_rows"],
    r"gibberish": ["gibberish"],
    r"attacks|attacks\.priv_leak": ["priv_leak", "membership_attacks"],
    r"relearning": ["relearning attack", "relearning"],
    r"curve": ["curve"],
}
"""Paths of verdict.json, and the checks of `skipped` of which one must tell why there is nothing."""
DEFINED = (
    r"attack_prompts|model\.sha256|comparison\.name|forget_quality\.perturbed|\w+\[truth ratio.*\]\.(gap|shift)"
    r"|(distances|control)\[.*\]\.p|kept\[.*\]\.reference|perplexity\.reference|(answers_)?kept\[.*\]\..*rows_needed"
    r"|attacks\.by\[.*\]\.(reference|difference(_lower|_upper)?)"
    r"|subjects\[.*\]\.(share_left|reasons\[.*\]\.view|views\[.*\]\.left\.(share|low|high|rows_needed))"
)
"""What is null by definition, or told by a check of its own."""
BOUND = (
    r"(distances|control|noise_floor)\[.*\]\.shift\.(lower|upper)|relearning\.shift\.(lower|upper)"
    r"|kept\[.*\]\.\w+\.(lower|upper)|perplexity\.\w+\.(lower|upper)|attacks\.by\[.*\]\.(most|noise)"
)
"""Bounds that do not exist for a single row, or for equal ones."""


def unexplained(content: dict[str, Any], *, unbounded: bool = False) -> list[str]:
    told = {item["check"] for item in content["skipped"] if item["reason"].strip()}
    told |= {check["name"] for check in content["checks"] if check["status"] == "skipped"}
    left = []
    for path, value in flat(content).items():
        if value is not None or re.fullmatch(DEFINED, path) or (unbounded and re.fullmatch(BOUND, path)):
            continue
        keys = [path] if path.startswith("kl.") else []
        keys += [key for pattern, some in REASONS.items() if re.fullmatch(pattern, path) for key in some]
        if not told.intersection(keys):
            left.append(path)
    return left


def plain(count: int, logp: float = -2.0, step: float = 0.1, **lists: Any) -> ScoreSet:
    """Answers only, as of a passage."""
    values = [logp - step * row for row in range(count)]
    lists = {"exact_memorisation": [0.5] * count, "extraction_strength": [0.5] * count, **lists}
    return ScoreSet(
        names=[str(row) for row in range(1, count + 1)], answer_logp=values, answer_tokens=[2] * count, **lists
    )


def three(ours: ScoreSet, theirs: ScoreSet, start: ScoreSet | None = None, **more: ScoreSet) -> Collected:
    def scored(role: Role, forget: ScoreSet) -> Scores:
        return Scores(role=role, name=role, sets={"forget": forget, **more})

    started = scored("start", start) if start else None
    return collected(scored("unlearned", ours), "model", started, (scored("reference", theirs),))


def alone(**more: ScoreSet) -> Collected:
    return collected(Scores(role="unlearned", name="m", sets={"forget": plain(12), **more}), "none")


def passages() -> Collected:
    """No prompt to answer: only beginnings were asked with."""
    nothing: dict[str, Any] = {"recall": [None] * 12, "secrets": [[None]] * 12, "whole": [None] * 12}
    begun = {**nothing, "recall": [0.5] * 12, "secrets": [[0]] * 12}
    elicited = {"greedy": Elicited(**nothing), "first tokens": Elicited(**begun), "affirmative": Elicited(**nothing)}
    made = plain(12, elicited=elicited)
    return three(made, made, plain(12, -0.5))


def one_subject() -> Collected:
    subjects = {"subjects": [0] * 12}
    return three(plain(12, **subjects), plain(12, -2.1, **subjects), plain(12, -0.5, **subjects))


def constants() -> Collected:
    def same(logp: float) -> ScoreSet:
        truth = {"paraphrase_logp": [logp] * 12, "paraphrase_tokens": [2] * 12}
        wrong = {"perturbed_logp": [[logp]] * 12, "perturbed_tokens": [[2]] * 12}
        return plain(12, logp, 0, **truth, **wrong)

    return three(same(-2), same(-2), same(-0.5), retain=plain(12, -0.5, 0))


def holdout_only() -> Collected:
    found = three(plain(12), plain(12), plain(12, -0.5), holdout=plain(9, -2.2))
    return replace(found, kind="holdout", references=())


def rephrased() -> Collected:
    found = three(plain(12), plain(12), plain(12, -0.5), **{"rephrased-1": plain(12), "rephrased-2": plain(12, -2.5)})
    return replace(found, rephrased=("a.jsonl", "b.jsonl"))


def wrecked() -> Collected:
    """A model that gives everything next to no probability, and answers nothing."""
    found = complete(12)
    gone = {
        name: rows.model_copy(
            update={
                "answer_logp": [-4000.0] * 12,
                "paraphrase_logp": [-3000.0] * 12,
                "perturbed_logp": [[-2000.0]] * 12,
                "min_k": [-9000.0] * 12,
            }
        )
        for name, rows in found.unlearned.sets.items()
    }
    return replace(found, unlearned=found.unlearned.model_copy(update={"sets": gone}))


SCENARIOS: dict[str, tuple[Callable[[], Collected], bool]] = {
    # whether bounds may be missing
    "everything": (lambda: complete(12), False),
    "alone": (alone, False),
    "retain-only": (lambda: alone(retain=plain(5, -0.5)), False),
    "no-start": (lambda: three(plain(12), plain(12)), False),
    "no-reference": (lambda: replace(complete(12), references=(), kind="none", precisions={}, altered={}), False),
    "passages": (passages, False),
    "one-subject": (one_subject, False),
    "one-row": (lambda: three(plain(1), plain(1, -2.2), plain(1, -0.5), retain=plain(1), holdout=plain(1)), True),
    "one-row-of-everything": (lambda: complete(1), True),
    "two-rows-of-everything": (lambda: complete(2), True),
    "constants": (constants, True),
    "holdout": (holdout_only, False),
    "holdout-and-reference": (lambda: three(plain(12), plain(12), plain(12, -0.5), holdout=plain(9)), False),
    "one-retain-row": (lambda: three(plain(12), plain(12), plain(12, -0.5), retain=plain(1)), True),
    "one-unseen-row": (lambda: three(plain(12), plain(12), plain(12, -0.5), holdout=plain(1)), True),
    "other-tokens": (
        lambda: three(plain(12), plain(12).model_copy(update={"answer_tokens": [3] * 12}), plain(12, -0.5)),
        False,
    ),
    "rephrased": (rephrased, False),
    "wrecked": (wrecked, True),
}


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_no_null_without_a_reason(name: str) -> None:
    make, unbounded = SCENARIOS[name]
    content = verdict(make(), kl=KL if "everything" in name else {}, skipped={"relearning attack": "not asked for"})
    assert unexplained(content, unbounded=unbounded) == []


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_hardly_any_evidence_never_passes(name: str) -> None:
    assert verdict(SCENARIOS[name][0]())["verdict"] != "PASS"


@pytest.mark.parametrize("value", [None, float("inf"), float("nan")])
def test_a_divergence_without_a_value_has_a_reason(value: float | None) -> None:
    content = verdict(complete(12), kl={**KL, "forget_distance": value})
    assert content["kl"]["forget_distance"] is None
    assert unexplained(content) == []


def test_relearned_models_that_cannot_be_compared_have_a_reason() -> None:
    """The attack was asked for and made; nobody said that it was not."""
    found = complete(12)
    other = changed(found.altered["relearned"]["reference"], "forget", answer_tokens=[5] * 12)
    content = verdict(replace(found, altered={"relearned": {**found.altered["relearned"], "reference": other}}))
    assert unexplained(content) == []


def test_priv_leak_of_a_perfect_reference_has_a_reason() -> None:
    found = complete(12)
    base = changed(found.references[0], "forget", min_k=[0.0] * 12)
    content = verdict(replace(found, references=(base, found.references[1])))
    assert content["attacks"]["priv_leak"] is None
    assert unexplained(content) == []


def test_evaluation_logs_have_a_reason_for_what_they_lack() -> None:
    """They hold no token scores, no secrets, and maybe no texts."""

    def log(role: Role, level: float) -> Scores:
        scored = model(role, role, 12, level, 0)
        kept = {"answer_logp", "answer_tokens", "paraphrase_logp", "paraphrase_tokens", "perturbed_logp"}
        sets = {
            name: ScoreSet(
                names=rows.names,
                perturbed_tokens=rows.perturbed_tokens,
                elicited={"greedy": Elicited(recall=[0.5] * 12)},
                **{field: getattr(rows, field) for field in kept},
            )
            for name, rows in scored.sets.items()
            if name in ("forget", "retain", "real_authors", "world_facts")
        }
        return Scores(role=role, name=f"{role}.json", perturbed="request", sets=sets)

    found = collected(log("unlearned", -3), "tofu-log", log("start", -0.3), (log("reference", -3),))
    content = verdict(found, kl={}, skipped={"relearning attack": "not asked for"})
    assert unexplained(content) == []


def test_nothing_is_gathered_that_was_not_measured() -> None:
    found = gather(alone(), BOUNDS)
    assert {key for key, value in found if value} == {
        *("comparison", "subjects", "models", "kl", "extraction", "response_chance")
    }
    assert [(one.verdict, one.views) for one in found.subjects] == [("INCONCLUSIVE", ())]
    assert (found.comparison.by, list(found.models)) == (None, ["unlearned"])
    assert found.extraction == {"unlearned": {}}
    assert set(dict(found.kl).values()) == {None}
    assert gather(holdout_only(), BOUNDS).comparison.by == "holdout"
    assert gather(passages(), BOUNDS).comparison.by == "reference"
