"""Training against a step written out by hand; checkpoints, signals, divergence, adapters."""

import hashlib
import json
import math
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from forgetctl.errors import DivergedError, MemoryExceeded
from forgetctl.losses.methods import Batch, Role, WeightedSum
from forgetctl.model.encoding import Encoded, encode_rows
from forgetctl.model.load import add_lora, merged, trainable_parameters
from forgetctl.model.processes import Ranks
from forgetctl.model.rests import unmarked
from forgetctl.model.scoring import score
from forgetctl.model.states import AnswerStates
from forgetctl.recipe.recipe import Lora, Recipe
from forgetctl.rows.reading import read_rows
from forgetctl.train import trainer as training
from forgetctl.train.checkpoints import COMPLETE, checkpoint_step, last_checkpoint
from forgetctl.train.plan import ComputePlan
from forgetctl.train.schedule import MicroBatch, MicroBatchLimits, PairedBatches
from forgetctl.train.term_inputs import TermInputs
from forgetctl.train.trainer import Figures, ObjectiveTrainer, TrainingHooks, TrainingSetup, TrainingTask
from tests.model.oracles import plain_logp, token_logp
from tests.world import encoded_rows, encoder_of, loaded

CPU = torch.device("cpu")
Start = Callable[[], Any]
LORA = Lora(rank=4, alpha=8)


@pytest.fixture
def start(world: Path) -> Start:
    """Loads the start model afresh."""
    return lambda: loaded(world / "model")


@pytest.fixture(scope="module")
def forget(world: Path) -> list[Encoded]:
    return encoded_rows(world, "requests.jsonl")


@pytest.fixture(scope="module")
def retain(world: Path) -> list[Encoded]:
    return encoded_rows(world, "remaining.jsonl")


def recipe(**changes: Any) -> Recipe:
    values = {"method": "npo-rt", "learning_rate": 1e-3, "epochs": 1, "batch_size": 8, "micro_batch_size": 8}
    return Recipe.model_validate({**values, "warmup_epochs": 0.0, "precision": "fp32", **changes})


def make(
    model: Any,
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    folder: Path | None,
    chosen: Recipe,
    on_step: Callable[[Figures], None] = lambda _: None,
    checkpointing: bool = False,
    precision: str = "fp32",
) -> ObjectiveTrainer:
    loss = WeightedSum(chosen.weighted_terms(), chosen.all_hyperparameters())
    start_logp = score(model, forget) if "start" in loss.needs("forget") else None
    rows: dict[Role, Sequence[Encoded]] = {"forget": forget, **({"retain": retain} if loss.reads("retain") else {})}
    task = TrainingTask(loss=loss, rows=rows, inputs=TermInputs(start_logp=start_logp))
    setup = TrainingSetup(recipe=chosen, plan=planned(chosen, precision, checkpointing), checkpoints=folder)
    return ObjectiveTrainer(model, task, setup, TrainingHooks(on_step=on_step))


def planned(chosen: Recipe, precision: str = "fp32", checkpointing: bool = False) -> ComputePlan:
    assert chosen.micro_batch_size is not None
    limits = MicroBatchLimits(rows=chosen.micro_batch_size, tokens=10_000)
    return ComputePlan(limits=limits, precision=precision, checkpointing=checkpointing)


def train(*args: Any, **options: Any) -> Any:
    """The trained model."""
    trainer = make(*args, **options)
    trainer.train()
    return trainer.model


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


# The step itself


def plain_loss(method: str, model: Any, forget: list[Encoded], retain: list[Encoded], before: torch.Tensor) -> Any:
    """The losses written from their formulas, on the whole batch, with beta 0.5 and weights 2 and 3."""
    logp = plain_logp(model, forget)
    pull = logp.mean() if "ga" in method else -(2 / 0.5) * torch.log(torch.sigmoid(-0.5 * (logp - before))).mean()
    if "rt" not in method:
        return 2.0 * pull
    return 2.0 * pull - 3.0 * plain_logp(model, retain).sum() / sum(row.tokens for row in retain)


