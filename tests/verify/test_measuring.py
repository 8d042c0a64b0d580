"""Scoring of models one after another: what is measured of whom, divergences, other precisions, relearning."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetctl.demo.training import save, tiny_llama
from forgetctl.errors import UsageError
from forgetctl.files.writing import model_digest
from forgetctl.model.encoders import Encoders
from forgetctl.model.encoding import Encoded, Encoder
from forgetctl.model.load import load_model, load_tokenizer
from forgetctl.model.processes import Ranks
from forgetctl.model.row_scorer import ALL_MODES, UNTHINKING
from forgetctl.model.sampling import Sampling
from forgetctl.model.scores import GREEDY, SAMPLED, SERVED, Elicited, Role, Scores, ScoreSet
from forgetctl.model.scoring import score
from forgetctl.progress import Silent
from forgetctl.recipe.recipe import Lora, Recipe, Verify
from forgetctl.rows.reading import read_rows
from forgetctl.rows.row import Row
from forgetctl.train.fine_tuning import fine_tune, fine_tuning
from forgetctl.verify._draws import Draws
from forgetctl.verify.checks import _attack as attack
from forgetctl.verify.checks._attack import split_halves
from forgetctl.verify.measuring import RowSets, Scorer, check_length
from forgetctl.verify.measuring import _repeats as repeats
from forgetctl.verify.options import VerifyOptions
from tests.world import encoder_of, untrained_model

CPU = torch.device("cpu")
QUICK = Verify(answer_tokens=6, samples=2, sampled_rows=2)
RECIPE = Recipe(method="npo-rt", verify=QUICK, seed=3, learning_rate=1e-2)
PEOPLE = 5  # rows each


class Counting(Silent):
    """Keeps every bar's title, its size and how far it came."""

    def __init__(self) -> None:
        self.bars: list[list[Any]] = []

    def bar(self, title: str, total: int) -> AbstractContextManager[Any]:
        self.bars.append([title, total, 0])
        return super().bar(title, total)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.bars[-1][2] += steps


@pytest.fixture(scope="module")
def sets(world: Path) -> RowSets:
    """Requests of two people, and others to compare on; real authors and the holdout have wrong answers too."""
    request = read_rows(world / "requests.jsonl")
    rows = {
        "forget": request[: 2 * PEOPLE],
        "retain": read_rows(world / "remaining.jsonl")[:8],
        "holdout": [replace(row, perturbed_responses=("No.",)) for row in read_rows(world / "holdout.jsonl")[:6]],
        "real_authors": request[2 * PEOPLE : 2 * PEOPLE + 4],
        "rephrased-1": [replace(row, context=(("user", f"Well, {row.prompt}"),)) for row in request[: 2 * PEOPLE]],
    }
    return RowSets(rows=rows, files=dict.fromkeys(rows, world / "requests.jsonl"), perturbed="request")


def scorer(sets: RowSets, recipe: Recipe = RECIPE) -> Scorer:
    return Scorer(sets=sets, recipe=recipe, device=CPU, progress=Counting())


def only(sets: RowSets, *names: str) -> RowSets:
    return replace(sets, rows={name: sets.rows[name] for name in names})


def encoded(world: Path, rows: Sequence[Row]) -> list[Encoded]:
    encoder = encoder_of(world)
    return [encoder.encode(row) for row in rows]


# What is measured of whom


def measured(scores: Scores) -> dict[str, tuple[tuple[str, ...], bool, bool]]:
    """For each set, how answers were asked for, and whether token scores and truth ratios were measured."""
    return {
        name: (tuple(item.elicited), item.min_k is not None, item.perturbed_logp is not None)
        for name, item in scores.sets.items()
    }


COMPARED = {
    "forget": (tuple(mode for mode in ALL_MODES if mode != UNTHINKING), True, True),  # this model does not think
    "retain": ((GREEDY,), False, False),  # these rows have no wrong answers
    "holdout": ((), True, True),  # with wrong answers, as far as the holdout has any
    "real_authors": ((GREEDY,), False, True),
    "rephrased-1": ((GREEDY,), True, True),
}
AT_START = COMPARED | {"forget": ((GREEDY,), True, True), "rephrased-1": ((), False, False)}


