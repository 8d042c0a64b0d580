"""Evaluation logs of TOFU and NPO: both forms, damaged ones, and the published results that follow from them."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetctl.errors import InputError
from forgetctl.model.extraction import TRAITS
from forgetctl.model.metrics import truth_ratio
from forgetctl.model.score_files import read_scores
from forgetctl.model.scores import Role, Scores, ScoreSet
from forgetctl.verify.checks.kept import utility
from forgetctl.verify.statistics.distances import ks

PRIVATE = "Velmira Oskandt"
LONG = "Velmira Oskandt was born in Tallinn in the spring of 1961"  # eleven words

# Losses are positive sums; test_scores.py works out the figures of these two rows.
LOG: dict[str, list[Any]] = {
    "gt_loss": [2.0, 3.0],
    "num_token_gt": [4, 2],
    "paraphrased_loss": [5.0, 4.0],
    "num_token_paraphrased": [5, 2],
    "perturb_loss": [[4.0, 12.0], [3.0]],
    "num_token_perturb": [[2, 3], [3]],
    "rougeL_recall": [1.0, 0.5],
    "generated_text": [["who?", LONG, LONG], ["who?", " ", PRIVATE]],
}
AS_SCORES: dict[str, Any] = {
    "names": ["1", "2"],
    "answer_logp": [-2.0, -3.0],
    "answer_tokens": [4, 2],
    "paraphrase_logp": [-5.0, -4.0],
    "paraphrase_tokens": [5, 2],
    "perturbed_logp": [[-4.0, -12.0], [-3.0]],
    "perturbed_tokens": [[2, 3], [3]],
    # Row 1 repeats all of a long response; row 2's is a short address, and its answer is empty.
    "elicited": {
        "greedy": {
            "recall": [1.0, 0.5],
            "whole": [1, None],
            "verbatim": [1, 0],
            "by_words": [True, False],
            "traits": {"gibberish": [False, True]},
        }
    },
}
SCORED = [name for name in LOG if name != "generated_text"]
FORGET, RETAIN = "eval_log_forget.json", "eval_log.json"
AUTHORS, WORLD = "eval_real_author_wo_options.json", "eval_real_world_wo_options.json"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.json"


def keyed(log: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    return {name: {str(row): value for row, value in enumerate(values)} for name, values in log.items()}


def read(path: Path, log: object, role: Role = "reference") -> Scores:
    path.write_text(json.dumps(log))
    found, kind = read_scores(path, role)
    assert kind == "tofu-log"
    return found


def refusal(path: Path, log: object) -> str:
    """Why a log is refused; no text of it may be quoted."""
    with pytest.raises(InputError) as caught:
        read(path, log)
    assert caught.value.path == path
    assert PRIVATE not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


# Both forms


@pytest.mark.parametrize("form", [keyed(LOG), LOG], ids=["tofu-keyed", "npo-lists"])
@pytest.mark.parametrize("nested", [True, False], ids=["aggregated", "bare"])
@pytest.mark.parametrize("role", ["start", "unlearned", "reference"])
def test_both_forms_of_evaluation_log(path: Path, form: dict[str, Any], nested: bool, role: Role) -> None:
    found = read(path, {FORGET: form} if nested else form, role)
    assert (found.role, found.name, found.sha256, found.perturbed) == (role, "log.json", None, "request")
    assert found.sets == {"forget": ScoreSet(**AS_SCORES)}


def test_all_four_sets_are_told_apart(path: Path) -> None:
    parts = {FORGET: 1.0, RETAIN: 2.0, AUTHORS: 3.0, WORLD: 4.0}
    log = {part: {**LOG, "gt_loss": [loss, loss]} for part, loss in parts.items()}
    found = read(path, {**log, "eval_log_other.json": 3})
    assert {name: rows.answer_logp[0] for name, rows in found.sets.items()} == {
        "forget": -1.0,
        "retain": -2.0,
        "real_authors": -3.0,
        "world_facts": -4.0,
    }


def test_keyed_and_listed_parts_may_be_mixed(path: Path) -> None:
    assert read(path, {**LOG, "gt_loss": keyed(LOG)["gt_loss"]}).forget == ScoreSet(**AS_SCORES)


def test_rows_of_a_keyed_log_are_matched_by_key(path: Path) -> None:
    log = keyed(LOG)
    log["gt_loss"] = dict(reversed(log["gt_loss"].items()))
    assert read(path, log).forget == ScoreSet(**AS_SCORES)


def test_ten_keyed_rows_are_in_the_order_of_numbers(path: Path) -> None:
    """As words, "10" stands before "2"."""
    log = {name: [values[0]] * 12 for name, values in LOG.items()} | {"gt_loss": [float(row) for row in range(12)]}
    shuffled = {name: dict(sorted(values.items())) for name, values in keyed(log).items()}
    assert list(shuffled["gt_loss"])[:3] == ["0", "1", "10"]
    assert read(path, shuffled).forget.answer_logp == [-float(row) for row in range(12)]


def test_log_without_texts_has_rouge_only(path: Path) -> None:
    found = read(path, {name: LOG[name] for name in SCORED}).forget
    assert found.elicited["greedy"].model_dump() == {
        "answers": 1,
        "recall": [1.0, 0.5],
        "secrets": None,
        "parts": None,
        "whole": None,
        "verbatim": None,
        "by_words": None,
        "traits": {},
        "leaked": None,
        "sampling": None,
    }


@pytest.mark.parametrize(("recall", "whole"), [(1.0, 1), (0.99, 1), (0.98, 0), (0.0, 0)])
def test_whole_responses_are_told_by_rouge(path: Path, recall: float, whole: int) -> None:
    greedy = read(path, {**LOG, "rougeL_recall": [recall, recall]}).forget.elicited["greedy"]
    assert greedy.whole == [whole, None]
    assert not math.copysign(1, greedy.recall[0] or 0.0) < 0  # no minus zero


def words_of(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(words_of, value.values()))
    if isinstance(value, list):
        return set().union(*map(words_of, value))
    return {value} if isinstance(value, str) else set()


def test_texts_never_reach_the_scores(path: Path) -> None:
    found = read(path, dict.fromkeys((FORGET, RETAIN), LOG))
    fields = {*Scores.model_fields, *ScoreSet.model_fields, *type(found.forget.elicited["greedy"]).model_fields}
    known = fields | {"forget", "retain", "greedy", *TRAITS, "reference", "log.json", "request", "1", "2"}
    assert words_of(found.model_dump(mode="json")) <= known
    assert "Tallinn" not in repr(found)


# Damaged logs


@pytest.mark.parametrize(
    "log",
    [{}, {"text": PRIVATE}, {FORGET: 3}, {FORGET: None}, {FORGET: {}}, {FORGET: [PRIVATE]}, {"gt_loss": PRIVATE}],
)
def test_another_object(path: Path, log: object) -> None:
    assert refusal(path, log).startswith("is neither a score file of 'verify' nor a TOFU evaluation log (no 'gt_loss')")


def test_log_of_other_rows_alone(path: Path) -> None:
    assert refusal(path, {RETAIN: LOG}) == "has no scores of forget rows"


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("form", [keyed(LOG), LOG], ids=["keyed", "lists"])
def test_log_without_a_column(path: Path, name: str, form: dict[str, Any]) -> None:
    log = {key: values for key, values in form.items() if key != name}
    assert refusal(path, log) == f"is neither a score file of 'verify' nor a TOFU evaluation log (no '{name}')"


@pytest.mark.parametrize("part", [FORGET, RETAIN, AUTHORS, WORLD])
def test_every_part_is_checked(path: Path, part: str) -> None:
    assert "gt_loss" in refusal(path, {FORGET: LOG, part: {**LOG, "gt_loss": [PRIVATE, PRIVATE]}})


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize(
    "rows",
    [["0", "7"], ["1", "2"], ["-1", "0"], ["00", "1"], [PRIVATE, "1"]],
    ids=["gap", "from-one", "negative", "zeros", "words"],
)
def test_keyed_column_that_names_other_rows(path: Path, name: str, rows: list[str]) -> None:
    log = keyed(LOG)
    log[name] = dict(zip(rows, LOG[name], strict=True))
    assert refusal(path, log) == f"has rows of '{name}' that are not numbered from 0"


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize(
    "values",
    [
        [PRIVATE, PRIVATE],
        [None, None],
        [{}, {}],
        [[PRIVATE], [PRIVATE]],
        [[[1]], [[1]]],
        [1e300, 1e300],
        [10**19, 10**19],
    ],
    ids=["words", "null", "objects", "listed-words", "too-deep", "huge", "huge-whole"],
)
def test_damaged_column_is_named(path: Path, name: str, values: list[Any]) -> None:
    assert f"'{name}'" in refusal(path, {**LOG, name: values})


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 10**400])
def test_what_is_no_json_number_is_refused(path: Path, value: float) -> None:
    assert "nor a JSON score file: it holds" in refusal(path, {**LOG, "gt_loss": [value, 1.0]})


@pytest.mark.parametrize("name", [name for name in SCORED if not name.startswith(("perturb", "num_token_perturb"))])
def test_column_of_lists_where_numbers_belong_is_named(path: Path, name: str) -> None:
    assert f"'{name}'" in refusal(path, {**LOG, name: [[1], [2]]})


@pytest.mark.parametrize("name", ["num_token_gt", "num_token_paraphrased", "num_token_perturb"])
@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_impossible_lengths_are_named(path: Path, name: str, count: float) -> None:
    values = [[count, count], [count]] if name == "num_token_perturb" else [count, count]
    assert f"'{name}'" in refusal(path, {**LOG, name: values})


@pytest.mark.parametrize("lengths", [[[2], [3]], [[2, 3], []], [[2, 3], [3, 3]]])
def test_wrong_answers_of_another_number_are_told_in_the_logs_words(path: Path, lengths: list[list[int]]) -> None:
    why = refusal(path, {**LOG, "num_token_perturb": lengths})
    assert "numbers in 'perturb_loss'" in why


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_column_of_another_length_is_told_in_the_logs_words(path: Path, name: str, count: int) -> None:
    """The first column says how many rows there are, so that the second is then the one that differs."""
    why = refusal(path, {**LOG, name: (LOG[name] * 2)[:count]})
    if name == "rougeL_recall":
        assert f"has 2 generated texts, but {count} ROUGE recalls" in why
    elif name == "gt_loss" and count == 0:
        assert "has no rows in 'gt_loss'" in why
    else:
        assert f"numbers in '{'num_token_gt' if name == 'gt_loss' else name}'" in why


@pytest.mark.parametrize(
    "texts",
    [
        [PRIVATE, PRIVATE],
        [[PRIVATE, PRIVATE], [PRIVATE, PRIVATE]],
        [[PRIVATE, 3, PRIVATE]] * 2,
        [[PRIVATE] * 3],
        [[PRIVATE] * 3] * 3,
        None,
        PRIVATE,
    ],
)
def test_damaged_texts_are_refused(path: Path, texts: object) -> None:
    assert "generated" in refusal(path, {**LOG, "generated_text": texts})


@pytest.mark.parametrize("depth", [100, 900, 2000])
def test_deeply_nested_column_is_refused(path: Path, depth: int) -> None:
    path.write_text(json.dumps({**LOG, "gt_loss": "X"}).replace('"X"', "[" * depth + "]" * depth))
    with pytest.raises(InputError):
        read_scores(path, "reference")


@pytest.mark.parametrize(("name", "values"), [("gt_loss", [-5.0, 3.0]), ("rougeL_recall", [5.0, 0.5])])
def test_impossible_figures_are_refused(path: Path, name: str, values: list[float]) -> None:
    """A negative loss, as in a log of log-probabilities, would be a probability of exp(5 / 4) = 3.5."""
    assert f"'{name}'" in refusal(path, {**LOG, name: values})


# Published results


@cache
def published(folder: Path, name: str) -> Scores:
    return read_scores(folder / "tofu" / "logs" / f"{name}.json", "reference")[0]


@pytest.mark.parametrize(
    ("model", "retrained", "distance", "p"),
    [
        ("tofu_llama2-7b_full", "tofu_llama2-7b_retain90", "0.39667", "1.834e-21"),
        ("tofu_phi_full", "tofu_phi_retain90", "0.34667", "2.194e-16"),
        ("npo_retain90_llama", "tofu_llama2-7b_retain90", "0.0367", "9.88e-01"),
    ],
)
def test_published_forget_quality(shared: Path, model: str, retrained: str, distance: str, p: str) -> None:
    ours, theirs = (published(shared, name).forget.truth_ratios for name in (model, retrained))
    assert ours is not None
    assert theirs is not None
    found = ks(ours, theirs)
    assert f"{found.D:.{len(distance) - 2}f}" == distance
    assert f"{found.p:.{len(p) - 6}e}" == p
    assert found.n == 300


@pytest.mark.parametrize(
    ("name", "arithmetic", "geometric"),
    [
        ("tofu_llama2-7b_full", 0.5859, 0.6227),
        ("tofu_llama2-7b_retain90", 0.5752, 0.6137),
        ("tofu_phi_full", 0.5034, 0.5221),
        ("npo_retain90_llama", 0.5822, 0.6203),
    ],
)
def test_published_model_utility(shared: Path, name: str, arithmetic: float, geometric: float) -> None:
    found = published(shared, name)
    shown = [round(utility(found, arithmetic=mean) or 0.0, 4) for mean in (True, False)]
    assert shown == [arithmetic, geometric]


@pytest.mark.parametrize(
    "name",
    ["tofu_llama2-7b_full", "tofu_llama2-7b_retain99", "tofu_phi_retain90", "npo_retain90_phi", "npo_retain50_llama"],
)
def test_the_logs_own_averages_are_ours(shared: Path, name: str) -> None:
    """Every log holds averages per token, so ours can be checked row by row, in every set."""
    log = json.loads((shared / "tofu" / "logs" / f"{name}.json").read_text())
    found = published(shared, name)
    assert list(found.sets) == ["forget", "retain", "real_authors", "world_facts"]
    for part, rows in zip((FORGET, RETAIN, AUTHORS, WORLD), found.sets.values(), strict=True):
        columns = {key: list(v.values()) if isinstance(v, dict) else v for key, v in log[part].items()}
        assert rows.names == [str(line + 1) for line in range(len(columns["gt_loss"]))]
        assert rows.per_token == pytest.approx(-np.array(columns["avg_gt_loss"]), rel=1e-4)
        assert rows.rouge == pytest.approx(np.mean(columns["rougeL_recall"]))
        ones = [1] * len(rows.names)
        wrong = [[-loss for loss in row] for row in columns["average_perturb_loss"]]
        right = [-loss for loss in columns["avg_paraphrased_loss"]]
        ratios = truth_ratio(right, ones, wrong, [[1] * len(row) for row in wrong])
        assert rows.truth_ratios == pytest.approx(ratios, rel=1e-3)