@pytest.mark.parametrize("method", ["ga", "ga-rt", "npo", "npo-rt"])
def test_training_equals_plain_steps(
    method: str, start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    """Three steps: forward row by row, loss of the whole batch, clipped gradient, AdamW, falling learning rate."""
    epochs, rate = 3, 1e-3
    chosen = recipe(
        method=method, beta=0.5, forget_weight=2.0, retain_weight=3.0, epochs=epochs, learning_rate=rate,
        weight_decay=0.1, max_grad_norm=0.7, micro_batch_size=3,
    )  # fmt: skip
    trainer = make(start(), forget[:8], retain, tmp_path, chosen)
    model = start()
    decayed = [weight for name, weight in model.named_parameters() if "norm" not in name]
    others = [weight for name, weight in model.named_parameters() if "norm" in name]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}])
    before = torch.tensor(score(model, forget[:8]))
    untouched = weights(model)
    for epoch in range(epochs):
        trainer.batches.set_epoch(epoch)
        (step,) = trainer.batches.steps()
        chosen_retain = [retain[i] for i in step.rows.get("retain", ())]
        places = list(step.rows["forget"])
        loss = plain_loss(method, model, [forget[i] for i in places], chosen_retain, before[places])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.7)
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - epoch / epochs)
        optimizer.step()
    trainer.train()
    assert furthest(weights(model), untouched) > 50e-5
    assert furthest(weights(trainer.model), weights(model)) < 2e-5


