"""The cost that --dry-run shows, which reads headers and lengths only."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from forgetctl.errors import ModelError
from forgetctl.model.encoding import Encoded
from forgetctl.model.load import add_lora, inspect_model, load_model, trainable_parameters
from forgetctl.recipe.recipe import Lora, Recipe
from forgetctl.train._step_memory import MicroBatchShape, StepKind, step_memory
from forgetctl.train.plan import RUNTIME, CostEstimate, Workload, estimate_cost, static_bytes
from forgetctl.train.schedule import RowsByRole
from tests.model.oracles import HEADS, SMALL, TOKENS, random_model
from tests.world import encoded_rows

CPU = torch.device("cpu")
Rows = tuple[list[Encoded], list[Encoded]]


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measured rate would make every estimate of time different."""
    monkeypatch.setattr("forgetctl.train.plan.product_rate", lambda device, dtype: 1e9)


@pytest.fixture(scope="module")
def rows(world: Path) -> Rows:
    return encoded_rows(world, "requests.jsonl"), encoded_rows(world, "remaining.jsonl")


def cost(model: Path, rows: Rows, **changes: Any) -> CostEstimate:
    recipe = Recipe.model_validate({"method": "npo-rt", **changes})
    by_role: RowsByRole = {"forget": rows[0], "retain": rows[1]}
    return estimate_cost(Workload(facts=inspect_model(model), rows=by_role, recipe=recipe, device=CPU))


def parameters(model: Path) -> int:
    return sum(weight.numel() for weight in load_model(model, CPU, torch.float32).parameters())


def copy(world: Path, folder: Path) -> Path:
    return Path(shutil.copytree(world / "model", folder / "model"))


def test_parameters_are_the_loaded_models(world: Path, rows: Rows) -> None:
    assert cost(world / "model", rows).parameters == parameters(world / "model") > 10_000


@pytest.mark.parametrize("architecture", ["GPT2", "Gemma2", "Llama"])
def test_parameters_of_other_architectures(architecture: str, world: Path, rows: Rows, tmp_path: Path) -> None:
    path = copy(world, tmp_path)
    (path / "model.safetensors").unlink()
    random_model(architecture).save_pretrained(str(path), max_shard_size="10KB")
    assert len(list(path.glob("*.safetensors"))) > 1
    assert cost(path, rows).parameters == parameters(path)


def test_a_second_copy_of_the_weights_is_not_counted(world: Path, rows: Rows, tmp_path: Path) -> None:
    """Mistral's repositories hold the weights again in a layout that transformers does not read."""
    path = copy(world, tmp_path)
    weights = load_file(path / "model.safetensors")
    save_file({f"other.{name}": weight for name, weight in weights.items()}, path / "consolidated.safetensors")
    assert cost(path, rows).parameters == parameters(path)


def test_memory_holds_weights_gradients_and_moments(world: Path, rows: Rows) -> None:
    assert cost(world / "model", rows).memory > RUNTIME + 16 * parameters(world / "model")


def test_memory_grows_with_the_micro_batch_size(world: Path, rows: Rows) -> None:
    sizes = [cost(world / "model", rows, batch_size=16, micro_batch_size=micro).memory for micro in (1, 2, 8, 16)]
    assert sizes == sorted(set(sizes))


def test_memory_does_not_grow_beyond_the_rows_there_are(world: Path, rows: Rows) -> None:
    few = rows[0][:4], rows[1]
    sizes = {cost(world / "model", few, batch_size=64, micro_batch_size=micro).memory for micro in (8, 16, 64)}
    assert len(sizes) == 1


def test_memory_grows_with_the_longest_row(world: Path, rows: Rows) -> None:
    row = max(rows[0], key=lambda row: len(row.ids))
    long = Encoded(row.ids * 40, row.start)
    one, other = cost(world / "model", rows), cost(world / "model", ([*rows[0], long], rows[1]))
    assert one.memory < other.memory
    assert (one.longest, other.longest) == (max(len(row.ids) for row in (*rows[0], *rows[1])), len(long.ids))


