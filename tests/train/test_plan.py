"""How a run is computed: chosen by the memory that there is, from a step that is simulated."""

from pathlib import Path
from typing import Any

import pytest
import torch

from forgetctl.losses.methods import METHODS
from forgetctl.model.encoding import Encoded
from forgetctl.model.load import ModelFacts
from forgetctl.recipe.recipe import Lora, Recipe
from forgetctl.train import plan
from forgetctl.train._step_memory import MicroBatchShape, StepKind, step_memory
from forgetctl.train.plan import ComputePlan, Workload, largest_micro_batch, make_plan
from forgetctl.train.schedule import MicroBatchLimits, PairedBatches
from tests.model.oracles import random_model, random_rows

CPU = torch.device("cpu")
LARGE = MicroBatchShape(rows=8, length=64, scored=200)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    random_model("Llama", num_hidden_layers=6, max_position_embeddings=4096).save_pretrained(str(folder))
    return folder


# The simulated step


@pytest.mark.parametrize("architecture", ["Llama", "GPT2", "Gemma2", "GPTNeoX", "Phi3", "Granite"])
def test_a_step_of_every_architecture_is_counted(architecture: str, tmp_path: Path) -> None:
    """At least the inputs of the layers must be kept, and the scored logits."""
    model = random_model(architecture)
    model.save_pretrained(str(tmp_path))
    found = step_memory(tmp_path, None, LARGE, StepKind())
    tokens, width = LARGE.rows * LARGE.length, model.config.hidden_size
    assert 4 * (2 * 2 * tokens * width + LARGE.scored * model.config.vocab_size) < found < 10**8


def test_memory_is_linear_in_rows_and_layers(path: Path, tmp_path: Path) -> None:
    """But for the gradients of a part, which no row adds to."""
    one, two, three = (step_memory(path, None, MicroBatchShape(8 * n, 64, 200 * n), StepKind()) for n in (1, 2, 3))
    assert three - two == pytest.approx(two - one, rel=0.02)
    assert two - one > 0.8 * one


def test_what_is_saved_is_seen(path: Path) -> None:
    plain = step_memory(path, None, LARGE, StepKind())
    assert step_memory(path, None, LARGE, StepKind(checkpointing=True)) < 0.5 * plain
    assert step_memory(path, None, LARGE, StepKind(dtype=torch.bfloat16)) < 0.8 * plain
    assert step_memory(path, None, LARGE, StepKind(logits=True)) > plain
    assert step_memory(path, Lora(rank=2), LARGE, StepKind()) != plain


def test_what_autograd_really_keeps(path: Path) -> None:
    """Against the bytes that a real forward pass hands to autograd, each storage counted once."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(str(path)).train()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def see(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.zeros(LARGE.rows, LARGE.length, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        output = model(input_ids=ids, logits_to_keep=LARGE.scored // LARGE.rows, use_cache=False)
    assert output.logits.requires_grad
    found = step_memory(path, None, LARGE, StepKind())
    assert sum(kept.values()) < found < 1.5 * sum(kept.values())


# The choice


def chosen(path: Path, free: int, length: int = 40, **recipe: Any) -> ComputePlan:
    rows = [Encoded((1,) * length, 10)] * 64
    facts = ModelFacts(path=path, bytes=0, context=None, layers=6, dtype=torch.float32)
    made = Recipe.model_validate({"method": "npo-rt", **recipe})
    work = Workload(facts=facts, rows={"forget": rows, "retain": rows}, recipe=made, device=CPU)
    return make_plan(work, free=free + int(work.static_bytes / plan.USABLE) + 1)


def test_with_memory_enough_everything_is_kept(path: Path) -> None:
    found = chosen(path, 10**12)
    assert (found.limits.tokens, found.checkpointing) == (plan.TOKENS["cpu, narrow"].most, False)


def test_with_less_memory_less_at_once_then_twice_the_work(path: Path) -> None:
    """And the choice holds what it promises."""
    seen = []
    for free in (10**12, *(int(2e7 * 0.5**n) for n in range(5))):
        found = chosen(path, free)
        seen.append((found.checkpointing, -found.limits.tokens))
        assert found.step_bytes <= plan.USABLE * free or found.checkpointing
    ways = list(dict.fromkeys(seen))
    assert len(ways) > 3
    assert ways[0] == (False, -plan.TOKENS["cpu, narrow"].most)
    assert ways[-1][0]
    assert [tokens for twice, tokens in ways if not twice] == sorted(tokens for twice, tokens in ways if not twice)


def test_gaps_in_the_heap_need_room_too(path: Path) -> None:
    whole = chosen(path, 10**12)
    needed = whole.step_bytes * (1 + plan.HEAP_WASTE) / plan.USABLE
    assert chosen(path, int(1.01 * needed)).limits == whole.limits
    assert chosen(path, int(0.99 * needed)).limits.tokens < whole.limits.tokens


def test_memory_that_never_suffices_gives_the_smallest_plan(path: Path) -> None:
    found = chosen(path, 1)
    assert (found.limits.tokens, found.checkpointing) == (40, True)


def test_a_row_longer_than_the_budget_still_has_room(path: Path) -> None:
    assert chosen(path, 10**12, length=5000).limits.tokens == 5000


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_plan(method: str, path: Path) -> None:
    assert chosen(path, 10**12, method=method).step_bytes > 0


def test_the_choice_survives_the_run_directory(path: Path) -> None:
    found = chosen(path, 10**12)
    assert ComputePlan.from_json(found.as_json()) == found


def test_the_largest_micro_batch_is_no_smaller_than_any() -> None:
    forget, retain = random_rows(40, seed=1), random_rows(70, seed=2)
    limits = MicroBatchLimits(rows=5, tokens=60)
    batches = PairedBatches({"forget": forget, "retain": retain}, batch_size=8, limits=limits, seed=3)
    found = largest_micro_batch(batches, epochs=3)
    for epoch in range(3):
        batches.set_epoch(epoch)
        for part in (part for step in batches.steps() for part in batches.micro_batches(step)):
            rows = batches.rows_of(part)
            assert len(rows) * max(len(row.ids) for row in rows) <= found.rows * found.length
            assert sum(row.tokens for row in rows) <= found.scored


# Precision


@pytest.mark.parametrize(
    ("fast", "width", "expected"), [(True, 512, "bf16"), (True, 256, "fp32"), (False, 512, "fp32"), (False, 64, "fp32")]
)
def test_bf16_where_the_processor_gains_by_it(
    fast: bool, width: int, expected: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(plan, "model_width", lambda _: width)
    facts = ModelFacts(path=path, bytes=0, context=None, layers=6, dtype=torch.float32)
    assert plan.training_precision(Recipe(method="npo-rt"), facts, CPU)[0] == expected
    assert plan.training_precision(Recipe(method="npo-rt", precision="fp32"), facts, CPU)[0] == "fp32"
    assert plan.training_precision(Recipe(method="npo-rt", weights="bfloat16"), facts, CPU)[0] == "bf16"


@pytest.mark.parametrize(
    ("precision", "device", "repeats"),
    [
        ("fp32", "cpu", True),
        ("bf16", "cpu", True),
        ("fp32", "cuda", True),
        ("bf16", "cuda", False),
        ("fp32", "mps", False),
    ],
)
def test_what_gives_the_same_weights_again(precision: str, device: str, repeats: bool) -> None:
    made = ComputePlan(limits=MicroBatchLimits(rows=1, tokens=1), precision=precision)
    assert made.repeats(torch.device(device)) is repeats
