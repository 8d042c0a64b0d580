"""Score files: what they hold, which are refused, and whether they are about the same rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forgetctl.errors import InputError
from forgetctl.files.writing import write_json
from forgetctl.model.score_files import check_rows, read_scores
from forgetctl.model.scores import Elicited, Role, Scores, ScoreSet

PRIVATE = "Velmira Oskandt"

# Two rows. With p = exp(logp / tokens) per answer:
#   row 1: answer exp(-2/4), paraphrase exp(-1), wrong answers exp(-2), exp(-4): geometric mean exp(-3), R = exp(-2)
#   row 2: answer exp(-3/2), paraphrase exp(-2), wrong answer exp(-1): R = exp(1)
GREEDY: dict[str, Any] = {
    "recall": [1.0, 0.5],
    "secrets": [[1, 0], []],
    "whole": [1, None],
    "traits": {"gibberish": [False, True]},
}
TWO_ROWS: dict[str, Any] = {
    "names": ["1", "4"],
    "answer_logp": [-2.0, -3.0],
    "answer_tokens": [4, 2],
    "subjects": [0, 1],
    "copies": [0, 1],
    "paraphrase_logp": [-5.0, -4.0],
    "paraphrase_tokens": [5, 2],
    "perturbed_logp": [[-4.0, -12.0], [-3.0]],
    "perturbed_tokens": [[2, 3], [3]],
    "min_k": [-1.0, -2.0],
    "min_k_plus_plus": [0.5, -0.5],
    "exact_memorisation": [1.0, 0.25],
    "extraction_strength": [0.5, 0.0],
}
FULL: dict[str, Any] = {**TWO_ROWS, "own_paraphrases": 0, "elicited": {"greedy": GREEDY}}
SCORES = Scores(role="reference", name="small", sha256="ab", perturbed="request", sets={"forget": ScoreSet(**FULL)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.json"


def refusal(path: Path, role: Role = "reference") -> str:
    """Why the file is refused; checks the type, the exit code, the file's name, and that no text is quoted."""
    with pytest.raises(InputError) as caught:
        read_scores(path, role)
    assert caught.value.exit_code == 2
    assert caught.value.path == path
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    why = message.removeprefix(f"{path}: ")
    assert PRIVATE not in why
    return why


# A set of rows


