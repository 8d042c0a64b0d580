"""`forgetctl verify` with scores instead of models, several references, rephrased rows, precisions and --deep."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

Command = Callable[..., Result]
N = 120


def log(path: Path, shift: float, seed: int, rows: int = N) -> Path:
    """A TOFU log with all four sets; `shift` raises the forget answers, in nats a token."""
    common, random = np.random.default_rng(7), np.random.default_rng(seed)

    def part(level: float, spread: float) -> dict[str, Any]:
        answer = np.minimum(level + spread * common.normal(size=rows) + 0.05 * random.normal(size=rows), -0.01)
        ratio = 0.5 * common.normal(size=rows) - 0.1 * level + 0.03 * random.normal(size=rows)
        return {
            "gt_loss": (-10 * answer).tolist(),
            "num_token_gt": [10] * rows,
            "paraphrased_loss": (-10 * answer).tolist(),
            "num_token_paraphrased": [10] * rows,
            "perturb_loss": [[max(-10 * (a + r), 0.1)] for a, r in zip(answer, ratio - 1.0, strict=True)],
            "num_token_perturb": [[10]] * rows,
            "rougeL_recall": [0.8] * rows,
        }

    sets = {"eval_log_forget.json": part(-3.0 + shift, 0.8)}
    others = ("eval_log.json", "eval_real_author_wo_options.json", "eval_real_world_wo_options.json")
    sets |= {name: part(-0.2, 0.01) for name in others}
    path.write_text(json.dumps(sets))
    return path


@pytest.fixture
def logs(tmp_path: Path) -> dict[str, Path]:
    """Logs of a start model and of three that never saw the rows."""
    shifts = {"start": 2.5, "unlearned": 0.0, "reference": 0.0, "second": 0.0}
    return {name: log(tmp_path / f"{name}.log", shift, seed) for seed, (name, shift) in enumerate(shifts.items())}


def verify_logs(forgetctl: Command, logs: dict[str, Path], out: Path, *more: object) -> tuple[int, dict[str, Any]]:
    files = ("--scores", logs["unlearned"], "--reference", logs["reference"], "--start", logs["start"])
    result = forgetctl("verify", *files, "--out", out, "--json", *more)
    assert result.exit_code in (0, 3, 4), result.stderr
    return result.exit_code, json.loads(result.stdout)


def codes(verdict: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["code"] for check in verdict["checks"]}


def test_scores_need_no_model_and_pass_only_with_other_words(
    logs: dict[str, Path], tmp_path: Path, forgetctl: Command
) -> None:
    code, verdict = verify_logs(forgetctl, logs, tmp_path / "run", "--reference", logs["second"])
    assert (code, verdict["verdict"]) == (4, "INCONCLUSIVE"), verdict["checks"]
    assert codes(verdict)["attack prompts"] == "NOT_ASKED"
    assert codes(verdict)["negative control"] == "REFERENCES_AGREE"
    assert verdict["comparison"] == {"kind": "tofu-log", "name": "reference.log", "others": ["second.log"]}
    assert verdict["models"]["unlearned"]["model_utility"] > 0
    written = {path.name for path in (tmp_path / "run" / "scores").iterdir()}
    assert written == {"start.json", "unlearned.json", "reference.json", "reference-2.json"}
    assert forgetctl("report", tmp_path / "run", "--md").exit_code == 0


def test_statistics_can_be_redone_from_what_a_run_kept(
    logs: dict[str, Path], tmp_path: Path, forgetctl: Command
) -> None:
    _, first = verify_logs(forgetctl, logs, tmp_path / "first")
    kept = {name: tmp_path / "first" / "scores" / f"{name}.json" for name in ("start", "unlearned", "reference")}
    _, again = verify_logs(forgetctl, kept, tmp_path / "again")
    assert again["distances"] == first["distances"]
    assert again["verdict"] == first["verdict"]
    assert again["comparison"]["kind"] == "scores"


def test_tofus_p_would_pass_what_fails_here(logs: dict[str, Path], tmp_path: Path, forgetctl: Command) -> None:
    small = {
        name: log(tmp_path / f"small-{name}.log", shift, seed, rows=12)
        for seed, (name, shift) in enumerate({"start": 2.5, "unlearned": 2.5, "reference": 0.0}.items())
    }
    code, verdict = verify_logs(forgetctl, small, tmp_path / "run")
    assert {one["name"]: one["tofu_p"] for one in verdict["distances"]}["truth ratio"] > 0.05
    assert (code, verdict["verdict"]) == (3, "FAIL")
    assert codes(verdict)["answer log-prob"] == "STILL_KNOWN"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--forget", "FILE"), "needs a model, and --scores brings none"),
        (("--precision", "int8"), "int8 needs a model"),
        (("--deep",), "--deep needs a model"),
        (("--sampling", "top_k=5"), "--sampling needs a model"),
        (("--sampling", "hot"), "no way to draw answers; give some of temperature, top_k, top_p"),
        (("--precision", "fp4"), "no precision fp4; there is bf16, int8, nf4"),
        (("--model", "x"), "give --model or --scores, not both"),
    ],
)
def test_what_scores_cannot_do(
    options: tuple[str, ...], words: str, logs: dict[str, Path], tmp_path: Path, forgetctl: Command
) -> None:
    given = [str(logs["start"]) if option == "FILE" else option for option in options]
    result = forgetctl("verify", "--scores", logs["unlearned"], "--out", tmp_path / "run", *given)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "run").exists()


def test_scores_are_not_their_own_reference(logs: dict[str, Path], tmp_path: Path, forgetctl: Command) -> None:
    for reference in ("unlearned", "start"):
        files = ("--scores", logs["unlearned"], "--start", logs["start"], "--reference", logs[reference])
        result = forgetctl("verify", *files, "--out", tmp_path / "run")
        assert result.exit_code == 2
        assert "itself, so it is no reference" in result.stderr


def test_one_reference_twice_is_no_noise_floor(logs: dict[str, Path], tmp_path: Path, forgetctl: Command) -> None:
    twice = ("--reference", logs["reference"], "--reference", logs["reference"])
    result = forgetctl("verify", "--scores", logs["unlearned"], *twice, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "is the same as another reference" in result.stderr


def test_logs_of_other_rows_are_refused(logs: dict[str, Path], tmp_path: Path, forgetctl: Command) -> None:
    short = log(tmp_path / "short.log", 0.0, 5, rows=50)
    result = forgetctl("verify", "--scores", logs["unlearned"], "--reference", short, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert f"scores 50 forget rows, there are {N}" in result.stderr


def test_everything_at_once_on_a_run(finished: Path, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    rephrased = tmp_path / "rephrased.jsonl"
    rows = [json.loads(line) for line in (world / "requests.jsonl").read_text().splitlines()]
    rephrased.write_text("\n".join(json.dumps({**row, "prompt": "Well, " + row["prompt"]}) for row in rows))
    known = (finished / "verdict.json").read_bytes(), sorted((finished / "scores").iterdir())
    files = ("--model", finished / "model", "--forget", world / "requests.jsonl", "--start", world / "model")
    asked = ("--rephrased", rephrased, "--precision", "bf16, int8", "--deep", "--holdout", world / "holdout.jsonl")
    asked += ("--retain", world / "remaining.jsonl", "--sampling", "temperature=.7,top_p=.9")
    settings = ("--set", "verify.samples=2", "--set", "verify.answer_tokens=12", "--set", "learning_rate=1e-3")
    out = tmp_path / "run"
    result = forgetctl("verify", *files, *asked, *settings, "--reference", world / "reference", "--out", out, "--json")
    assert result.exit_code in (3, 4), result.stderr
    verdict = json.loads(result.stdout)
    names = set(codes(verdict))
    for suffix in ("", ", bf16", ", int8", ", rephrased 1 (rephrased.jsonl)"):
        assert f"answer log-prob{suffix}" in names
        assert f"truth ratio{suffix}" in names
    assert {"relearning attack", "membership attacks", "sampled answers", "single rows", "gibberish"} <= names
    modes = verdict["extraction"]["unlearned"]
    assert set(modes) == {"greedy", "first tokens", "affirmative", "sampled", "as served"}
    assert modes["sampled"]["answers"] == modes["as served"]["answers"] == 2
    plain, served = verdict["leak_at_k"]
    assert (plain["sampling"], served["sampling"]) == ("temperature 1", "temperature 0.7, top-p 0.9")
    assert [len(way["unlearned"]["chances"]) for way in (plain, served)] == [7, 2]
    assert len(served["references"]) == 1
    assert all(verdict["models"][role]["fact_tokens"] is not None for role in ("start", "unlearned", "reference"))
    assert "fact tokens" in {view["view"] for one in verdict["subjects"] for view in one["views"]}
    assert set(verdict["extraction"]["start"]) == {"greedy"}
    assert {attack["name"] for attack in verdict["attacks"]["by"]} == {"loss", "calibrated", "min_k", "min_k_plus_plus"}
    written = {path.stem for path in (out / "scores").iterdir()}
    assert {"unlearned-int8", "reference-bf16", "start-int8", "unlearned-relearned", "reference-relearned"} <= written
    assert "relearning attack" not in [item["check"] for item in verdict["skipped"]]
    assert known == ((finished / "verdict.json").read_bytes(), sorted((finished / "scores").iterdir()))
    for path in out.rglob("*.json"):
        assert not any(row["response"] in path.read_text() for row in rows)
    assert forgetctl("report", out, "--html").exit_code == 0


def test_deep_without_a_reference_model_is_an_open_question(
    finished: Path, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    files = ("--model", finished / "model", "--forget", world / "requests.jsonl", "--out", tmp_path / "run")
    quick = ("--set", "verify.samples=1", "--set", "verify.answer_tokens=4")
    scores = finished / "scores" / "reference.json"
    result = forgetctl("verify", *files, *quick, "--reference", scores, "--deep", "--json")
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["relearning attack"]["code"] == "NOT_MEASURED"
    assert "needs a reference model" in checks["relearning attack"]["text"]
    assert checks["attack prompts"]["code"] == "REFERENCE_NOT_ASKED"  # with retain rows, which are not given here
