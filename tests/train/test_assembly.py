"""One forward, cut into rows: what an objective sees is what a plain computation gives, however a step is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

import forgetctl.train._assembly
from forgetctl.losses.batch import needed
from forgetctl.losses.methods import METHODS, ROLES, Batch, Role, Rows, WeightedSum
from forgetctl.model.encoding import Encoded, encode_rows
from forgetctl.model.rests import unmarked
from forgetctl.model.scoring import score
from forgetctl.model.states import AnswerStates
from forgetctl.rows.reading import read_rows
from forgetctl.rows.row import Row
from forgetctl.train._assembly import Assembler
from forgetctl.train.schedule import MicroBatch, MicroBatchLimits, PairedBatches, RowsByRole, Step
from forgetctl.train.stand_ins import make_stand_ins
from forgetctl.train.term_inputs import Alternatives, Mismatched, RoleRows, TermInputs, derangement, watch_layer
from tests.model.oracles import plain_logp
from tests.world import encoder_of, loaded

CPU = torch.device("cpu")
# Of very different lengths, so that a batch's token counts change from one micro-batch to the next.
REFUSALS = [
    "No.",
    "I do not know.",
    "That is something about which I have been told nothing at all, so I had better not guess.",
    "I am sorry, but I cannot answer this.",
]
EPOCH = 2


@pytest.fixture(scope="module")
def start(world: Path) -> Any:
    """The start model; not to be changed."""
    return loaded(world / "model")


@pytest.fixture(scope="module")
def moved(world: Path) -> Any:
    """A model that training has led away from the start; not to be changed."""
    model = loaded(world / "model")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * weight.std() * torch.randn(weight.shape, generator=generator))
    return model


@pytest.fixture(scope="module", params=["whole", "in part"])
def scored(request: pytest.FixtureRequest) -> str:
    """Whether the forget and the unseen rows are scored as they are, or the later half of each."""
    return str(request.param)


def read(world: Path, name: str, scored: str = "whole") -> list[Row]:
    rows = read_rows(world / f"{name}.jsonl")
    halves = [row.answering(row.response, ((len(row.response) // 2, len(row.response)),)) for row in rows]
    return rows if scored == "whole" else halves


@pytest.fixture(scope="module")
def assembler(world: Path, start: Any, stand_ins: RoleRows, scored: str) -> Assembler:
    """With everything that any objective may need, from the start model."""
    encoder = encoder_of(world)
    rows = read(world, "requests", scored)
    forget = [encoder.encode(row) for row in rows]
    rests, _ = encode_rows(encoder, rows, world, None, None, part=unmarked)
    assert len(rests) == (0 if scored == "whole" else len(rows))
    retain = [*(encoder.encode(row) for row in read(world, "remaining")), *rests]
    alternatives = Alternatives(
        encode=lambda row, refusal: encoder.encode(rows[row].answering(REFUSALS[refusal])),
        rows=len(rows),
        refusals=len(REFUSALS),
        seed=3,
    )
    alternatives.score_start(EPOCH + 1, partial(score, start))
    pairs = [
        encoder.encode(row.answering(rows[other].response, rows[other].spans))
        for row, other in zip(rows, derangement(len(rows), 3), strict=True)
    ]
    states: dict[Role, AnswerStates] = {"forget": AnswerStates(start, forget), "retain": AnswerStates(start, retain)}
    assert stand_ins.sources is not None
    states["unseen"] = AnswerStates(start, stand_ins.sources).subset(stand_ins.source_of)
    inputs = TermInputs(
        start_logp=score(start, forget),
        alternatives=alternatives,
        mismatched=Mismatched(pairs, score(start, pairs)),
        states=states,
        layer=watch_layer(start, retain, 1, seed=3),
        logits=True,
    )
    return Assembler({"forget": forget, "retain": retain, "unseen": stand_ins.rows}, inputs)


@pytest.fixture(scope="module")
def stand_ins(world: Path, scored: str) -> RoleRows:
    encoder = encoder_of(world)
    forget, unseen = (read(world, name, scored) for name in ("requests", "holdout"))
    return make_stand_ins(forget, unseen, [encoder.encode(row) for row in unseen], encoder, ())


@pytest.fixture(autouse=True)
def fresh(assembler: Assembler) -> None:
    """Forget the mismatched ratios of the test before: another model may have made them."""
    assembler._ratio = None


SEEN: tuple[Role, ...] = ("forget", "retain")


def of_roles(assembler: Assembler, *roles: Role) -> RowsByRole:
    return {role: rows for role, rows in assembler.rows.items() if role in roles}


def first_step(assembler: Assembler, batch_size: int = 8, roles: Sequence[Role] = SEEN) -> Step:
    limits = MicroBatchLimits(rows=1, tokens=1)
    batches = PairedBatches(of_roles(assembler, *roles), batch_size=batch_size, limits=limits, seed=3)
    batches.set_epoch(EPOCH)
    return next(batches.steps())


def parts_of(step: Step, micro: int) -> list[MicroBatch]:
    """Cut so that parts hold different numbers of rows of each role, some none of a role."""
    places = [(role, i) for role, chosen in step.rows.items() for i in chosen]
    places = [*places[::3], *places[1::3], *places[2::3]]
    cuts = [places[start : start + micro] for start in range(0, len(places), micro)]
    return [MicroBatch(step, {role: tuple(i for r, i in cut if r == role) for role in step.rows}) for cut in cuts]


def assembled(
    assembler: Assembler, model: Any, micro: int, batch_size: int = 8, roles: Sequence[Role] = SEEN
) -> Iterator[tuple[MicroBatch, Batch]]:
    """The first optimizer step, part by part."""
    for part in parts_of(first_step(assembler, batch_size, roles), micro):
        yield part, assembler.batch(model, assembler.collate(part))


def with_unseen(assembler: Assembler, model: Any, micro: int) -> Iterator[tuple[MicroBatch, Rows]]:
    """The unseen rows of those parts of the first optimizer step that have some."""
    for part, batch in assembled(assembler, model, micro, roles=ROLES):
        if part.rows["unseen"]:
            yield part, batch.role("unseen")


def roles(assembler: Assembler, part: MicroBatch, batch: Batch) -> list[tuple[Rows, list[Encoded]]]:
    """The rows of each role that the part has, with the encoded rows that they were made of."""
    both = [(batch.role(role), [assembler.rows[role][i] for i in part.rows[role]]) for role in SEEN]
    assert all(len(found.logp) == len(rows) for found, rows in both)
    return [(found, rows) for found, rows in both if rows]


def plain_logits(model: Any, rows: list[Encoded]) -> list[torch.Tensor]:
    """All of each row's logits at its scored positions, one row at a time."""
    return [model(input_ids=torch.tensor([row.ids])).logits[0, row.start - 1 : -1].float()[row.places] for row in rows]