def test_objectives_see_the_sizes_of_the_whole_optimizer_batch(
    start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    trainer = make(start(), forget, retain, tmp_path, recipe(batch_size=8, micro_batch_size=3))
    seen: list[Batch] = []
    loss = trainer.loss
    trainer.loss = lambda batch: (seen.append(batch), loss(batch))[1]  # type: ignore[assignment,func-returns-value]
    (step, *_) = trainer.batches.steps()
    for part in trainer.batches.micro_batches(step):
        trainer.compute_loss(trainer.model, trainer.assembler.collate(part))
    assert len(seen) > 4
    for role, rows in trainer.batches.rows.items():
        parts = [batch.role(role) for batch in seen]
        used = [rows[i] for i in step.rows[role]]
        assert sorted(torch.cat([part.tokens for part in parts]).tolist()) == sorted(row.tokens for row in used)
        assert {part.batch_rows for part in parts} == {8}
        assert {part.batch_tokens for part in parts} == {sum(row.tokens for row in used)}


@pytest.mark.parametrize("method", ["ga-rt", "npo-rt"])
def test_the_micro_batch_size_changes_nothing(
    method: str, start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    """20 rows in batches of 8: the last batch is smaller, and cut into fewer parts. Nor does computing twice."""
    results = [
        weights(
            train(
                start(), forget, retain, tmp_path / f"{micro}", recipe(method=method, micro_batch_size=micro),
                checkpointing=checkpointing,
            )
        )
        for micro, checkpointing in ((2, False), (16, False), (16, True))
    ]  # fmt: skip
    assert furthest(results[0], weights(start())) > 50e-5
    assert furthest(results[0], results[1]) < 1e-5
    assert furthest(results[0], results[2]) < 1e-5


def test_marked_tokens_are_forgotten_and_the_others_kept(
    world: Path, start: Start, retain: list[Encoded], tmp_path: Path
) -> None:
    """NPO sums over marked tokens, RT averages over the retain rows' and the unmarked ones; written out by hand."""
    encoder = encoder_of(world)
    rows = [row.answering(row.response, ((0, 9),)) for row in read_rows(world / "requests.jsonl")[:8]]
    forget = [encoder.encode(row) for row in rows]
    rests, _ = encode_rows(encoder, rows, world, None, None, part=unmarked)
    model = start()
    trainer = make(model, forget, [*retain, *rests], tmp_path, recipe(beta=0.5, micro_batch_size=3))
    (step,) = trainer.batches.steps()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.01)
    found = sum(
        trainer.compute_loss(model, trainer.assembler.collate(part)) for part in trainer.batches.micro_batches(step)
    )
    before = torch.tensor(score(start(), forget))
    own = [token_logp(model, replace(row, scored=None))[row.places].sum() for row in forget]
    npo = [-4 * torch.log(torch.sigmoid(-0.5 * (own[place] - before[place]))) for place in step.rows["forget"]]
    kept = [*(retain[place] for place in step.rows["retain"] if place < len(retain)), *rests]
    assert len(kept) == 16
    logp = torch.cat([token_logp(model, replace(row, scored=None))[row.places] for row in kept])
    expected = torch.stack(npo).mean() - logp.mean()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    gradients = zip(*(torch.autograd.grad(loss, list(model.parameters())) for loss in (found, expected)), strict=True)
    assert all(torch.allclose(one, other, atol=1e-4, rtol=1e-3) for one, other in gradients)


@pytest.mark.parametrize("method", ["ga", "npo", "simnpo-rt", "undial-rt", "wga-rt", "ceu-rt"])
def test_unmarked_tokens_have_no_part_in_forgetting(
    method: str, start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    """What follows the marked tokens could be anything: neither the loss nor its gradient changes."""
    some = [replace(row, scored=tuple(place < 2 for place in range(row.tokens))) for row in forget[:8]]
    others = [replace(row, ids=(*row.ids[: row.start + 2], *(7 for _ in row.ids[row.start + 2 :]))) for row in some]
    found = []
    for rows in (some, others, forget[:8]):
        model = start()
        trainer = make(model, rows, retain, tmp_path, recipe(method=method))
        trainer.assembler.inputs = replace(
            trainer.assembler.inputs, logits=True, states={"forget": AnswerStates(start(), rows)}
        )
        (step,) = trainer.batches.steps()
        loss = trainer.compute_loss(model, trainer.assembler.collate(MicroBatch(step, step.rows)))
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for one, other in zip(*found[:2], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert furthest_of(found[0][1:], found[2][1:]) > 1e-3


def furthest_of(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(some, others, strict=True))


def gradient(method: str, model: Any, forget: list[Encoded], folder: Path) -> list[torch.Tensor]:
    trainer = make(model, forget, [], folder, recipe(method=method, batch_size=20, micro_batch_size=20))
    (step,) = trainer.batches.steps()
    loss = trainer.compute_loss(trainer.model, trainer.assembler.collate(MicroBatch(step, step.rows)))
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_the_first_gradient_of_npo_is_that_of_ga(start: Start, forget: list[Encoded], tmp_path: Path) -> None:
    model = start()
    ga, npo = gradient("ga", model, forget, tmp_path), gradient("npo", model, forget, tmp_path)
    assert max(float(part.abs().max()) for part in ga) > 0.1
    for one, other in zip(ga, npo, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_warmup_raises_the_learning_rate_for_the_first_epoch(
    start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    rates: list[float] = []
    chosen = recipe(epochs=3, batch_size=5, warmup_epochs=1.0)
    train(start(), forget, retain, tmp_path, chosen, lambda figures: rates.append(figures["learning_rate"]))
    rising = [1e-3 * step / 4 for step in range(4)]
    assert rates == pytest.approx(rising + [1e-3 * step / 8 for step in range(8, 0, -1)])


def test_dropout_of_the_adapters_is_the_only_one(start: Start, forget: list[Encoded], tmp_path: Path) -> None:
    """In training mode the start model still gives its own scores, so the first ratio is exactly one."""
    model = start()
    trainer = make(model, forget, [], tmp_path, recipe(method="npo"))
    model.train()
    assert score(model, forget) == trainer.assembler.inputs.start_logp


# Figures


def test_figures_of_every_step(start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path) -> None:
    seen: list[Figures] = []
    train(start(), forget, retain, tmp_path, recipe(epochs=2, micro_batch_size=3), seen.append)
    keys = {"step", "epoch", "loss", "learning_rate", "grad_norm", "forget_logp_per_token", "retain_logp_per_token"}
    assert all(figures.keys() == keys for figures in seen)
    assert [figures["step"] for figures in seen] == [1, 2, 3, 4, 5, 6]
    assert [figures["epoch"] for figures in seen][2::3] == [1, 2]
    assert all(math.isfinite(value) for figures in seen for value in figures.values())


def test_the_first_figures_are_the_start_models_scores(
    start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    seen: list[Figures] = []
    chosen = recipe(batch_size=len(forget), micro_batch_size=7)
    model = start()
    trainer = make(model, forget, retain, tmp_path, chosen, seen.append)
    used = [retain[i] for step in trainer.batches.steps() for i in step.rows["retain"]]
    before = {name: score(model, rows) for name, rows in (("forget", forget), ("retain", used))}
    trainer.train()
    (figures,) = seen
    for name, rows in (("forget", forget), ("retain", used)):
        expected = sum(before[name]) / sum(row.tokens for row in rows)
        assert figures[f"{name}_logp_per_token"] == pytest.approx(expected, abs=1e-5)
    # At the start NPO is (2/beta) ln 2, to which RT adds the retain rows' loss.
    assert figures["loss"] == pytest.approx(20 * math.log(2) - figures["retain_logp_per_token"], abs=1e-4)


def test_figures_without_retain_rows(start: Start, forget: list[Encoded], tmp_path: Path) -> None:
    seen: list[Figures] = []
    train(start(), forget, [], tmp_path, recipe(method="npo"), seen.append)
    assert len(seen) == 3
    assert not any("retain_logp_per_token" in figures for figures in seen)


def test_forgetting_lowers_the_forget_rows(
    start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    model = start()
    before = score(model, forget)
    train(model, forget, retain, tmp_path, recipe(epochs=3))
    assert sum(score(model, forget)) < sum(before) - 5


def test_bfloat16_forgets_and_keeps_as_float32_does(
    start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    """With float32 weights, up to the rounding of a model that is 32 wide."""
    before, found = [sum(score(start(), rows)) for rows in (forget, retain)], {}
    for precision in ("fp32", "bf16"):
        model = start()
        train(model, forget, retain, tmp_path / precision, recipe(epochs=3), precision=precision)
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        found[precision] = [sum(score(model, rows)) for rows in (forget, retain)]
    moved = [new - old for new, old in zip(found["fp32"], before, strict=True)]
    assert moved[0] < -5
    shift = [one - other for one, other in zip(found["fp32"], found["bf16"], strict=True)]
    assert 0 < abs(shift[0]) < 0.15 * abs(moved[0])
    assert abs(shift[1]) < 0.05 * abs(before[1])


# Divergence


def test_an_absurd_learning_rate_diverges(
    start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    with pytest.raises(DivergedError, match=r"not finite at step [234]; lower the learning rate") as caught:
        train(start(), forget, retain, tmp_path, recipe(epochs=3, learning_rate=1e12))
    assert caught.value.exit_code == 1


def test_weights_that_are_not_numbers_diverge_at_once(start: Start, forget: list[Encoded], tmp_path: Path) -> None:
    model = start()
    model.model.norm.weight.data[0] = torch.nan
    seen: list[Figures] = []
    with pytest.raises(DivergedError, match="the loss is not finite at step 1;"):
        train(model, forget, [], tmp_path, recipe(method="ga"), seen.append)
    assert seen == []
    assert last_checkpoint(tmp_path) is None


def test_a_gradient_that_is_not_finite_diverges(start: Start, forget: list[Encoded], tmp_path: Path) -> None:
    """The loss alone can still be finite."""
    model = start()
    model.model.norm.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(DivergedError, match="the gradient is not finite at step 1;"):
        train(model, forget, [], tmp_path, recipe(method="ga"))
    assert last_checkpoint(tmp_path) is None


# Checkpoints


def checkpoint(folder: Path, step: int) -> Path:
    """A whole checkpoint as MarkComplete leaves it."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"12345678")
    (path / "optimizer.pt").write_bytes(b"1234")
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.iterdir()}
    (path / COMPLETE).write_text(json.dumps(digests))
    return path


def test_no_checkpoint(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "nowhere") is None


def test_the_newest_checkpoint_by_number(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert checkpoint_step(tmp_path / "checkpoint-100") == 100


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: (path / COMPLETE).unlink(),
        lambda path: (path / "optimizer.pt").unlink(),
        lambda path: (path / "model.safetensors").write_bytes(b"1234"),
        lambda path: (path / "model.safetensors").write_bytes(b"1234567890"),
        lambda path: (path / "model.safetensors").write_bytes(b"12345679"),
        lambda path: shutil.rmtree(path),
        lambda path: (path / COMPLETE).write_text(""),
    ],
    ids=["unmarked", "file-missing", "truncated", "too-long", "flipped", "gone", "mark-empty"],
)
def test_a_spoilt_checkpoint_is_skipped(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    checkpoint(tmp_path, 1)
    spoil(checkpoint(tmp_path, 2))
    said: list[str] = []
    assert last_checkpoint(tmp_path, said.append) == tmp_path / "checkpoint-1"
    assert len(said) == (tmp_path / "checkpoint-2").exists()
    assert all(text.startswith("checkpoint-2 is not used: ") for text in said)


def test_real_checkpoints_are_marked_whole_and_the_last_two_kept(
    start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    train(start(), forget, retain, tmp_path, recipe(epochs=3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-6", "checkpoint-9"]
    last = last_checkpoint(tmp_path)
    assert last == tmp_path / "checkpoint-9"
    sizes = json.loads((last / COMPLETE).read_text())
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= set(sizes)
    (last / "optimizer.pt").write_bytes(b"")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-6"


# Signals


def interrupting(numbers: Sequence[int], at: int) -> Callable[[Figures], None]:
    """Sends signals to this very thread once step `at` is logged, one after the other: the kernel may make one of two
    that are on their way to a process."""

    def on_step(figures: Figures) -> None:
        if figures["step"] == at:
            for number in numbers:
                signal.raise_signal(number)

    return on_step


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_after_the_step_and_stops(
    number: signal.Signals, start: Start, forget: list[Encoded], tmp_path: Path
) -> None:
    trainer = make(start(), forget, [], tmp_path, recipe(method="ga", epochs=4), interrupting([number], at=3))
    before = signal.getsignal(number)
    with trainer.stop.watching():
        trainer.train()
    assert trainer.state.global_step == 4  # the signal came after step 3, in the second epoch
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert signal.getsignal(number) is before


def test_a_signal_saves_nothing_where_no_checkpoints_are_kept(
    start: Start, forget: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    trainer = make(start(), forget, [], None, recipe(method="ga", epochs=4), interrupting([signal.SIGTERM], at=3))
    monkeypatch.setattr(trainer, "_save_checkpoint", lambda *_: saved.append(trainer.state.global_step))
    assert trainer.train_from(None) == 4
    assert saved == []


def test_a_second_signal_acts_at_once(start: Start, forget: list[Encoded], tmp_path: Path) -> None:
    on_step = interrupting([signal.SIGINT, signal.SIGINT], at=1)
    trainer = make(start(), forget, [], tmp_path, recipe(method="ga"), on_step)
    before = signal.getsignal(signal.SIGINT)
    with trainer.stop.watching(), pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.state.global_step == 1
    assert signal.getsignal(signal.SIGINT) is before


# Resuming


@pytest.mark.parametrize("at", [1, 2, 4], ids="signal after step {}".format)
@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8, dropout=0.2)], ids=["full", "lora"])
def test_a_resumed_training_ends_bit_identical(
    lora: Lora | None, at: int, start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    """Three epochs of three steps, stopped in the middle and at the end of an epoch."""
    chosen = recipe(epochs=3, warmup_epochs=1.0, micro_batch_size=3, lora=lora)

    def build(name: str, on_step: Callable[[Figures], None] = lambda _: None) -> ObjectiveTrainer:
        torch.manual_seed(chosen.seed)
        model = add_lora(start(), lora) if lora else start()
        return make(model, forget, retain, tmp_path / name, chosen, on_step)

    whole: list[Figures] = []
    trainer = build("whole", whole.append)
    trainer.train()
    expected = weights(trainer.model)

    stopped = build("parts", interrupting([signal.SIGINT], at))
    with stopped.stop.watching():
        stopped.train()
    assert stopped.state.global_step == at + 1
    assert furthest(weights(stopped.model), expected) > 0
    torch.rand(7)  # a new process would be elsewhere in its random numbers

    rest: list[Figures] = []
    resumed = build("parts", rest.append)
    resumed.train(resume_from_checkpoint=str(last_checkpoint(tmp_path / "parts")))
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(resumed.model).items())
    assert rest == whole[at + 1 :]


def test_what_began_in_fp16_goes_on_in_another_precision(start: Start, forget: list[Encoded], tmp_path: Path) -> None:
    """Whose checkpoint has a scale for gradients that are not scaled any more."""
    chosen = recipe(method="ga", epochs=2)
    trainer = make(start(), forget, [], tmp_path, chosen, interrupting([signal.SIGTERM], at=1))
    assert trainer.train_from(None) == 2
    checkpoint = tmp_path / "checkpoint-2"
    torch.save({"scale": 65536.0}, checkpoint / "scaler.pt")
    resumed = make(start(), forget, [], tmp_path, chosen)
    assert resumed.train_from(checkpoint) == resumed.total_steps


# Adapters


@pytest.fixture
def adapted(start: Start) -> Any:
    torch.manual_seed(1)
    return add_lora(start(), LORA)


def test_fresh_adapters_leave_every_score_unchanged(start: Start, adapted: Any, forget: list[Encoded]) -> None:
    assert score(adapted, forget) == score(start(), forget)


def test_only_adapter_weights_train(
    adapted: Any, start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    before = weights(adapted)
    train(adapted, forget, retain, tmp_path, recipe(learning_rate=1e-2))
    changed = {name for name, weight in weights(adapted).items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert sum(before[name].numel() for name in changed) == trainable_parameters(adapted)
    assert trainable_parameters(adapted) < trainable_parameters(start()) / 2


def test_merged_adapters_score_as_the_adapted_model(
    adapted: Any, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    before = score(adapted, forget)
    train(adapted, forget, retain, tmp_path, recipe(learning_rate=1e-2))
    trained = score(adapted, forget)
    assert abs(sum(trained) - sum(before)) > 1
    whole = merged(adapted)
    assert not any("lora_" in name for name, _ in whole.named_parameters())
    assert score(whole, forget) == pytest.approx(trained, abs=1e-3)


# Too little memory


class Cramped:
    """A model that fails, as a processor's allocator does, on more than so many tokens at once."""

    def __init__(self, model: Any, tokens: int) -> None:
        self.computed: list[int] = []
        self.tokens, self.inner = tokens, model.forward
        model.forward = self.forward

    def forward(self, input_ids: torch.Tensor, **inputs: Any) -> Any:
        if torch.is_grad_enabled():
            self.computed.append(input_ids.numel())
            if input_ids.numel() > self.tokens:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: tried")
        return self.inner(input_ids=input_ids, **inputs)


def longest(rows: list[Encoded]) -> int:
    return max(len(row.ids) for row in rows)


def test_a_step_too_large_for_the_memory_is_begun_again_in_halves(
    start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    """Nothing of the failed attempts is left: the weights are those of a run that was cut so from the start."""
    heard: list[tuple[MicroBatchLimits, int]] = []
    model = start()
    cramped = Cramped(model, 3 * longest(forget + retain))
    trainer = make(model, forget, retain, tmp_path / "cramped", recipe(epochs=2, micro_batch_size=16))
    trainer.on_halved = lambda limits, step: heard.append((limits, step))
    trainer.train()
    assert {step for _, step in heard} == {1}
    assert max(cramped.computed[-5:]) <= cramped.tokens < max(cramped.computed)
    plain = make(start(), forget, retain, tmp_path / "plain", recipe(epochs=2, micro_batch_size=16))
    plain.batches.limits = heard[-1][0]
    plain.train()
    assert furthest(weights(model), weights(plain.model)) == 0


def test_a_row_that_does_not_fit_alone_ends_the_run(
    start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    model = start()
    Cramped(model, 3)
    with pytest.raises(MemoryExceeded, match=rf"a row of {longest(forget + retain)} tokens does not fit"):
        train(model, forget, retain, tmp_path, recipe(batch_size=len(forget)))


@pytest.mark.parametrize(
    ("remedy", "end"),
    [
        (None, "cannot begin the step again"),
        (lambda rows: f"ask for {rows} rows", "cannot begin the step again; ask for 2 rows"),
    ],
    ids=["none", "the caller's"],
)
def test_with_other_processes_too_large_a_step_ends_with_what_the_caller_knows(
    remedy: Callable[[int], str] | None, end: str, start: Start, forget: list[Encoded], tmp_path: Path
) -> None:
    trainer = make(start(), forget, [], tmp_path, recipe(method="ga", micro_batch_size=4))
    trainer.remedy = remedy
    refused = trainer.batches.micro_batches(next(iter(trainer.batches.steps())))
    assert max(map(len, refused)) == 4
    trainer.ranks = Ranks(index=1, count=2)
    with pytest.raises(MemoryExceeded) as told:
        trainer._begin_again(trainer.model, refused)
    assert str(told.value).startswith("process 1: 4 rows at once do not fit into the memory")
    assert str(told.value).endswith(end)


def test_other_errors_are_not_taken_for_too_little_memory(
    start: Start, forget: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    model = start()
    model.forward = lambda **_: torch.zeros(2) + torch.zeros(3)
    with pytest.raises(RuntimeError, match="size of tensor"):
        make(model, forget, retain, tmp_path, recipe(method="ga")).train()


@pytest.mark.parametrize("own", [0, 2])
def test_of_several_gpus_one_is_used_and_no_other(
    own: int, forget: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if there were four: transformers would wrap the model in DataParallel, and compute on the first."""
    chosen_last: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen_last.append)
    with monkeypatch.context() as unmended:
        unmended.setattr(training, "_stay_on", lambda *_: None)
        assert arguments_on(torch.device("cuda", own), forget, tmp_path).n_gpu == 4
    found = arguments_on(torch.device("cuda", own), forget, tmp_path)
    assert found.n_gpu == 1
    assert found.device == torch.device("cuda", own)
    assert chosen_last[-1] == torch.device("cuda", own)
    assert found.train_batch_size == 8


def arguments_on(device: torch.device, forget: list[Encoded], folder: Path) -> Any:
    setup = TrainingSetup(recipe=recipe(), plan=planned(recipe()), checkpoints=folder)
    batches = PairedBatches({"forget": forget}, batch_size=8, limits=setup.plan.limits, seed=0)
    return training._arguments(setup, batches, folder, device)