def test_what_is_measured_of_every_model(world: Path, sets: RowSets) -> None:
    scoring = scorer(sets)
    unlearned, reference = scoring.unlearned(world / "model"), scoring.reference(world / "reference")
    further, start = scoring.further_reference(world / "reference"), scoring.start(world / "model")
    for scores, role, name, expected in (
        (unlearned, "unlearned", "model", COMPARED),
        (reference, "reference", "reference", COMPARED),
        (further, "reference", "reference", COMPARED),
        (start, "start", "model", AT_START),
    ):
        assert measured(scores) == expected
        assert (scores.role, scores.name, scores.precision, scores.perturbed) == (role, name, None, "request")
        assert scores.sha256 == model_digest(world / name)
        for key, rows in sets.rows.items():
            if key in scores.sets:
                assert scores.sets[key].names == [str(row.line) for row in rows]
    assert further == reference
    assert unlearned.sha256 != reference.sha256
    # Each model's own scores, not another's.
    for scores, name in ((unlearned, "model"), (reference, "reference")):
        plain = score(load_model(world / name, CPU, torch.float32), encoded(world, sets.rows["retain"]))
        assert scores.sets["retain"].answer_logp == pytest.approx(plain, abs=1e-4)
    assert isinstance(scoring.progress, Counting)
    assert [bar[0] for bar in scoring.progress.bars] == [
        f"Scoring the {role} model" for role in ("unlearned", "reference", "reference", "start")
    ]
    for title, total, done in scoring.progress.bars:
        assert done == total, title
    # 10 forget rows and 4 modes, 8 retain, 6 holdout, 4 and 10 others: 50 + 16 + 6 + 8 + 20.
    assert [bar[1] for bar in scoring.progress.bars] == [100, 100, 100, 20 + 16 + 6 + 8 + 10]


def test_fact_tokens_are_told_of_the_request_and_of_unseen_rows(world: Path, sets: RowSets) -> None:
    """By the same retain rows for every model; without these nobody knows which tokens are facts."""
    scoring = scorer(only(sets, "forget", "retain", "holdout", "rephrased-1"))
    unlearned, start = scoring.unlearned(world / "model"), scoring.start(world / "model")
    facts = {name: one.facts for name, one in unlearned.sets.items()}
    assert {name for name, one in facts.items() if one} == {"forget", "holdout"}
    assert facts["forget"] is not None
    tokens = sum(row.tokens for row in encoded(world, sets.rows["retain"]))
    assert facts["forget"].pairs == tokens
    assert facts["forget"] == start.forget.facts
    assert scorer(only(sets, "forget", "holdout")).unlearned(world / "model").forget.facts is None


def test_answers_are_drawn_as_served_where_that_is_asked_for(world: Path, sets: RowSets) -> None:
    served = Sampling(temperature=0.01)
    scoring = replace(scorer(only(sets, "forget", "retain")), served=served)
    forget = scoring.unlearned(world / "model").forget
    assert tuple(forget.elicited)[-2:] == (SAMPLED, SERVED)
    cold, plain = forget.elicited[SERVED], forget.elicited[SAMPLED]
    assert (cold.sampling, plain.sampling, cold.answers) == (served, None, QUICK.samples)
    asked = [row for row, recall in enumerate(cold.recall) if recall is not None]
    assert asked == [row for row, recall in enumerate(plain.recall) if recall is not None]
    greedy = forget.elicited[GREEDY].recall
    assert [cold.recall[row] for row in asked] == [greedy[row] for row in asked]  # so cold that it is greedy
    assert SERVED not in scoring.start(world / "model").forget.elicited


def test_how_many_answers_are_drawn_and_how(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"do_sample": true, "top_p": 0.9}')
    many = QUICK.model_copy(update={"samples": 100})
    for options, model, samples, served in (
        (VerifyOptions(), tmp_path, 2, None),
        (VerifyOptions(attacks="full"), tmp_path, 64, Sampling(top_p=0.9)),
        (VerifyOptions(attacks="full", sampling=Sampling(top_k=3)), tmp_path, 64, Sampling(top_k=3)),
        (VerifyOptions(attacks="full"), tmp_path / "none", 64, None),
        (VerifyOptions(sampling=Sampling()), tmp_path, 2, None),
        (VerifyOptions(sampling=Sampling(top_k=3)), tmp_path / "none", 2, Sampling(top_k=3)),
    ):
        drawn = Draws.of(options, QUICK, model)
        assert (drawn.settings.samples, drawn.served) == (samples, served)
        assert bool(drawn.skipped) == (served is None and options.sampling is None)
    assert Draws.of(VerifyOptions(attacks="full"), many, tmp_path).settings.samples == 100


