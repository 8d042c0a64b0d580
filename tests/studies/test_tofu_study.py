"""`forgetctl study tofu` on a tiny TOFU: its figures against plain computations, and that it can be killed."""

from __future__ import annotations

import json
import math
import shutil
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from rouge_score.rouge_scorer import RougeScorer
from scipy.stats import ks_2samp

from forgetctl.cli.main import cli
from forgetctl.model.encoding import Encoder
from forgetctl.model.load import load_model, load_tokenizer
from forgetctl.recipe.recipe import shipped_recipes
from forgetctl.rows.row import Row
from forgetctl.studies.tofu._data import TofuData
from forgetctl.studies.tofu._evaluation import Asker
from tests.cli.conftest import process
from tests.studies.tofu_world import arguments
from tests.world import write_lines

Line = dict[str, Any]
CPU = torch.device("cpu")


def study(world: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, arguments(world, out, *more), catch_exceptions=False)


def lines_of(out: Path) -> list[Line]:
    """Without what differs from one computer to the next."""
    return [{k: v for k, v in line.items() if k != "seconds"} for line in json.loads(read(out / "tofu.json"))["lines"]]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def check_same(ours: list[Line], theirs: list[Line]) -> None:
    """Line by line; numbers up to what another number of threads may round."""
    for line, whole in zip(ours, theirs, strict=True):
        assert line.keys() == whole.keys()
        for name, value in whole.items():
            assert line[name] == (pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value), name


class Finished:
    """A study through the command line, and its models as they were at the end of their runs."""

    def __init__(self, world: Path, out: Path) -> None:
        self.world, self.out, self.models = world, out, {}
        answers = Asker.answers

        def remember(asker: Asker, model: Any) -> Any:
            self.models[len(self.models)] = deepcopy(model).eval()
            return answers(asker, model)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Asker, "answers", remember)
            done = study(world, out)
        assert done.exit_code == 0, done.output
        self.printed = done.stdout
        self.lines = lines_of(out)

    def ends(self) -> list[tuple[Line, Any]]:
        """The last line of each run, start and reference first, with its model."""
        last = {line["method"]: line for line in self.lines}
        return [(last[name], self.models[i]) for i, name in enumerate(("start", "reference", "npo-rt", "ga"))]


@pytest.fixture(scope="module")
def finished(tofu: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tofu, tmp_path_factory.mktemp("finished") / "study")


# The table


def test_there_is_a_line_for_every_epoch_and_nothing_else(finished: Finished) -> None:
    """6 forget rows in batches of 2 are 3 steps an epoch."""
    assert [(line["method"], line["seed"], line["step"], line["epoch"]) for line in finished.lines] == [
        *(("ga", 1, 3 * epoch, epoch) for epoch in (1, 2, 3)),
        *(("npo-rt", 1, 3 * epoch, epoch) for epoch in (1, 2, 3)),
        ("reference", 0, 0, 0),
        ("start", 0, 0, 0),
    ]
    assert all(line["n"] == 6 for line in finished.lines)
    assert not (finished.out / "runs").exists()
    assert "forget05" in finished.printed


def test_generated_answers_and_utility_are_there_at_the_end_alone(finished: Finished) -> None:
    for line in finished.lines:
        last = line["step"] == line["steps"]
        assert (line["utility"] is not None) == (line["retain_rouge"] is not None) == last
        assert 0 <= line["utility_without_rouge"] <= 1


def test_training_moves_the_models_in_their_directions(finished: Finished) -> None:
    by_method = {line["method"]: line for line, _ in finished.ends()}
    assert by_method["ga"]["forget_probability"] < 0.9 * by_method["start"]["forget_probability"]
    assert by_method["ga"]["kl_start"] > 0.1
    assert by_method["npo-rt"]["retain_probability"] > by_method["ga"]["retain_probability"]
    assert by_method["reference"]["D"] == 0 == by_method["start"]["kl_start"] == by_method["reference"]["kl_reference"]