@pytest.mark.parametrize("name", [name for name in TWO_ROWS if name != "names"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_lists_of_another_length_are_refused(name: str, count: int) -> None:
    values = (TWO_ROWS[name] * 2)[:count]
    with pytest.raises(ValidationError, match=f"{name} has {count} rows, expected 2"):
        ScoreSet(**{**TWO_ROWS, name: values})


@pytest.mark.parametrize("name", [name for name in GREEDY if name != "traits"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_answers_to_another_number_of_rows_are_refused(name: str, count: int) -> None:
    answers = {**GREEDY, name: (GREEDY[name] * 2)[:count]}
    with pytest.raises(ValidationError, match=f"{name} has {count} rows, expected 2"):
        ScoreSet(**{**TWO_ROWS, "elicited": {"greedy": GREEDY, "first tokens": answers}})


@pytest.mark.parametrize("count", [0, 1, 3])
def test_traits_of_another_number_of_rows_are_refused(count: int) -> None:
    answers = {**GREEDY, "traits": {"gibberish": [False] * count}}
    with pytest.raises(ValidationError, match=f"gibberish has {count} rows, expected 2"):
        ScoreSet(**{**TWO_ROWS, "elicited": {"greedy": GREEDY, "first tokens": answers}})


def test_unknown_lists_are_refused() -> None:
    with pytest.raises(ValidationError, match="rouge"):
        ScoreSet(**TWO_ROWS, rouge=[1.0, 1.0])  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="texts"):
        ScoreSet(**{**TWO_ROWS, "elicited": {"greedy": {**GREEDY, "texts": [PRIVATE, PRIVATE]}}})


def test_figures_of_two_rows() -> None:
    scores = ScoreSet(**FULL)
    assert scores.per_token.tolist() == [-0.5, -1.5]
    assert scores.probability == pytest.approx((math.exp(-0.5) + math.exp(-1.5)) / 2)  # 0.4148
    assert scores.probabilities == pytest.approx([math.exp(-0.5), math.exp(-1.5)])
    assert scores.truth_ratios == pytest.approx([math.exp(-2), math.exp(1)])  # 0.1353, 2.7183
    # Arithmetic: (exp(-2) + exp(-4)) / 2 / exp(-1) = 0.0768255 / 0.3678794; one wrong answer alone is the same.
    assert scores.truth_ratio_by(arithmetic=True) == pytest.approx([0.208833, math.exp(1)], rel=1e-5)
    # 0.606531 / (0.606531 + 0.135335 + 0.018316) and 0.223130 / (0.223130 + 0.367879)
    assert scores.choice_probabilities == pytest.approx([0.797876, 0.377541], rel=1e-5)
    assert scores.rouge == 0.75


@pytest.mark.parametrize("name", ["paraphrase_logp", "paraphrase_tokens", "perturbed_logp", "perturbed_tokens"])
def test_no_truth_ratio_without_its_parts(name: str) -> None:
    scores = ScoreSet(**{**FULL, name: None})
    assert scores.truth_ratios is None
    assert scores.truth_ratio_by(arithmetic=True) is None
    assert (scores.choice_probabilities is None) == name.startswith("perturbed")


@pytest.mark.parametrize(
    ("elicited", "expected"),
    [
        ({}, None),
        ({"greedy": {"recall": [None, None]}}, None),  # passages: nothing was asked
        ({"greedy": {"recall": [None, 0.25]}}, 0.25),
        ({"sampled": {"answers": 8, "recall": [1.0, 1.0]}}, None),  # the best of eight is no greedy answer
        ({"first tokens": {"recall": [1.0, 1.0]}, "greedy": {"recall": [0.0, 0.0]}}, 0.0),
    ],
)
def test_rouge_is_of_the_greedy_answers_that_were_asked_for(elicited: Any, expected: float | None) -> None:
    assert ScoreSet(**{**TWO_ROWS, "elicited": elicited}).rouge == expected


def test_units_are_subjects_from_ten_on_and_copies_count_once() -> None:
    def units(subjects: list[int] | None, copies: list[int] | None) -> tuple[int, str]:
        count = len(subjects or copies or [])
        values = {"names": ["1"] * count, "answer_logp": [-1.0] * count, "answer_tokens": [1] * count}
        found = ScoreSet(**values, subjects=subjects, copies=copies).units
        return found.count, found.kind

    assert units([*range(10), 9, 9], None) == (10, "subjects")
    assert units([*range(9), 8, 8, 8], None) == (12, "rows")
    assert units([*range(9), 8, 8, 8], [0] * 4 + [*range(1, 9)]) == (9, "rows")
    assert units(None, [5, 5, 5]) == (1, "rows")


# Our own files


def test_round_trip(path: Path) -> None:
    write_json(path, SCORES.model_dump(mode="json"))
    assert read_scores(path, "reference") == (SCORES, "scores")
    assert json.loads(path.read_text())["schema_version"] == 4


logps = st.floats(-1e9, 0)
rows_of_scores = st.lists(
    st.tuples(logps, st.integers(1, 9999), st.lists(st.tuples(logps, st.integers(1, 9)), min_size=1, max_size=3)),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(rows_of_scores, st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.floats(0, 1) | st.none()))
def test_any_scores_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[float, int, list[tuple[float, int]]]],
    name: str,
    recall: list[float | None],
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-scores.json"
    part = ScoreSet(
        names=[str(row) for row in range(1, len(rows) + 1)],
        answer_logp=[logp for logp, _, _ in rows],
        answer_tokens=[count for _, count, _ in rows],
        perturbed_logp=[[logp for logp, _ in wrong] for _, _, wrong in rows],
        perturbed_tokens=[[count for _, count in wrong] for _, _, wrong in rows],
        elicited={"greedy": Elicited(recall=[*recall, *[None] * len(rows)][: len(rows)])},
    )
    scores = Scores(role="start", name=name, sets={"forget": part, "retain": part})
    write_json(path, scores.model_dump(mode="json"))
    assert read_scores(path, "start") == (scores, "scores")


def test_round_trip_keeps_every_digit(path: Path) -> None:
    value = -math.pi * 1e-7
    scores = SCORES.model_copy(update={"sets": {"forget": ScoreSet(**{**TWO_ROWS, "answer_logp": [value, -1 / 3]})}})
    write_json(path, scores.model_dump(mode="json"))
    assert read_scores(path, "reference")[0].forget.answer_logp == [value, -1 / 3]


def test_other_sets_are_kept(path: Path) -> None:
    value = SCORES.model_dump(mode="json")
    value["sets"]["retain"] = value["sets"]["rephrased-1"] = value["sets"]["forget"]
    write_json(path, value)
    assert set(read_scores(path, "reference")[0].sets) == {"forget", "retain", "rephrased-1"}


@pytest.mark.parametrize(
    ("written", "wanted", "what"),
    [
        ("start", "reference", "reference"),
        ("unlearned", "reference", "reference"),
        ("reference", "start", "start model"),
        ("unlearned", "start", "start model"),
        ("start", "unlearned", "model to verify"),
        ("reference", "unlearned", "model to verify"),
    ],
)
def test_scores_of_another_role_are_refused(path: Path, written: Role, wanted: Role, what: str) -> None:
    """Else a start model's scores, given as the reference, would make an unchanged model pass."""
    write_json(path, SCORES.model_copy(update={"role": written}).model_dump(mode="json"))
    assert refusal(path, wanted) == f"holds the scores of the {written} model, which is no {what}"


# Files that are refused


def test_missing_file(path: Path) -> None:
    assert refusal(path) == "no such file"


def test_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is not a regular file"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", PRIVATE.encode(), b"[" * 100_000, b"1" * 5000, b"[NaN]", b'{"a": 1, "a": 2}'],
    ids=["empty", "torn", "words", "nested", "huge", "nan", "twice"],
)
def test_not_json(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match=r": is neither a model directory nor a JSON score file: it ") as caught:
        read_scores(path, "reference")
    assert PRIVATE not in str(caught.value)


