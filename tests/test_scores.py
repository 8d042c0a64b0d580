import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from forgetctl.errors import InputError
from forgetctl.maths.statistics import ks
from forgetctl.run import write_json
from forgetctl.scores import Scores, ScoreSet, check_rows, read_scores

LOGS = Path(__file__).parents[2] / "shared" / "tofu" / "logs"
PRIVATE = "Velmira Oskandt"

# Two rows. With p = exp(logp / tokens) per answer:
#   row 1: answer exp(-2/4), paraphrase exp(-1), wrong answers exp(-2), exp(-4): geometric mean exp(-3), R = exp(-2)
#   row 2: answer exp(-3/2), paraphrase exp(-2), wrong answer exp(-1): R = exp(1)
TWO_ROWS: dict[str, Any] = {
    "lines": [1, 4],
    "answer_logp": [-2.0, -3.0],
    "answer_tokens": [4, 2],
    "paraphrase_logp": [-5.0, -4.0],
    "paraphrase_tokens": [5, 2],
    "perturbed_logp": [[-4.0, -12.0], [-3.0]],
    "perturbed_tokens": [[2, 3], [3]],
    "rouge_recall": [1.0, 0.5],
    "secrets_out": [[True, False], []],
}
SCORES = Scores(role="reference", name="small", sha256="ab", perturbed="request", sets={"forget": ScoreSet(**TWO_ROWS)})
# The same two rows as an evaluation log: losses are positive sums.
TOFU_LOG: dict[str, list[Any]] = {
    "gt_loss": [2.0, 3.0],
    "num_token_gt": [4, 2],
    "paraphrased_loss": [5.0, 4.0],
    "num_token_paraphrased": [5, 2],
    "perturb_loss": [[4.0, 12.0], [3.0]],
    "num_token_perturb": [[2, 3], [3]],
    "rougeL_recall": [1.0, 0.5],
    "generated_text": [[PRIVATE, PRIVATE, PRIVATE]] * 2,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.json"


def refusal(path: Path) -> str:
    """Why the file is refused; checks the type, the exit code, the file's name, and that no text is quoted."""
    with pytest.raises(InputError) as caught:
        read_scores(path)
    assert caught.value.exit_code == 2
    assert caught.value.path == path
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    why = message.removeprefix(f"{path}: ")
    assert PRIVATE not in why
    return why


# A set of rows


@pytest.mark.parametrize("name", [name for name in TWO_ROWS if name != "lines"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_lists_of_another_length_are_refused(name: str, count: int) -> None:
    values = (TWO_ROWS[name] * 2)[:count]
    with pytest.raises(ValidationError, match=f"{name} has {count} rows, expected 2"):
        ScoreSet(**{**TWO_ROWS, name: values})


def verified(forget: ScoreSet) -> Scores:
    return Scores(role="unlearned", name="m", perturbed=SCORES.perturbed, sets={"forget": forget})


def test_unknown_list_is_refused() -> None:
    with pytest.raises(ValidationError, match="rouge"):
        ScoreSet(**TWO_ROWS, rouge=[1.0, 1.0])  # type: ignore[call-arg]


def test_figures_of_two_rows() -> None:
    scores = ScoreSet(**TWO_ROWS)
    assert scores.per_token.tolist() == [-0.5, -1.5]
    assert scores.probability == pytest.approx((math.exp(-0.5) + math.exp(-1.5)) / 2)  # 0.4148
    assert scores.truth_ratios == pytest.approx([math.exp(-2), math.exp(1)])  # 0.1353, 2.7183
    assert scores.rouge == 0.75


@pytest.mark.parametrize("name", ["paraphrase_logp", "paraphrase_tokens", "perturbed_logp", "perturbed_tokens"])
def test_no_truth_ratio_without_its_parts(name: str) -> None:
    assert ScoreSet(**{**TWO_ROWS, name: None}).truth_ratios is None


def test_no_rouge_without_generated_answers() -> None:
    assert ScoreSet(**{**TWO_ROWS, "rouge_recall": None}).rouge is None


# Our own files


def test_round_trip(path: Path) -> None:
    write_json(path, SCORES.model_dump(mode="json"))
    found, kind = read_scores(path)
    assert kind == "scores"
    assert found == SCORES.model_copy(update={"role": "reference"})


def test_round_trip_keeps_every_digit(path: Path) -> None:
    value = -math.pi * 1e-7
    scores = SCORES.model_copy(update={"sets": {"forget": ScoreSet(**{**TWO_ROWS, "answer_logp": [value, -1 / 3]})}})
    write_json(path, scores.model_dump(mode="json"))
    assert read_scores(path)[0].forget.answer_logp == [value, -1 / 3]


def test_other_sets_are_kept(path: Path) -> None:
    value = SCORES.model_dump(mode="json")
    value["sets"]["retain"] = value["sets"]["holdout"] = value["sets"]["forget"]
    write_json(path, value)
    assert set(read_scores(path)[0].sets) == {"forget", "retain", "holdout"}


# TOFU's and NPO's logs


def keyed(log: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    return {name: {str(row): value for row, value in enumerate(values)} for name, values in log.items()}


@pytest.mark.parametrize("form", [keyed(TOFU_LOG), TOFU_LOG], ids=["tofu-keyed", "npo-lists"])
@pytest.mark.parametrize("nested", [True, False], ids=["aggregated", "bare"])
def test_both_forms_of_evaluation_log(path: Path, form: dict[str, Any], nested: bool) -> None:
    path.write_text(json.dumps({"eval_log.json": {}, "eval_log_forget.json": form} if nested else form))
    found, kind = read_scores(path)
    assert kind == "tofu-log"
    assert (found.role, found.name, found.sha256) == ("reference", "scores.json", None)
    assert found.forget == ScoreSet(**{**TWO_ROWS, "lines": [1, 2], "secrets_out": None})


def test_rows_of_a_keyed_log_are_matched_by_key(path: Path) -> None:
    log = keyed(TOFU_LOG)
    log["gt_loss"] = dict(reversed(log["gt_loss"].items()))
    path.write_text(json.dumps(log))
    assert read_scores(path)[0].forget.answer_logp == [-2.0, -3.0]


def test_keyed_log_that_names_other_rows_in_one_column(path: Path) -> None:
    log = keyed(TOFU_LOG)
    log["gt_loss"] = {"0": 2.0, "7": 3.0}
    path.write_text(json.dumps(log))
    refusal(path)


# Files that are refused


def test_missing_file(path: Path) -> None:
    assert refusal(path) == "cannot be read: No such file or directory"


def test_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "cannot be read: Is a directory"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", PRIVATE.encode(), b"\xff\xfe{}", b"[" * 100_000, b"1" * 5000],
    ids=["empty", "torn", "words", "bytes", "nested", "huge"],
)
def test_not_json(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refusal(path) == "is neither a model directory nor a JSON score file"


@pytest.mark.parametrize("value", [[], [PRIVATE], 3, None, PRIVATE])
def test_not_an_object(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
    assert refusal(path) == "is neither a score file of 'verify' nor a TOFU evaluation log"


@pytest.mark.parametrize(
    "value",
    [{}, {"text": PRIVATE}, {"eval_log_forget.json": 3}, {"eval_log_forget.json": {}}, {"gt_loss": PRIVATE}],
)
def test_another_object(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
    assert refusal(path).startswith("is neither a score file of 'verify' nor a TOFU evaluation log")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sets", None),
        ("sets", [PRIVATE]),
        ("sets", {"forget": {}}),
        ("sets", {"other": TWO_ROWS}),
        ("sets", {"forget": {**TWO_ROWS, "answer_logp": [PRIVATE, PRIVATE]}}),
        ("sets", {"forget": {**TWO_ROWS, "answer_logp": [-1.0]}}),
        ("sets", {"forget": {**TWO_ROWS, "answer_tokens": [1.5, 2]}}),
        ("sets", {"forget": {**TWO_ROWS, PRIVATE: [1, 2]}}),
        ("schema_version", 2),
        ("role", PRIVATE),
        ("extra", 1),
        ("name", None),
    ],
)
def test_damaged_score_file(path: Path, key: str, value: object) -> None:
    path.write_text(json.dumps({**SCORES.model_dump(mode="json"), key: value}))
    assert refusal(path).startswith("is not a score file: ")


def test_score_file_without_forget_rows(path: Path) -> None:
    path.write_text(json.dumps({**SCORES.model_dump(mode="json"), "sets": {"retain": TWO_ROWS}}))
    assert refusal(path) == "has no scores of forget rows"


@pytest.mark.parametrize("name", [name for name in TOFU_LOG if name != "generated_text"])
def test_log_without_a_column(path: Path, name: str) -> None:
    path.write_text(json.dumps({key: values for key, values in TOFU_LOG.items() if key != name}))
    assert refusal(path) == f"is neither a score file of 'verify' nor a TOFU evaluation log (no '{name}')"


@pytest.mark.parametrize("name", [name for name in TOFU_LOG if name != "generated_text"])
@pytest.mark.parametrize(
    "values",
    [[1.0], [PRIVATE, PRIVATE], [None, None], [{}, {}], [[PRIVATE], [PRIVATE]]],
    ids=["short", "words", "null", "objects", "lists"],
)
def test_log_with_a_wrong_column(path: Path, name: str, values: list[Any]) -> None:
    path.write_text(json.dumps({**TOFU_LOG, name: values}))
    refusal(path)


def score_file(changes: dict[str, Any]) -> dict[str, Any]:
    return {**SCORES.model_dump(mode="json"), "sets": {"forget": {**TWO_ROWS, **changes}}}


@pytest.mark.parametrize(
    "changes",
    [
        {"answer_logp": [float("nan"), -1.0]},
        {"answer_logp": [float("-inf"), -1.0]},
        {"answer_tokens": [0, 2]},
        {"paraphrase_tokens": [-1, 2]},
        {"perturbed_tokens": [[2], [3]]},
        {"perturbed_logp": [[], [-3.0]], "perturbed_tokens": [[], [3]]},
        {"rouge_recall": [float("nan"), 0.5]},
        {name: [] for name in TWO_ROWS},
    ],
    ids=["nan", "inf", "no-token", "negative", "ragged", "no-wrong-answer", "rouge", "no-rows"],
)
def test_numbers_without_a_meaning_are_refused_with_the_file(path: Path, changes: dict[str, Any]) -> None:
    """Later they would fail inside the mathematics, where nobody knows the file any more."""
    path.write_text(json.dumps(score_file(changes)))
    refusal(path)


# The same rows?


def test_same_rows_are_accepted(path: Path) -> None:
    check_rows(path, SCORES, "scores", verified(ScoreSet(**TWO_ROWS)))


@pytest.mark.parametrize("kind", ["scores", "tofu-log"])
def test_another_number_of_rows(path: Path, kind: Any) -> None:
    three = ScoreSet(lines=[1, 4, 5], answer_logp=[-1.0] * 3, answer_tokens=[4, 2, 2])
    with pytest.raises(InputError) as caught:
        check_rows(path, SCORES, kind, verified(three))
    assert str(caught.value) == f"{path}: scores 2 forget rows, the request has 3"
    assert caught.value.exit_code == 2


def test_another_answer_length_names_the_requests_line(path: Path) -> None:
    other = ScoreSet(**{**TWO_ROWS, "answer_tokens": [4, 3]})
    with pytest.raises(InputError) as caught:
        check_rows(path, SCORES, "scores", verified(other))
    assert str(caught.value) == (
        f"{path}: is about other rows or another tokenizer: row 4 has 2 answer tokens there, 3 here"
    )


def test_published_logs_may_count_tokens_differently(path: Path) -> None:
    check_rows(path, SCORES, "tofu-log", verified(ScoreSet(**{**TWO_ROWS, "answer_tokens": [5, 3]})))


def test_another_number_of_secrets_is_refused(path: Path) -> None:
    """The verdict compares secret by secret, so a row must have as many in both."""
    with pytest.raises(InputError):
        check_rows(path, SCORES, "scores", verified(ScoreSet(**{**TWO_ROWS, "secrets_out": [[True], []]})))


def test_other_wrong_answers_are_refused(path: Path) -> None:
    """Truth ratios over different wrong answers, such as the request's and made ones, cannot be compared."""
    with pytest.raises(InputError):
        check_rows(path, SCORES, "scores", verified(ScoreSet(**{**TWO_ROWS, "perturbed_tokens": [[2, 3], [9]]})))


# Published results

needs_logs = pytest.mark.skipif(
    not LOGS.is_dir(), reason=f"the published TOFU and NPO logs are not part of this repository ({LOGS} is absent)"
)


def published(name: str) -> ScoreSet:
    return read_scores(LOGS / f"{name}.json")[0].forget


@needs_logs
@pytest.mark.parametrize(
    ("model", "retrained", "distance", "p", "digits"),
    [
        ("tofu_llama2-7b_full", "tofu_llama2-7b_retain90", 0.39667, 1.834e-21, (5, "1.834e-21")),
        ("tofu_phi_full", "tofu_phi_retain90", 0.34667, 2.194e-16, (5, "2.194e-16")),
        ("npo_retain90_llama", "tofu_llama2-7b_retain90", 0.0367, 0.988, (4, "9.88e-01")),
    ],
)
def test_published_forget_quality(
    model: str, retrained: str, distance: float, p: float, digits: tuple[int, str]
) -> None:
    ours, theirs = published(model).truth_ratios, published(retrained).truth_ratios
    assert ours is not None
    assert theirs is not None
    found = ks(ours, theirs)
    places, shown = digits
    assert round(found.D, places) == distance
    assert f"{found.p:.{len(shown) - 6}e}" == shown
    assert found.p == pytest.approx(p, rel=1e-3)
    assert found.n == 300


@needs_logs
@pytest.mark.parametrize("name", ["tofu_llama2-7b_full", "tofu_phi_retain90"])
def test_logs_per_token_figures_are_ours(name: str) -> None:
    """TOFU's logs hold their own averages, so ours can be checked row by row."""
    log = json.loads((LOGS / f"{name}.json").read_text())["eval_log_forget.json"]
    scores = published(name)
    assert scores.per_token == pytest.approx([-loss for loss in log["avg_gt_loss"].values()], rel=1e-4)
    assert scores.rouge == pytest.approx(sum(log["rougeL_recall"].values()) / 300)
    assert scores.lines == list(range(1, 301))