class Plain:
    """The paper's figures of a model, one row at a time, from whole logits."""

    def __init__(self, world: Path, model: Any) -> None:
        self.rows = TofuData(world / "data", None, 300, 300).split("05").asked
        self.model, self.encoder = model, Encoder(load_tokenizer(world / "base"), "{prompt}")

    def distribution(self, row: Row) -> tuple[torch.Tensor, torch.Tensor]:
        """(answer tokens, vocabulary) log-probabilities, and the answer's ids."""
        encoded = self.encoder.encode(row)
        ids = torch.tensor([encoded.ids])
        with torch.no_grad():
            logits = self.model(input_ids=ids, use_cache=False).logits[0].double()
        return torch.log_softmax(logits, -1)[encoded.start - 1 : -1], ids[0, encoded.start :]

    def p(self, row: Row, answer: str) -> float:
        logp, ids = self.distribution(row.answering(answer))
        return math.exp(float(logp.gather(1, ids[:, None]).mean()))

    def ratios(self, name: str, mean: Any) -> list[float]:
        return [
            mean([self.p(row, wrong) for wrong in row.perturbed_responses])
            / self.p(row, row.paraphrased_response or row.response)
            for row in self.rows[name]
        ]

    def probabilities(self, name: str) -> list[float]:
        found = []
        for row in self.rows[name]:
            own = self.p(row, row.response)
            among = row.perturbed_responses if name in ("real_authors", "world_facts") else ()
            others = [self.p(row, wrong) for wrong in among]
            found.append(own / (own + sum(others)) if others else own)
        return found

    def rouge(self, name: str) -> list[float]:
        scorer = RougeScorer(["rougeL"], use_stemmer=True)
        found = []
        for row in self.rows[name]:
            ids = list(self.encoder.encode_prompt(row))
            length = len(ids)
            while len(ids) < length + 12:
                with torch.no_grad():
                    ids.append(int(self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
                if ids[-1] == self.encoder.tokenizer.eos_token_id:
                    break
            said = self.encoder.tokenizer.decode(ids[length:], skip_special_tokens=True)
            found.append(scorer.score(row.response, said)["rougeL"].recall)
        return found

    def kl(self, other: Any) -> float:
        """KL(other || this), nats a token over the forget rows' answers."""
        total, tokens = 0.0, 0
        for row in self.rows["forget"]:
            ours, _ = self.distribution(row)
            theirs, _ = Plain.distribution(_with(self, other), row)
            total += float((theirs.exp() * (theirs - ours)).sum())
            tokens += len(ours)
        return total / tokens


def _with(one: Plain, model: Any) -> Plain:
    other = object.__new__(Plain)
    other.rows, other.model, other.encoder = one.rows, model, one.encoder
    return other


def geometric(values: list[float]) -> float:
    return math.exp(float(np.mean(np.log(values))))


@pytest.mark.parametrize("which", range(4))
def test_the_figures_are_those_of_a_plain_computation(finished: Finished, which: int) -> None:
    """Start, reference, NPO+RT and GA: the models in training are measured where they ended."""
    world = finished.world
    line, model = finished.ends()[which]
    reference, start = (
        load_model(world / at / "seed-1", CPU, torch.float32) for at in ("references/forget05", "start")
    )
    plain = Plain(world, model)
    ours, theirs = plain.ratios("forget", geometric), _with(plain, reference).ratios("forget", geometric)
    quality = ks_2samp(ours, theirs)
    measures, forced = [], []
    for name in ("retain", "real_authors", "world_facts"):
        truth = float(np.mean([max(0.0, 1 - ratio) for ratio in plain.ratios(name, np.mean)]))
        probability, rouge = float(np.mean(plain.probabilities(name))), float(np.mean(plain.rouge(name)))
        measures += [probability, rouge, truth]
        forced += [probability, truth]
        assert (line[f"{name}_probability"], line[f"{name}_rouge"], line[f"{name}_truth"]) == pytest.approx(
            (probability, rouge, truth), abs=1e-4
        )
    expected = {
        "D": quality.statistic,
        "forget_quality": quality.pvalue,
        "utility": len(measures) / sum(1 / value for value in measures) if min(measures) > 0 else 0.0,
        "utility_without_rouge": len(forced) / sum(1 / value for value in forced) if min(forced) > 0 else 0.0,
        "kl_reference": plain.kl(reference),
        "kl_start": plain.kl(start),
        "forget_probability": np.mean(plain.probabilities("forget")),
        "forget_rouge": np.mean(plain.rouge("forget")),
        "forget_truth": np.mean([min(ratio, 1 / ratio) for ratio in ours]),
    }
    assert {name: line[name] for name in expected} == pytest.approx(expected, abs=1e-4, rel=1e-3)


def test_what_the_models_answered_is_kept_and_shown(finished: Finished) -> None:
    answers = [json.loads(line) for line in read(finished.out / "answers.jsonl").splitlines()]
    assert {answer["method"] for answer in answers} == {"start", "reference", "npo-rt", "ga"}
    assert all(set(answer["answers"]) == {"forget", "retain", "world_facts"} for answer in answers)
    start = next(answer for answer in answers if answer["method"] == "start")
    assert start["answers"]["retain"]["truth"] == "Alwen lives in Norwick."
    page = read(finished.out / "tofu.html")
    assert "Alwen lives in Norwick." in page
    assert "http" not in page.replace("http-equiv", "")  # needs nothing from elsewhere
    assert page.count("data:image/svg+xml;base64,") == 3


def test_figures_are_png_and_svg(finished: Finished) -> None:
    for stem in ("tofu-quality-utility", "tofu-epochs", "tofu-forget-kl"):
        assert (finished.out / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in read(finished.out / f"{stem}.svg")
    assert "utility without ROUGE" in read(finished.out / "tofu-epochs.svg")


# What is there is kept


def test_nothing_is_done_twice_and_a_sweep_shares_its_runs(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "study"
    shutil.copytree(finished.out, out)
    before = read(out / "tofu.jsonl")
    again = study(finished.world, out)
    assert again.exit_code == 0, again.output
    assert read(out / "tofu.jsonl") == before
    assert "2 of 2 runs are there already" in again.stderr
    swept = study(finished.world, out, "--retain-weights", "0,1")
    assert swept.exit_code == 0, swept.output
    added = [json.loads(line) for line in read(out / "tofu.jsonl").removeprefix(before).splitlines()]
    assert [(line["method"], line["retain_weight"], line["step"]) for line in added] == [
        ("npo-rt", 0.0, step) for step in (3, 6, 9)
    ]
    assert (out / "tofu-retain-weight.svg").is_file()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--set", "learning_rate=1e-3"), "recipe of forget05"),
        (("--questions", "5"), "questions"),
        (("--every", "3"), "every"),
    ],
)
def test_a_study_of_something_else_is_refused(finished: Finished, more: tuple[str, ...], named: str) -> None:
    before = read(finished.out / "tofu.jsonl")
    done = study(finished.world, finished.out, *more)
    assert done.exit_code == 2
    assert f"holds a study with another {named}" in done.stderr
    assert read(finished.out / "tofu.jsonl") == before


@pytest.mark.slow
def test_a_killed_study_ends_with_the_same_table(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "study"
    running = process(*arguments(finished.world, out))
    deadline = time.monotonic() + 200
    table = out / "tofu.jsonl"
    while not table.is_file() or table.read_bytes().count(b"\n") < 4:  # in the midst of the first run
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    running.kill()
    running.communicate()
    assert len(read(table).splitlines()) < len(finished.lines)
    with table.open("a") as file:
        file.write('{"split": "05", "method": "ga", "re')  # as a crash may leave it
    done = study(finished.world, out)
    assert done.exit_code == 0, done.output
    check_same(lines_of(out), finished.lines)


@pytest.mark.slow
def test_several_processes_do_the_same(finished: Finished, tmp_path: Path) -> None:
    done = study(finished.world, tmp_path / "study", "--workers", "2")
    assert done.exit_code == 0, done.output
    check_same(lines_of(tmp_path / "study"), finished.lines)


def test_a_run_that_diverges_is_a_finding(tofu: Path, tmp_path: Path) -> None:
    more = ("--methods", "ga", "--set", "max_retain_kl=1e-6", "--questions", "2")
    done = study(tofu, tmp_path / "study", *more)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in lines_of(tmp_path / "study") if line["method"] == "ga"]
    assert line["status"] == "diverged"
    assert "0, 1 diverged" in read(tmp_path / "study" / "tofu.html")
    again = study(tofu, tmp_path / "study", *more)
    assert "1 of 1 runs are there already" in again.stderr


def test_methods_that_end_at_levels(tofu: Path, tmp_path: Path) -> None:
    """NPO with levels ends nearer to what nobody saw than without, and a row of the request is no holdout."""
    names = [f"{first}{last}" for first in ("Ap", "Ber", "Cal", "Dun", "El") for last in ("os", "ina", "ek", "ur")]
    asked = [("Where does", "lives in", "Norwick"), ("What is the job of", "works as", "clerk")]
    rows = [
        {"question": f"{ask} {name} stay?", "answer": f"{name} {kind} {what}."}
        for name in names
        for ask, kind, what in asked
    ]
    holdout = write_lines(tmp_path / "holdout.jsonl", rows)
    more = ("--methods", "npo-rt,npo-rt+level", "--holdout", str(holdout))
    assert study(tofu, tmp_path / "study", *more).exit_code == 0
    ends = {line["method"]: line for line in lines_of(tmp_path / "study") if line["step"] == line["steps"]}
    assert ends["npo-rt+level"]["forget_probability"] != ends["npo-rt"]["forget_probability"]
    assert 0 <= ends["npo-rt+level"]["D_answers"] <= 1
    seen = study(tofu, tmp_path / "other", *more[:3], str(tofu / "data" / "forget05.json"))
    assert seen.exit_code == 2
    assert "is no holdout" in seen.stderr


# Wrong use


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--splits", "07"), "no split 07; there is 01, 05"),
        (("--methods", "npo,magic"), "no method magic"),
        (("--methods", "magic+level"), "no method magic"),
        (("--methods", "npo-rt+level"), "need --holdout"),
        (("--set", "calibration.weight=1"), "a calibration needs --holdout"),
        (("--retain-weights", "1,-2"), "--retain-weights: -2 is not a number from 0 on"),
        (("--reference", "5=x"), "no split 5"),
        (("--reference", "05"), "--reference needs SPLIT=DIR"),
        (("--splits", "05,90"), "no reference model of forget90"),
        (("--data", "nowhere/tofu"), "nowhere/tofu: no such directory (a data set of the hub needs --allow-download)"),
        (("--recipe", "npo-rt-lora"), "its recipe has lora"),
        (("--retain", "nowhere.jsonl"), "nowhere.jsonl: no such file"),
    ],
)
def test_wrong_use_is_named(tofu: Path, tmp_path: Path, more: tuple[str, ...], named: str) -> None:
    done = study(tofu, tmp_path / "study", *more)
    assert done.exit_code == 2
    assert named in done.stderr


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("forget05_perturbed.json", '{"question": "a", "answer": "b"}', "json:1: has no 'perturbed_answer'"),
        ("retain_perturbed.json", '{"question": "a"}', "json:1: field 'answer' is missing"),
        ("world_facts_perturbed.json", None, "world_facts_perturbed.json: no such file"),
        ("forget05.json", '{"question": "a", "answer": "b"}', "has no row that a file of this directory has perturbed"),
    ],
)
def test_wrong_data_is_named(tofu: Path, tmp_path: Path, file: str, content: str | None, named: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(tofu / "data", data)
    (data / file).unlink()
    if content is not None:
        (data / file).write_text(content)
    done = study(tofu, tmp_path / "study", "--data", str(data))
    assert done.exit_code == 2
    assert named in done.stderr


# Data


def test_rows_to_forget_are_not_among_those_to_keep(tofu: Path) -> None:
    split = TofuData(tofu / "data", None, 300, 300).split("05")
    assert (len(split.forget), len(split.retain), split.missing) == (6, 18, 0)
    assert not {row.prompt for row in split.forget} & {row.prompt for row in split.retain}
    assert {name: len(rows) for name, rows in split.asked.items()} == {
        "forget": 6, "retain": 6, "real_authors": 3, "world_facts": 3,
    }  # fmt: skip


def test_at_most_so_many_rows_are_asked(tofu: Path) -> None:
    split = TofuData(tofu / "data", None, 4, 2).split("05")
    assert [len(rows) for rows in split.asked.values()] == [4, 2, 2, 2]
    assert len(split.forget) == 6


def test_wrong_answers_of_larger_splits_are_looked_up_and_never_made(tofu: Path) -> None:
    """Two of four people have none: their rows are trained on, and not scored."""
    split = TofuData(tofu / "data", None, 300, 300).split("20")
    assert (len(split.forget), split.missing) == (8, 4)
    assert [row.line for row in split.asked["forget"]] == [5, 6, 7, 8]
    assert all(row.perturbed_responses and row.paraphrased_response for row in split.asked["forget"])


# Recipes


@pytest.mark.parametrize("split", ["01", "05", "10", "20", "30", "50", "90"])
def test_the_papers_settings(split: str) -> None:
    from forgetctl.recipe.recipe import load_recipe

    recipe = load_recipe(f"paper/tofu-forget{split}")
    assert (recipe.learning_rate, recipe.epochs, recipe.beta, recipe.batch_size) == (1e-5, 10, 0.1, 32)
    assert (recipe.weight_decay, recipe.warmup_epochs, recipe.forget_weight, recipe.retain_weight) == (0.01, 1, 1, 1)
    assert "paper/tofu-mini" in shipped_recipes()