@pytest.mark.parametrize("value", [[], [PRIVATE], 3, None, PRIVATE])
def test_not_an_object(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
    assert refusal(path) == "is neither a score file of 'verify' nor a TOFU evaluation log"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sets", None),
        ("sets", [PRIVATE]),
        ("sets", {"forget": {}}),
        ("sets", {"other": TWO_ROWS | {"names": []}}),
        ("schema_version", "4"),
        ("schema_version", None),
        ("role", PRIVATE),
        ("extra", 1),
        ("name", None),
    ],
)
def test_damaged_score_file(path: Path, key: str, value: object) -> None:
    path.write_text(json.dumps({**SCORES.model_dump(mode="json"), key: value}))
    assert refusal(path).startswith("is not a score file: ")


@pytest.mark.parametrize("schema", [1, 3, 5])
def test_a_score_file_of_another_version_must_be_made_again(path: Path, schema: int) -> None:
    path.write_text(json.dumps({**SCORES.model_dump(mode="json"), "schema_version": schema, "more": 1}))
    assert refusal(path) == (
        f"was written by another version of forgetctl (schema {schema}, this one reads 4); "
        "score the model again with: forgetctl verify"
    )


def test_score_file_without_forget_rows(path: Path) -> None:
    path.write_text(json.dumps({**SCORES.model_dump(mode="json"), "sets": {"retain": FULL}}))
    assert refusal(path) == "has no scores of forget rows"


def answers(**changes: Any) -> dict[str, Any]:
    return {"elicited": {"greedy": {**GREEDY, **changes}}}


DAMAGED: dict[str, dict[str, Any]] = {
    "text": {"answer_logp": [PRIVATE, PRIVATE]},
    "half-token": {"answer_tokens": [1.5, 2]},
    "no-token": {"answer_tokens": [0, 2]},
    "negative": {"paraphrase_tokens": [-1, 2]},
    "ragged": {"perturbed_tokens": [[2], [3]]},
    "no-wrong-answer": {"perturbed_logp": [[], [-3.0]], "perturbed_tokens": [[], [3]]},
    "unknown": {PRIVATE: [1, 2]},
    "no-rouge": {"elicited": {"greedy": {"secrets": [[], []]}}},
    "no-answers": answers(answers=0),
    "negative-leaks": answers(secrets=[[-1, 0], []]),
    "no-rows": {name: [] for name in TWO_ROWS} | {"elicited": {}},
}
"""Of these the mathematics would fail later, where nobody knows the file any more."""
IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "more-leaks-than-answers": answers(answers=1, whole=[2, None]),
    "more-secrets-than-answers": answers(answers=1, secrets=[[2, 0], []]),
    "other-secrets-in-another-mode": {"elicited": {"greedy": GREEDY, "sampled": {**GREEDY, "secrets": [[1], [1]]}}},
}