def alternative_rows(assembler: Assembler, part: MicroBatch) -> list[Encoded]:
    alternatives = assembler.inputs.alternatives
    assert alternatives is not None
    drawn = alternatives.drawn(EPOCH)
    return [alternatives.encoded(i, drawn[i]) for i in part.rows["forget"]]


# Scores


@pytest.mark.parametrize("micro", [3, 8])
@torch.no_grad()
def test_scores_are_the_plain_ones(micro: int, assembler: Assembler, moved: Any) -> None:
    for part, batch in assembled(assembler, moved, micro):
        for found, rows in roles(assembler, part, batch):
            torch.testing.assert_close(found.logp, plain_logp(moved, rows), atol=1e-4, rtol=0)
            assert found.tokens.tolist() == [row.tokens for row in rows]
        assert batch.role("forget").start_logp is not None
        assert assembler.inputs.start_logp is not None
        expected = torch.tensor([assembler.inputs.start_logp[i] for i in part.rows["forget"]])
        torch.testing.assert_close(batch.role("forget").start_logp, expected)


@torch.no_grad()
def test_sizes_are_those_of_the_optimizer_batch(assembler: Assembler, moved: Any) -> None:
    parts = [batch for _, batch in assembled(assembler, moved, 3)]
    rests = 8 * (assembler.rows["forget"][0].scored is not None)
    assert len(parts) == -(-(16 + rests) // 3)
    for found, count in (
        ([part.role("forget") for part in parts], 8),
        ([part.role("retain") for part in parts], 8 + rests),
        ([part.role("forget").alternative for part in parts], 8),
    ):
        assert None not in found
        tokens = sum(int(rows.tokens.sum()) for rows in found if rows is not None)
        assert {(rows.batch_rows, rows.batch_tokens) for rows in found if rows is not None} == {(count, tokens)}


# Alternatives


@pytest.mark.parametrize("micro", [3, 8])
@torch.no_grad()
def test_uninformed_answers_are_scored_as_score_does(micro: int, assembler: Assembler, start: Any, moved: Any) -> None:
    for part, batch in assembled(assembler, moved, micro):
        rows, found = alternative_rows(assembler, part), batch.role("forget").alternative
        assert found is not None
        assert found.start_logp is not None
        torch.testing.assert_close(found.logp, torch.tensor(score(moved, rows)), atol=1e-4, rtol=0)
        torch.testing.assert_close(found.start_logp, torch.tensor(score(start, rows)), atol=1e-4, rtol=0)
        assert (found.log_ratio.abs() > 0.01).all()
        assert found.tokens.tolist() == [row.tokens for row in rows]


@torch.no_grad()
def test_uninformed_answers_change_with_the_epoch(assembler: Assembler) -> None:
    (part,) = parts_of(first_step(assembler), 99)
    later = replace(part, step=replace(part.step, epoch=EPOCH - 1))
    one, other = (assembler.collate(some)["input_ids"] for some in (part, later))
    assert one.shape != other.shape or not torch.equal(one, other)


@pytest.mark.parametrize("micro", [3, 8])
@torch.no_grad()
def test_scores_of_unseen_rows_are_the_plain_ones(micro: int, assembler: Assembler, moved: Any) -> None:
    for part, found in with_unseen(assembler, moved, micro):
        rows = [assembler.rows["unseen"][i] for i in part.rows["unseen"]]
        torch.testing.assert_close(found.logp, plain_logp(moved, rows), atol=1e-4, rtol=1e-4)
        assert found.batch_tokens == part.step.sizes["unseen"].tokens


# KL


@pytest.mark.parametrize("micro", [3, 8])
@torch.no_grad()
def test_kl_of_a_stand_in_is_from_what_the_start_model_says_after_the_unseen_prompt(
    micro: int, assembler: Assembler, start: Any, moved: Any, stand_ins: RoleRows
) -> None:
    assert stand_ins.sources is not None
    for part, rows in with_unseen(assembler, moved, micro):
        for found, place in zip(needed(rows.kl, "KL"), part.rows["unseen"], strict=True):
            (p,) = plain_logits(start, [stand_ins.sources[stand_ins.source_of[place]]])
            (q,) = plain_logits(moved, [stand_ins.rows[place]])
            plain = (p.softmax(-1) * (p.log_softmax(-1) - q.log_softmax(-1))).sum()
            torch.testing.assert_close(found, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("micro", [3, 8])
@torch.no_grad()
def test_kl_is_the_plain_one_from_start_to_model(micro: int, assembler: Assembler, start: Any, moved: Any) -> None:
    """Row by row, over the full vocabulary; the other direction is another number."""
    for part, batch in assembled(assembler, moved, micro):
        for found, rows in roles(assembler, part, batch):
            pairs = zip(plain_logits(start, rows), plain_logits(moved, rows), strict=True)
            there, back = [], []
            for p, q in ((p.log_softmax(-1), q.log_softmax(-1)) for p, q in pairs):
                there.append((p.exp() * (p - q)).sum())
                back.append((q.exp() * (q - p)).sum())
            assert found.kl is not None
            torch.testing.assert_close(found.kl, torch.stack(there), atol=1e-4, rtol=1e-4)
            assert (found.kl - torch.stack(back)).abs().max() > 2e-3


@pytest.mark.parametrize("micro", [3, 8])
def test_without_whole_logits_kl_and_its_gradient_are_the_same(micro: int, assembler: Assembler, moved: Any) -> None:
    """Nothing but KL is asked for, of all roles, and it comes straight from the head."""
    bare = Assembler(assembler.rows, TermInputs(states=assembler.inputs.states))
    loss = WeightedSum({"ga": 0.1, "k_fg": 0.3, "k_rt": 1.0, "k_unseen": 2.0}, {})
    found = []
    for way in (assembler, bare):
        with patch.object(forgetctl.train._assembly, "answer_logits", side_effect=AssertionError):
            parts = [batch for _, batch in assembled(way, moved, micro, roles=ROLES)]
        gradients = torch.autograd.grad(torch.stack([loss(batch) for batch in parts]).sum(), [*moved.parameters()])
        found.append([loss(batch).detach() for batch in parts] + list(gradients))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


@torch.no_grad()
def test_kl_at_the_start_is_nil(assembler: Assembler, start: Any) -> None:
    for part, batch in assembled(assembler, start, 3):
        for found, _ in roles(assembler, part, batch):
            assert found.kl is not None
            assert found.kl.abs().max() < 1e-5


# Token by token


@pytest.mark.parametrize("micro", [3, 8])
@torch.no_grad()
def test_logits_and_targets_line_up_with_the_rows(micro: int, assembler: Assembler, start: Any, moved: Any) -> None:
    for part, batch in assembled(assembler, moved, micro):
        rows = [assembler.rows["forget"][i] for i in part.rows["forget"]]
        if not rows:
            continue
        found = batch.role("forget")
        assert found.targets is not None
        assert found.logits is not None
        assert found.start_logits is not None
        assert found.targets.tolist() == [row.ids[row.start + place] for row in rows for place in row.places]
        torch.testing.assert_close(found.logits, torch.cat(plain_logits(moved, rows)), atol=1e-4, rtol=0)
        before = torch.cat(plain_logits(start, rows)).log_softmax(-1)
        torch.testing.assert_close(found.start_logits.log_softmax(-1), before, atol=1e-4, rtol=0)
        assert not found.start_logits.requires_grad


@pytest.mark.parametrize("micro", [3, 8])
@torch.no_grad()
def test_activations_line_up_with_the_rows(micro: int, assembler: Assembler, start: Any, moved: Any) -> None:
    def plain(model: Any, rows: list[Encoded]) -> torch.Tensor:
        outputs = (model(input_ids=torch.tensor([row.ids]), output_hidden_states=True) for row in rows)
        pairs = zip(outputs, rows, strict=True)
        return torch.cat([output.hidden_states[1][0, row.start - 1 : -1][row.places] for output, row in pairs])

    for part, batch in assembled(assembler, moved, micro):
        for found, rows in roles(assembler, part, batch):
            assert found.hidden is not None
            torch.testing.assert_close(found.hidden, plain(moved, rows), atol=1e-4, rtol=0)
        if not part.rows["retain"]:
            continue
        assert batch.role("retain").start_hidden is not None
        retain = [assembler.rows["retain"][i] for i in part.rows["retain"]]
        torch.testing.assert_close(batch.role("retain").start_hidden, plain(start, retain), atol=1e-4, rtol=0)


# Mismatched pairs


@torch.no_grad()
def test_mismatched_ratio_at_the_start_is_nil(assembler: Assembler, start: Any) -> None:
    for _, batch in assembled(assembler, start, 4):
        ratio = needed(batch.role("forget").mismatched_ratio, "ratios")
        assert ratio.shape == (8,)
        assert ratio.abs().max() < 1e-4


def test_mismatched_ratio_is_of_the_whole_optimizer_batch_without_gradient(
    assembler: Assembler, start: Any, moved: Any
) -> None:
    pairs = assembler.inputs.mismatched
    assert pairs is not None
    parts = list(assembled(assembler, moved, 4))
    rows = [pairs.rows[index] for index in parts[0][0].step.rows["forget"]]
    expected = torch.tensor(score(moved, rows)) - torch.tensor(score(start, rows))
    assert expected.abs().max() > 0.1
    for _, batch in parts:
        ratio = needed(batch.role("forget").mismatched_ratio, "ratios")
        torch.testing.assert_close(ratio, expected, atol=1e-4, rtol=0)
        assert not ratio.requires_grad


@torch.no_grad()
def test_mismatched_ratio_is_made_once_an_optimizer_step(
    assembler: Assembler, moved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counting(model: Any, rows: list[Encoded]) -> list[float]:
        made.append(len(rows))
        return score(model, rows)

    monkeypatch.setattr(forgetctl.train._assembly, "score", counting)
    limits = MicroBatchLimits(rows=4, tokens=999)
    batches = PairedBatches(of_roles(assembler, *SEEN), batch_size=8, limits=limits, seed=3)
    for step in batches.steps():
        for part in batches.micro_batches(step):
            assembler.batch(moved, assembler.collate(part))
    assert made == [8, 8, 4]
    # The same rows in another epoch are another step.
    (part, *_) = parts_of(first_step(assembler), 4)
    assembler.batch(moved, assembler.collate(part))
    assembler.batch(moved, assembler.collate(replace(part, step=replace(part.step, epoch=EPOCH - 1))))
    assert made == [8, 8, 4, 8, 8]


# The cut


def loss_and_gradient(
    assembler: Assembler, model: Any, method: str, micro: int, batch_size: int = 8
) -> tuple[float, list[torch.Tensor]]:
    """Of one optimizer batch: shares and their gradients summed, as the trainer does."""
    # A beta at which the sigmoids of this model's ratios are neither flat nor straight.
    loss = WeightedSum(METHODS[method].terms, {"beta": 0.2})
    read = [role for role in SEEN if loss.reads(role)]
    model.zero_grad()
    total = 0.0
    for _, batch in assembled(assembler, model, micro, batch_size, read):
        share = loss(batch)
        share.backward()  # type: ignore[no-untyped-call]
        total += share.item()
    gradients = [torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in model.parameters()]
    model.zero_grad()
    return total, gradients


@pytest.mark.parametrize("method", METHODS)
def test_the_cut_changes_no_loss_and_no_gradient(method: str, assembler: Assembler, moved: Any) -> None:
    loss, gradients = loss_and_gradient(assembler, moved, method, 16)
    cut_loss, cut_gradients = loss_and_gradient(assembler, moved, method, 3)
    assert cut_loss == pytest.approx(loss, abs=1e-4, rel=1e-4)
    largest = max(float(gradient.abs().max()) for gradient in gradients)
    assert largest > 1e-3
    for one, other in zip(gradients, cut_gradients, strict=True):
        torch.testing.assert_close(other, one, atol=1e-4 * max(largest, 0.1), rtol=1e-4)


@torch.no_grad()
def test_the_last_smaller_batch_divides_by_its_own_size(assembler: Assembler, moved: Any) -> None:
    """20 rows in batches of 8 leave 4."""
    limits = MicroBatchLimits(rows=99, tokens=999)
    batches = PairedBatches(of_roles(assembler, *SEEN), batch_size=8, limits=limits, seed=3)
    *_, step = batches.steps()
    (part,) = parts_of(step, 99)
    batch = assembler.batch(moved, assembler.collate(part))
    assert (batch.role("forget").batch_rows, len(step.rows["forget"])) == (4, 4)
    assert (alternative := batch.role("forget").alternative) is not None
    assert alternative.batch_rows == 4
    assert batch.role("retain").batch_rows == len(step.rows["retain"]) >= 4


# Without what is not needed


@torch.no_grad()
def test_nothing_is_made_that_nobody_asked_for(assembler: Assembler, moved: Any) -> None:
    plain = Assembler(of_roles(assembler, "forget"), TermInputs())
    step = first_step(assembler, 4, ["forget"])
    inputs = plain.collate(MicroBatch(step, step.rows))
    assert len(inputs["input_ids"]) == 4
    batch = plain.batch(moved, inputs)
    assert set(batch.rows) == {"forget"}
    rows = vars(batch.role("forget"))
    assert {name for name, value in rows.items() if value is not None} == {
        "logp", "tokens", "batch_rows", "batch_tokens",
    }  # fmt: skip


@torch.no_grad()
def test_uninformed_answers_without_start_scores(assembler: Assembler, moved: Any) -> None:
    """As for idk-rt, which compares with nothing."""
    known = assembler.inputs.alternatives
    assert known is not None
    unscored = Alternatives(encode=known.encode, rows=known.rows, refusals=known.refusals, seed=known.seed)
    plain = Assembler(assembler.rows, TermInputs(alternatives=unscored))
    (part,) = parts_of(first_step(assembler, 4), 99)
    found = plain.batch(moved, plain.collate(part)).role("forget").alternative
    assert found is not None
    assert found.start_logp is None
    torch.testing.assert_close(
        found.logp, torch.tensor(score(moved, alternative_rows(assembler, part))), atol=1e-4, rtol=0
    )