def test_scores_do_not_depend_on_which_models_came_before(world: Path, sets: RowSets) -> None:
    forget = only(sets, "forget")
    alone = scorer(forget).further_reference(world / "reference")
    after = scorer(forget)
    after.unlearned(world / "model")
    torch.rand(5)
    assert after.reference(world / "reference") == alone


@pytest.mark.parametrize(("counts", "expected"), [([0, None], False), ([0, 1], True), (None, False)])
def test_what_an_answer_repeats_is_seen(counts: list[int | None] | None, expected: bool) -> None:
    mode = Elicited(recall=[0.0, 0.0], verbatim=counts)
    assert (
        repeats(known([Row(1, (), "a"), Row(2, (), "b")]).model_copy(update={"elicited": {"sampled": mode}}))
        is expected
    )


def test_unseen_rows_are_asked_for_only_where_nothing_else_shows_what_chance_says(
    world: Path, sets: RowSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the ways in which the request is asked for, samples aside."""
    some = only(sets, "forget", "holdout")
    assert scorer(some).unlearned(world / "model", alone=True).sets["holdout"].elicited == {}  # it repeats nothing
    monkeypatch.setattr("forgetctl.verify.measuring._repeats", lambda rows: True)
    assert scorer(some).unlearned(world / "model").sets["holdout"].elicited == {}
    scoring = scorer(some)
    found = scoring.unlearned(world / "model", alone=True)
    asked = found.sets["holdout"].elicited
    assert set(asked) == set(found.forget.elicited) - {"sampled"}
    assert all(len(mode.recall) == 6 for mode in asked.values())
    assert isinstance(scoring.progress, Counting)
    assert scoring.progress.bars[-1] == ["Asking for unseen rows", 18, 18]  # three ways, six rows


# Divergences


@torch.no_grad()
def plain_kl(world: Path, p: str, q: str, rows: Sequence[Row]) -> float:
    """KL(p || q) over the full vocabulary, mean over answer tokens, one row at a time."""
    ours, theirs = (load_model(world / name, CPU, torch.float32) for name in (p, q))
    total, tokens = 0.0, 0
    for row in encoded(world, rows):
        ids = torch.tensor([row.ids])
        one, other = (m(input_ids=ids).logits[0, row.start - 1 : -1].double().log_softmax(-1) for m in (ours, theirs))
        total += float((one.exp() * (one - other)).sum())
        tokens += row.tokens
    return total / tokens


def test_divergences_are_the_plain_ones(world: Path, sets: RowSets) -> None:
    scoring = scorer(only(sets, "forget", "retain"))
    scoring.unlearned(world / "model")
    assert scoring.kl == {}
    scoring.further_reference(world / "reference")
    assert scoring.kl == {}
    scoring.start(world / "model")
    assert scoring.kl == {"forget_from_start": pytest.approx(0, abs=1e-6)}
    assert (scoring.kl["forget_from_start"] or 0) >= 0
    scoring.reference(world / "reference")
    assert scoring.skipped == {}
    for name in ("forget", "retain"):
        there = plain_kl(world, "reference", "model", sets.rows[name])
        back = plain_kl(world, "model", "reference", sets.rows[name])
        assert abs(there - back) > 0.02
        assert scoring.kl[f"{name}_distance"] == pytest.approx(there, rel=1e-3)
    assert set(scoring.kl) == {"forget_from_start", "forget_distance", "retain_distance"}


def test_divergence_from_a_start_that_differs(world: Path, sets: RowSets) -> None:
    scoring = scorer(only(sets, "forget"))
    scoring.unlearned(world / "reference")
    scoring.start(world / "model")
    expected = plain_kl(world, "model", "reference", sets.forget)
    assert scoring.kl == {"forget_from_start": pytest.approx(expected, rel=1e-3)}


def test_without_retain_rows_there_is_a_reason(world: Path, sets: RowSets) -> None:
    scoring = scorer(only(sets, "forget"))
    scoring.unlearned(world / "model")
    scoring.reference(world / "reference")
    assert set(scoring.kl) == {"forget_distance"}
    assert scoring.skipped == {"kl.retain_distance": "there are no retain rows to compare on"}


def test_another_tokenizer_has_no_divergence(world: Path, sets: RowSets, tmp_path: Path) -> None:
    other = untrained_model(tmp_path / "other")
    scoring = scorer(only(sets, "forget", "retain"))
    scoring.unlearned(world / "model")
    scores = scoring.reference(other)
    assert set(scores.sets) == {"forget", "retain"}
    assert scoring.kl == {}
    why = "the two models tokenise the rows differently"
    assert scoring.skipped == {"kl.forget_distance": why, "kl.retain_distance": why}


def test_another_vocabulary_has_no_divergence(world: Path, sets: RowSets, tmp_path: Path) -> None:
    """The same tokenizer, but an embedding with rows to spare, as some models have."""
    tokenizer = load_tokenizer(world / "model")
    save(tiny_llama(len(tokenizer) + 8, 0, width=32), tokenizer, tmp_path / "wider")
    scoring = scorer(only(sets, "forget"))
    scoring.unlearned(world / "model")
    scoring.start(tmp_path / "wider")
    assert scoring.kl == {}
    assert scoring.skipped == {"kl.forget_from_start": "the two models have vocabularies of different size"}


# Other precisions


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_cheap_checks_at_another_precision(precision: str, world: Path, sets: RowSets) -> None:
    scoring = scorer(sets)
    roles: dict[Role, tuple[str, ...]] = {"unlearned": (GREEDY,), "reference": (GREEDY,), "start": ()}
    plain = score(load_model(world / "model", CPU, torch.float32), encoded(world, sets.forget))
    for role, modes in roles.items():
        scores = scoring.at_precision(role, world / "model", precision)
        assert measured(scores) == {"forget": (modes, False, True), "retain": ((), False, False)}
        assert (scores.role, scores.name, scores.precision) == (role, "model", precision)
        assert scores.sha256 == model_digest(world / "model")
        assert scores.forget.answer_logp != pytest.approx(plain, abs=1e-5)
        assert scores.forget.answer_logp == pytest.approx(plain, abs=3)
    assert (scoring.kl, scoring.skipped) == ({}, {})
    assert isinstance(scoring.progress, Counting)
    assert scoring.progress.bars[0] == [f"Scoring the unlearned model at {precision}", 28, 28]
    assert all(total == done for _, total, done in scoring.progress.bars)


# Relearning


def known(rows: Sequence[Row], tokens: int = 7) -> ScoreSet:
    """Scores of before, with numbers of subjects and copies that nobody would count again."""
    n = len(rows)
    return ScoreSet(
        names=[str(row) for row in range(100, 100 + n)],
        answer_logp=[-1.0] * n,
        answer_tokens=[tokens] * n,
        subjects=[5] * n,
        copies=list(range(n)),
    )


def relearned(world: Path, sets: RowSets, recipe: Recipe = RECIPE, name: str = "model") -> Scores:
    return attack.relearned(scorer(only(sets, "forget"), recipe), "unlearned", world / name, known(sets.forget))


def test_each_half_is_scored_after_training_on_the_other(world: Path, sets: RowSets) -> None:
    found = relearned(world, sets, name="reference")
    rows = encoded(world, sets.forget)
    expected = {}
    for taught, tested in ((0, 1), (1, 0)):
        model = load_model(world / "reference", CPU, torch.float32)
        halves = split_halves(sets.forget)
        fine_tune(model, [rows[i] for i in halves[taught]], fine_tuning(epochs=1, learning_rate=1e-2, seed=3))
        expected |= dict(zip(halves[tested], score(model, [rows[i] for i in halves[tested]]), strict=True))
    plain = score(load_model(world / "reference", CPU, torch.float32), rows)
    assert found.forget.answer_logp == pytest.approx([expected[i] for i in range(len(rows))], abs=1e-4)
    assert found.forget.answer_logp != pytest.approx(plain, abs=0.1)
    before = known(sets.forget)
    assert found.forget == before.model_copy(update={"answer_logp": found.forget.answer_logp})
    assert (found.role, found.name, set(found.sets)) == ("unlearned", "reference", {"forget"})
    assert found.sha256 == model_digest(world / "reference")


def test_what_is_taught_is_never_tested(world: Path, sets: RowSets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even as a copy in other letters; each row is tested once, after an epoch of the other half."""
    rows = [*sets.forget[:6], replace(sets.forget[1], context=(("user", sets.forget[1].prompt.upper()),))]
    taught: list[list[Encoded]] = []
    tested: list[list[Encoded]] = []
    attacks: list[Recipe] = []

    def note(_model: Any, lessons: list[Encoded], recipe: Recipe, **_: Any) -> None:
        taught.append(lessons)
        attacks.append(recipe)

    monkeypatch.setattr(attack, "fine_tune", note)
    monkeypatch.setattr(attack, "score", lambda _m, items: (tested.append(items), [-1.0] * len(items))[1])
    recipe = RECIPE.model_copy(update={"micro_batch_size": 2})
    relearned(world, replace(sets, rows={"forget": rows}), recipe)
    assert len(taught) == len(tested) == 2
    assert sum(map(len, tested)) == sum(map(len, taught)) == 7
    answers = [[{item.ids[item.start :] for item in some} for some in part] for part in (taught, tested)]
    for to_learn, examined in zip(*answers, strict=True):
        assert to_learn
        assert examined
        assert not to_learn & examined
    assert [(a.epochs, a.learning_rate, a.seed, a.micro_batch_size) for a in attacks] == [(1, 1e-2, 3, 2)] * 2
    assert {(a.name, a.batch_size, a.warmup_epochs) for a in attacks} == {("rt", 32, 0.0)}


@pytest.mark.parametrize(
    ("own", "sharded", "used"),
    [("adamw", False, "adamw"), ("adamw8bit", False, "adamw8bit"), ("adamw8bit", True, "adamw")],
)
def test_the_attack_takes_the_runs_optimizer_where_it_can(
    own: str, sharded: bool, used: str, world: Path, sets: RowSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may fit into the memory with no other; FSDP has none with 8-bit moments."""
    taken: list[str] = []
    monkeypatch.setattr(attack, "fine_tune", lambda _model, _rows, recipe, **_: taken.append(recipe.optimizer))
    recipe = RECIPE.model_copy(update={"optimizer": own})
    attacked = replace(scorer(only(sets, "forget"), recipe), ranks=Ranks(sharded=sharded))
    attack.relearned(attacked, "unlearned", world / "model", known(sets.forget))
    assert taken == [used] * 2


def test_the_rate_of_the_attack(world: Path, sets: RowSets) -> None:
    """Its own if the recipe names one, else the recipe's; next to none changes next to nothing."""
    own = RECIPE.model_copy(update={"verify": QUICK.model_copy(update={"relearn_learning_rate": 1e-12})})
    plain = score(load_model(world / "model", CPU, torch.float32), encoded(world, sets.forget))
    assert relearned(world, sets, own).forget.answer_logp == pytest.approx(plain, abs=1e-3)
    same = RECIPE.model_copy(
        update={"verify": QUICK.model_copy(update={"relearn_learning_rate": 1e-2}), "learning_rate": 1.0}
    )
    assert relearned(world, sets, same) == relearned(world, sets)


@pytest.mark.parametrize(
    "lora", [None, Lora(rank=4, alpha=8), Lora(rank=4, alpha=8, dropout=0.3)], ids=["full", "lora", "dropout"]
)
def test_the_attack_depends_on_the_seed_alone(lora: Lora | None, world: Path, sets: RowSets) -> None:
    """Also where adapters start from random numbers, or drop some."""
    recipe = RECIPE.model_copy(update={"lora": lora, "learning_rate": 5e-2 if lora else 1e-2})
    torch.manual_seed(1)
    first = relearned(world, sets, recipe, "reference")
    torch.manual_seed(2)
    torch.rand(9)
    second = relearned(world, sets, recipe, "reference")
    plain = score(load_model(world / "reference", CPU, torch.float32), encoded(world, sets.forget))
    assert first.forget.answer_logp != pytest.approx(plain, abs=0.1)
    assert second == first


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4)], ids=["full", "lora"])
def test_the_model_on_disk_is_not_changed(lora: Lora | None, world: Path, sets: RowSets, tmp_path: Path) -> None:
    shutil.copytree(world / "model", tmp_path / "model")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    relearned(tmp_path, only(sets, "forget"), RECIPE.model_copy(update={"lora": lora}))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_attack_shows_its_steps(world: Path, sets: RowSets) -> None:
    scoring = scorer(only(sets, "forget"))
    attack.relearned(scoring, "reference", world / "model", known(sets.forget))
    assert isinstance(scoring.progress, Counting)
    assert scoring.progress.bars == [["Teaching the reference model again", 1, 1]] * 2