@pytest.mark.parametrize("changes", [*DAMAGED.values(), *IMPOSSIBLE.values()], ids=[*DAMAGED, *IMPOSSIBLE])
def test_numbers_without_a_meaning_are_refused_with_the_file(path: Path, changes: dict[str, Any]) -> None:
    path.write_text(json.dumps({**SCORES.model_dump(mode="json"), "sets": {"forget": {**FULL, **changes}}}))
    assert refusal(path).startswith("is not a score file: ")


def test_rephrasings_follow_the_request_row_by_row(path: Path) -> None:
    one = {name: values[:1] for name, values in TWO_ROWS.items()}
    sets = {"forget": one, "rephrased-1": TWO_ROWS}
    path.write_text(json.dumps({**SCORES.model_dump(mode="json"), "sets": sets}))
    assert "rephrased-1" in refusal(path)


# The same rows?


def verified(forget: dict[str, Any], others: dict[str, dict[str, Any]] | None = None) -> Scores:
    rows = {name: ScoreSet(**values) for name, values in {"forget": forget, **(others or {})}.items()}
    return Scores(role="unlearned", name="m", perturbed="request", sets=rows)


def mismatch(path: Path, scored: Scores, expected: Scores, kind: Any = "scores") -> str:
    with pytest.raises(InputError) as caught:
        check_rows(path, scored, kind, expected)
    assert caught.value.exit_code == 2
    return str(caught.value).removeprefix(f"{path}: ")


def test_same_rows_are_accepted(path: Path) -> None:
    check_rows(path, SCORES, "scores", verified(FULL))


def test_sets_that_only_one_side_has_are_accepted(path: Path) -> None:
    more = verified(FULL, {"retain": FULL, "holdout": TWO_ROWS})
    check_rows(path, SCORES, "scores", more)
    check_rows(path, more, "scores", verified(FULL))


THREE: dict[str, Any] = {"names": ["1", "4", "5"], "answer_logp": [-1.0] * 3, "answer_tokens": [4, 2, 2]}


@pytest.mark.parametrize("kind", ["scores", "tofu-log"])
@pytest.mark.parametrize("name", ["forget", "retain", "holdout", "real_authors", "world_facts"])
def test_another_number_of_rows_in_any_set(path: Path, kind: Any, name: str) -> None:
    found, expected = verified(TWO_ROWS, {name: TWO_ROWS}), verified(TWO_ROWS, {name: THREE})
    assert mismatch(path, found, expected, kind) == f"scores 2 {name} rows, there are 3"


@pytest.mark.parametrize("name", ["forget", "retain", "rephrased-1"])
def test_another_answer_length_names_the_set_and_the_line(path: Path, name: str) -> None:
    found, expected = verified(FULL, {name: FULL}), verified(FULL, {name: {**FULL, "answer_tokens": [4, 3]}})
    assert mismatch(path, found, expected) == (
        f"is about other rows or another tokenizer: {name} row 4 has 2 answer tokens there, 3 here"
    )
    check_rows(path, found, "tofu-log", expected)  # published logs count tokens under their own template


def test_another_number_of_secrets_is_refused(path: Path) -> None:
    """The verdict compares secret by secret, so a row must have as many in both."""
    other = verified({**FULL, **answers(secrets=[[1], []])})
    assert mismatch(path, SCORES, other) == "was made with other secrets of the forget rows"


def test_other_wrong_answers_are_refused(path: Path) -> None:
    """Truth ratios over different wrong answers, such as the request's and made ones, cannot be compared."""
    other = verified({**FULL, "perturbed_tokens": [[2, 3], [9]]})
    assert mismatch(path, SCORES, other) == "was made with other perturbed answers of the forget rows"
    made = verified(FULL).model_copy(update={"perturbed": "nearest answers"})
    assert mismatch(path, SCORES, made) == ("was made with other perturbed answers (request, here nearest answers)")
    check_rows(path, SCORES, "tofu-log", made)