def test_adapters_need_less_memory_and_time(world: Path, rows: Rows) -> None:
    full, lora = cost(world / "model", rows), cost(world / "model", rows, lora={"rank": 4})
    assert lora.memory < full.memory
    assert lora.seconds == pytest.approx(full.seconds * 4 / 6)
    assert lora.parameters == full.parameters


def test_adapter_weights_are_counted_as_they_will_be(world: Path, rows: Rows) -> None:
    """Each trained weight has a gradient and two moments; a trained head is kept as it was beside that."""
    facts = inspect_model(world / "model")
    full, lora = (Recipe.model_validate({"method": "npo-rt", "lora": lora}) for lora in (None, {"rank": 4}))
    model = load_model(world / "model", CPU, torch.float32)
    whole, head = parameters(world / "model"), model.get_output_embeddings().weight.numel()
    assert static_bytes(facts, full, CPU) == 16 * whole + 4 * head
    trained = trainable_parameters(add_lora(model, Lora(rank=4)))
    assert static_bytes(facts, lora, CPU) == 4 * whole + 16 * trained


def test_time_is_proportional_to_epochs(world: Path, rows: Rows) -> None:
    one, ten = cost(world / "model", rows, epochs=1), cost(world / "model", rows, epochs=10)
    assert ten.seconds == pytest.approx(10 * one.seconds)
    assert ten.steps == 10 * one.steps
    # More epochs have a larger largest part, by a few tokens.
    assert one.memory <= ten.memory < 1.05 * one.memory


def test_time_is_proportional_to_rows(world: Path, rows: Rows) -> None:
    once, twice = cost(world / "model", rows), cost(world / "model", (rows[0] * 2, rows[1]))
    assert once.seconds > 0
    assert twice.seconds == pytest.approx(2 * once.seconds)


def test_steps(world: Path, rows: Rows) -> None:
    assert len(rows[0]) == 20
    assert cost(world / "model", rows, epochs=3, batch_size=8, micro_batch_size=8).steps == 9


def test_without_retain_rows_half_the_work(world: Path, rows: Rows) -> None:
    """As GA and NPO train, which have no retain term."""
    forget = rows[0]
    both, alone = cost(world / "model", (forget, forget)), cost(world / "model", (forget, []))
    assert alone.seconds == pytest.approx(both.seconds / 2)
    assert alone.memory < both.memory


def test_truncated_weights_are_refused(world: Path, rows: Rows, tmp_path: Path) -> None:
    path = copy(world, tmp_path)
    (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelError, match=str(path)) as caught:
        cost(path, rows)
    assert caught.value.exit_code == 2


MIXTURES: dict[str, dict[str, Any]] = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen2Moe": {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8},
    "DeepseekV3": {
        "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "qk_nope_head_dim": 8,
        "first_k_dense_replace": 1, "num_key_value_heads": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("architecture", sorted(MIXTURES))
def test_a_step_of_a_mixture_of_experts_is_foreseen(
    architecture: str, dtype: torch.dtype | None, checkpointing: bool, tmp_path: Path
) -> None:
    """More rows take more; the experts' own products are among what is counted."""
    config = getattr(transformers, f"{architecture}Config")(**TOKENS, **SMALL, **{**HEADS, **MIXTURES[architecture]})
    config.architectures = [f"{architecture}ForCausalLM"]
    config.save_pretrained(str(tmp_path))
    kind = StepKind(dtype=dtype, checkpointing=checkpointing)
    few, many = (step_memory(tmp_path, None, MicroBatchShape(rows, 16, 8 * rows), kind) for rows in (2, 16))
    assert 0 < few < many


def test_a_step_that_goes_by_values_is_refused(tmp_path: Path) -> None:
    """JetMoe counts the tokens of each expert in Python."""
    config = transformers.JetMoeConfig(**TOKENS, **{**SMALL, **HEADS}, num_local_experts=4, kv_channels=8)
    config.save_pretrained(str(tmp_path))
    with pytest.raises(ModelError, match="cannot be foreseen for models of jetmoe"):
        step_memory(tmp_path, None, MicroBatchShape(2, 16, 16), StepKind())
