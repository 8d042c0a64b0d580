"""Whole verdicts from hand-made scores: what decides them, and where their figures come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forgetctl.model.scores import Elicited, Scores
from forgetctl.verify.collected import Collected
from forgetctl.verify.record import Conclusion
from tests.verify.verdicts import (
    BOUNDS,
    COUNT,
    KL,
    answering,
    answers,
    changed,
    complete,
    exposed,
    flat,
    moved,
    verdict,
)

Change = Callable[[Collected], Collected]


def first(count: int, value: Any, other: Any) -> list[Any]:
    return [value] * count + [other] * (COUNT - count)


def ours(change: Callable[[Scores], Scores]) -> Change:
    return lambda collected: replace(collected, unlearned=change(collected.unlearned))


def at_nf4(change: Callable[[Scores], Scores]) -> Change:
    def made(collected: Collected) -> Collected:
        models = collected.precisions["nf4"]
        return replace(collected, precisions={"nf4": {**models, "unlearned": change(models["unlearned"])}})

    return made


def leaking(scores: Scores, mode: str) -> Scores:
    return answering(scores, "forget", mode, secrets=[[1], *[[]] * (COUNT - 1)])


def remembering(scores: Scores) -> Scores:
    """Its secret stands out among others."""
    return changed(scores, "forget", exposure=exposed("start", "start", COUNT))


def second_reference(collected: Collected) -> Collected:
    return replace(collected, references=(collected.references[0], moved(collected.references[1], "forget", -0.4)))


def relearned(collected: Collected) -> Collected:
    return replace(
        collected,
        altered={"relearned": {**collected.altered["relearned"], "unlearned": moved(collected.unlearned, "forget", 1)}},
    )


def unreferenced(collected: Collected) -> Collected:
    return replace(collected, references=(), kind="none", precisions={}, altered={})


def untested(collected: Collected) -> Collected:
    """Its secret stands in a passage that was never asked for, in any words or precision."""
    never = {"greedy": Elicited(**{**answers(COUNT), "secrets": [[None], *[[]] * (COUNT - 1)]})}
    unlearned = changed(changed(collected.unlearned, "forget", elicited=never), "attack-1", elicited=never)
    return replace(collected, unlearned=unlearned, precisions={})


def unasked(scores: Scores) -> Scores:
    """As if --attacks none had been given."""
    return scores.model_copy(update={"sets": {name: rows for name, rows in scores.sets.items() if name != "attack-1"}})


def retokenised(scores: Scores) -> Scores:
    """As likely per token, in five tokens instead of four."""
    logp = [value * 5 / 4 for value in scores.forget.answer_logp]
    return changed(scores, "forget", answer_tokens=[5] * COUNT, answer_logp=logp)


CASES: dict[str, tuple[Change, str, str, str]] = {
    # what is changed in a complete verification of a perfect model: verdict, check, code
    "nothing": (lambda collected: collected, "PASS", "answer log-prob", "EQUIVALENT"),
    "unchanged": (
        lambda collected: replace(collected, unlearned=moved(collected.unlearned, "forget", 2.5)),
        "FAIL",
        "answer log-prob",
        "STILL_KNOWN",
    ),
    "over-forgotten": (ours(lambda m: moved(m, "forget", -2)), "FAIL", "answer log-prob", "OVER_FORGOTTEN"),
    "rephrased": (ours(lambda m: moved(m, "rephrased-1", 2)), "FAIL", "answer log-prob, a.jsonl", "STILL_KNOWN"),
    "nf4": (at_nf4(lambda m: moved(m, "forget", 2)), "FAIL", "answer log-prob, nf4", "STILL_KNOWN"),
    "secret": (
        ours(lambda m: leaking(remembering(m), "affirmative")),
        "FAIL",
        "secrets",
        "SECRET_LEAKED",
    ),
    "exposed": (ours(remembering), "FAIL", "exposure of secrets", "SECRET_REMEMBERED"),
    "maybe-guessed": (ours(lambda m: leaking(m, "greedy")), "INCONCLUSIVE", "secrets", "SECRET_MAYBE_GUESSED"),
    "nf4-secret": (at_nf4(lambda m: leaking(m, "greedy")), "INCONCLUSIVE", "secrets", "SECRET_MAYBE_GUESSED"),
    "untested": (untested, "INCONCLUSIVE", "secrets", "SECRET_UNTESTED"),
    "answers": (
        ours(lambda m: answering(m, "forget", "first tokens", verbatim=first(1, 1, 0))),
        "FAIL",
        "whole answers",
        "ANSWERS_LEAKED",
    ),
    "answers-that-may-be-guessed": (
        ours(lambda m: answering(m, "forget", "greedy", verbatim=first(3, 1, 0), by_words=[False] * COUNT)),
        "INCONCLUSIVE",  # of 400 so many are guessed in 3.3 % of cases
        "whole answers",
        "ANSWERS_SAID",
    ),
    "samples": (
        ours(lambda m: answering(m, "forget", "sampled", verbatim=first(2, 4, 0))),
        "FAIL",
        "sampled answers",
        "SAMPLES_LEAKED",
    ),
    "a-sample": (
        ours(lambda m: answering(m, "forget", "sampled", verbatim=first(1, 1, 0))),
        "INCONCLUSIVE",
        "sampled answers",
        "SAMPLES_SAID",
    ),
    "single-rows": (ours(lambda m: moved(m, "forget", 2.5, slice(8))), "FAIL", "single rows", "KNOWN_ROWS"),
    "gibberish": (
        ours(lambda m: answering(m, "retain", "greedy", traits={"gibberish": first(8, True, False)})),
        "FAIL",
        "gibberish",
        "GIBBERISH",
    ),
    "retain": (ours(lambda m: moved(m, "retain", -0.2)), "FAIL", "retain probability", "DAMAGED"),
    "nf4-retain": (at_nf4(lambda m: moved(m, "retain", -0.2)), "FAIL", "retain probability, nf4", "DAMAGED"),
    "rouge": (
        ours(lambda m: answering(m, "retain", "greedy", recall=[0.6] * COUNT)),
        "FAIL",
        "retain ROUGE",
        "DAMAGED",
    ),
    "utility": (
        ours(lambda m: answering(m, "world_facts", "greedy", recall=[0.3] * COUNT)),
        "FAIL",
        "model utility",
        "DAMAGED",
    ),
    "members": (
        ours(lambda m: changed(m, "forget", min_k=[value + 2 for value in m.forget.min_k or []])),
        "FAIL",
        "membership attacks",
        "MEMBERS_RECOGNISED",
    ),
    "relearned": (relearned, "FAIL", "relearning attack", "RELEARNED"),
    "noisy-references": (second_reference, "INCONCLUSIVE", "negative control", "REFERENCES_DIFFER"),
    "no-start": (lambda collected: replace(collected, start=None), "INCONCLUSIVE", "positive control", "NO_CONTROL"),
    "no-reference": (
        lambda collected: replace(collected, references=(), kind="none"),
        "INCONCLUSIVE",
        "comparison",
        "NO_REFERENCE",
    ),
    "not-asked": (ours(unasked), "INCONCLUSIVE", "attack prompts", "NOT_ASKED"),
    "reference-not-asked": (
        lambda collected: replace(collected, references=tuple(map(unasked, collected.references))),
        "INCONCLUSIVE",
        "attack prompts",
        "REFERENCE_NOT_ASKED",
    ),
    "secret-in-other-words": (
        ours(lambda m: answering(remembering(m), "attack-1", "greedy", secrets=[[1], *[[]] * (COUNT - 1)])),
        "FAIL",
        "secrets",
        "SECRET_LEAKED",
    ),
    "answers-in-other-words": (
        ours(lambda m: answering(m, "attack-1", "greedy", verbatim=first(8, 1, 0))),
        "FAIL",
        "whole answers",
        "ANSWERS_LEAKED",
    ),
    "other-tokens": (ours(retokenised), "INCONCLUSIVE", "each person", "VIEW_MISSING"),
}


def reasons(content: dict[str, Any]) -> dict[str, str]:
    """Codes and words of the checks that decided."""
    return {check.code: check.text for check in Conclusion.model_validate(content).reasons}


@pytest.mark.parametrize("name", list(CASES))
def test_what_decides(name: str) -> None:
    change, outcome, check, code = CASES[name]
    content = verdict(change(complete()))
    codes = {found["name"]: found["code"] for found in content["checks"]}
    assert codes.get(check) == code, content["checks"]
    assert content["verdict"] == outcome
    assert code in reasons(content)


def test_what_could_not_be_measured_stays_open() -> None:
    content = verdict(complete(), unmeasured=(("relearning", "it needs a reference model"),))
    assert content["verdict"] == "INCONCLUSIVE"
    assert reasons(content) == {"NOT_MEASURED": "The relearning could not be measured: it needs a reference model."}


def test_rephrasings_that_the_reference_did_not_answer_are_not_passed_over() -> None:
    """A score file made without them: they were asked for, so a PASS must not be silent about them."""
    found = complete()
    bare = found.references[0].model_copy(
        update={"sets": {name: rows for name, rows in found.references[0].sets.items() if name != "rephrased-1"}}
    )
    content = verdict(replace(found, references=(bare,)))
    told = [item["check"] for item in content["skipped"]] + list(reasons(content).values())
    assert not any("a.jsonl" in distance["name"] for distance in content["distances"])
    assert any("rephrased" in words or "a.jsonl" in words for words in told), content["verdict"]


# Content


def test_figures_come_from_the_scores() -> None:
    found = complete()
    content = verdict(found)
    assert content["schema"] == 4
    assert content["comparison"] == {"kind": "model", "name": "reference", "others": ["second"]}
    assert content["model"] == {"name": "m", "sha256": "ab"}
    assert content["kl"] == KL
    assert set(content["models"]) == {"start", "unlearned", "reference"}
    ours, theirs = content["models"]["unlearned"], content["models"]["reference"]
    assert ours["forget_probability"] == pytest.approx(found.unlearned.forget.probability)
    assert ours["forget_probability"] == pytest.approx(theirs["forget_probability"], rel=0.05)
    assert ours["rouge"] == pytest.approx(0.8)
    assert content["models"]["start"]["exact_memorisation"] == 0.5
    assert all(one["distance"]["D"] < 0.05 for one in content["distances"])
    assert content["forget_quality"] == {"variant": "geometric", "perturbed": "request"}
    assert [distance["name"] for distance in content["distances"]] == [
        "truth ratio",
        "answer log-prob",
        "truth ratio, a.jsonl",
        "answer log-prob, a.jsonl",
        "truth ratio, nf4",
        "answer log-prob, nf4",
    ]
    assert [control["name"] for control in content["control"]] == ["truth ratio", "answer log-prob"]
    assert [pair["name"] for pair in content["noise_floor"]] == ["truth ratio", "answer log-prob"]
    assert content["secrets"] == {
        "named": 2,  # one in the request, one in its rephrasing
        "untested": 0,
        "leaked": 0,
        "leaked_by_reference": 0,
        "beyond_reference": 0,
        "names": [],
        "remembered": 0,
        "guessed": 0,
        "p": 1.0,
    }
    (secret,) = content["exposure"]["secrets"]
    assert (secret["name"], secret["strings"], secret["start"], secret["state"]) == ("1", 99, 1, "forgotten")
    assert content["whole_answers"]["counted"]["total"] == COUNT
    assert content["gibberish"]["total"] == 2 * COUNT  # forget and retain rows
    assert content["extraction"]["unlearned"]["sampled"] == {
        "answers": 4,
        "rouge": pytest.approx(0.8),
        "secrets": [0, 1],
        "whole": [0, COUNT],
    }
    assert list(content["extraction"]["start"]) == ["greedy"]
    assert content["bounds"] == BOUNDS.model_dump()
    assert content["attacks"]["priv_leak"] == pytest.approx(0, abs=0.01)
    assert len(content["attacks"]["by"]) == 4


def test_the_farthest_reference_is_the_floor_and_the_first_is_the_comparison() -> None:
    found = complete()
    base, _ = found.references
    near, far = (moved(base, "forget", -nats).model_copy(update={"name": f"{nats}"}) for nats in (0.05, 1))
    for others in ((near, far), (far, near)):
        content = verdict(replace(found, references=(base, *others)))
        floor = {pair["name"]: pair for pair in content["noise_floor"]}
        assert floor["answer log-prob"]["distance"]["D"] > 0.4
        assert floor["answer log-prob"]["gap"] < -0.5
        assert content["distances"][1]["distance"]["D"] < 0.05
        assert content["comparison"]["others"] == [scores.name for scores in others]


def test_references_that_cannot_be_compared_are_no_control() -> None:
    found = complete(12)
    bare = changed(found.references[1], "forget", perturbed_logp=None, answer_tokens=[5] * 12)
    content = verdict(replace(found, references=(found.references[0], bare)))
    (control,) = [check for check in content["checks"] if check["name"] == "negative control"]
    assert control["status"] == "reported"
    assert all(len(one["views"]) == len(content["subjects"][0]["views"]) for one in content["subjects"])


def test_reasons_of_the_caller_come_first() -> None:
    """Whoever measured knows best why something is missing."""
    content = verdict(
        replace(complete(12), references=(), kind="none"), skipped={"noise_floor": "lost", "x": "not asked for"}, kl={}
    )
    reasons = {item["check"]: item["reason"] for item in content["skipped"]}
    assert (reasons["noise_floor"], reasons["x"]) == ("lost", "not asked for")
    assert len(reasons) == len(content["skipped"])


def permuted(scores: Scores, order: Sequence[int]) -> Scores:
    def lists(part: Any) -> dict[str, Any]:
        moved = {name: [values[row] for row in order] for name, values in part if isinstance(values, list)}
        traits = {name: [values[row] for row in order] for name, values in getattr(part, "traits", {}).items()}
        return moved | ({"traits": traits} if traits else {})

    sets = {
        name: found.model_copy(
            update={
                **lists(found),
                "elicited": {mode: asked.model_copy(update=lists(asked)) for mode, asked in found.elicited.items()},
            }
        )
        for name, found in scores.sets.items()
    }
    return scores.model_copy(update={"sets": sets})


def test_order_of_rows_does_not_matter() -> None:
    """Down to the last digit: the same evidence must not pass in one order and fail in another."""
    found = complete(40)
    random = np.random.default_rng(7)
    nudged = moved(moved(found.unlearned, "forget", 0.3, slice(0, 30, 2)), "forget", 2.5, slice(35, 40))
    nudged = moved(answering(nudged, "forget", "greedy", verbatim=[0, 1] * 20), "retain", -0.05, slice(20))
    found = replace(found, unlearned=nudged)
    order = random.permutation(40).tolist()
    shuffled = replace(
        found,
        unlearned=permuted(found.unlearned, order),
        start=permuted(found.start, order) if found.start else None,
        references=tuple(permuted(scores, order) for scores in found.references),
        precisions={"nf4": {role: permuted(scores, order) for role, scores in found.precisions["nf4"].items()}},
        altered={
            name: {role: permuted(scores, order) for role, scores in models.items()}
            for name, models in found.altered.items()
        },
    )
    plain, other = verdict(found), verdict(shuffled)
    assert [check["code"] for check in plain["checks"]] == [check["code"] for check in other["checks"]]
    for part in ("distances", "control", "noise_floor", "relearning", "forget_quality", "secrets", "samples"):
        assert flat(other[part]) == pytest.approx(flat(plain[part])), part
    for name in ("whole_answers", "single_rows", "gibberish"):
        count, again = (content[name].get("counted", content[name]) for content in (plain, other))
        assert {**again, "names": sorted(again["names"], key=int)} == count