# Halves


def row(subject: str | None, text: str) -> Row:
    return Row(1, (("user", "Who?"),), text, subject_id=subject)


def test_halves_by_hand() -> None:
    """a begins on the first side, b and c on the emptier one; the copy of a's first row joins it, whoever names it."""
    rows = [row("a", "1"), row("b", "2"), row("a", "3"), row("a", "4"), row("b", " 1 "), row("b", "5"), row("c", "6")]
    assert split_halves(rows) == ([0, 3, 4, 5], [1, 2, 6])


def test_rows_without_subjects_alternate() -> None:
    assert split_halves([row(None, str(number)) for number in range(5)]) == ([0, 2, 4], [1, 3])


def test_few_rows() -> None:
    assert split_halves([]) == ([], [])
    assert split_halves([row("a", "1")]) == ([0], [])
    assert split_halves([row("a", "x"), row("b", "X ")]) == ([0, 1], [])
    assert split_halves([row("a", "1"), row("b", "2")]) == ([0], [1])


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from("uvwxyz")), max_size=20))
@settings(max_examples=50, deadline=None)
def test_halves_share_subjects_but_no_row(drawn: list[tuple[str | None, str]]) -> None:
    rows = [row(subject, text) for subject, text in drawn]
    one, other = split_halves(rows)
    assert sorted([*one, *other]) == list(range(len(rows)))
    assert one == sorted(one)
    assert other == sorted(other)
    assert not {drawn[i][1] for i in one} & {drawn[i][1] for i in other}
    first = [i for i, (_, text) in enumerate(drawn) if text not in [before for _, before in drawn[:i]]]
    for subject in {subject for subject, _ in drawn}:
        sides = [i in one for i in first if drawn[i][0] == subject]
        assert all(side != following for side, following in itertools.pairwise(sides))
    sides = [i in one for i in first]  # each subject tips the balance by one row at most
    assert abs(2 * sum(sides) - len(sides)) <= len({subject for subject, _ in drawn})


# Rows that do not fit


@pytest.mark.parametrize("field", ["response", "paraphrased_response", "perturbed_responses"])
def test_rows_that_do_not_fit_the_model_are_refused_with_its_name(field: str, world: Path, sets: RowSets) -> None:
    long = "Alwen lives in Norwick. " * 60
    value: Any = ("No.", long) if field == "perturbed_responses" else long
    changed = replace(sets.forget[2], **{field: value})
    check_length(sets, RECIPE, world / "model", Encoders())
    with pytest.raises(UsageError, match=r"longer than the model's context of 256 tokens") as caught:
        check_length(replace(sets, rows={"forget": [changed]}), RECIPE, world / "model", Encoders())
    assert str(caught.value).endswith(f"(model {world / 'model'})")
    assert f"row {changed.line} is" in str(caught.value)
    assert "Norwick" not in str(caught.value)
    check_length(
        replace(sets, rows={"forget": [changed]}),
        RECIPE.model_copy(update={"max_length": 256}),
        world / "model",
        Encoders(),
    )


def test_representation_holds_no_text(sets: RowSets) -> None:
    assert sets.forget[0].response not in repr(sets)
    assert Encoder.__name__ not in repr(sets)
