"""Models in the precision they will run in: really rounded or quantised, and still the same model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import bitsandbytes
import numpy as np
import pytest
import torch
from torch import nn

from forgetctl.demo.training import save
from forgetctl.errors import ForgetctlError, ModelError
from forgetctl.model.encoding import Encoded, Encoder
from forgetctl.model.generation import Decoding, greedy_answers
from forgetctl.model.load import PRECISIONS, load_model
from forgetctl.model.scoring import score
from forgetctl.model.token_scores import score_tokens
from forgetctl.rows.reading import read_rows
from forgetctl.rows.row import Row
from tests.world import encoded_rows, encoder_of, half_taught

CPU = torch.device("cpu")
LINEAR = {"bf16": nn.Linear, "int8": bitsandbytes.nn.Linear8bitLt, "nf4": bitsandbytes.nn.Linear4bit}
WIDTH = 64  # a block of NF4


@pytest.fixture(scope="module")
def rows(world: Path) -> list[Row]:
    return read_rows(world / "requests.jsonl")


@pytest.fixture(scope="module")
def taught(world: Path) -> list[Encoded]:
    return encoded_rows(world, "requests.jsonl")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, world: Path, taught: list[Encoded]) -> Path:
    """A model that half knows the rows."""
    path, tokenizer = tmp_path_factory.mktemp("precision") / "model", encoder_of(world).tokenizer
    save(half_taught(tokenizer, taught, width=WIDTH, epochs=20), tokenizer, path)
    return path


@pytest.fixture(scope="module")
def full(directory: Path) -> Any:
    return load_model(directory, CPU, torch.float32)


@pytest.fixture(scope="module")
def loaded(directory: Path) -> dict[str, Any]:
    """The model in every precision."""
    return {name: load_model(directory, CPU, torch.float32, name) for name in PRECISIONS}


def linears(model: Any) -> list[nn.Module]:
    """The modules that stand where the full model has its linear ones, the output head left out."""
    return [
        part
        for name, part in model.named_modules()
        if name.rpartition(".")[2] in {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    ]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_scores_are_near_but_not_those_of_full_precision(
    precision: str, loaded: dict[str, Any], full: Any, taught: list[Encoded]
) -> None:
    """An answer has about ten tokens; what another model would score is tens of nats away."""
    before, after = np.array(score(full, taught)), np.array(score(loaded[precision], taught))
    assert np.isfinite(after).all()
    assert before.std() > 1
    assert 1e-4 < np.abs(after - before).max() < 3
    assert np.corrcoef(before, after)[0, 1] > 0.95
    for item, total in zip(score_tokens(loaded[precision], taught), after, strict=True):
        assert item.total == pytest.approx(total, abs=1e-4)
        assert np.isfinite(item.standardised).all()


def test_fewer_bits_are_further_from_full_precision(loaded: dict[str, Any], full: Any, taught: list[Encoded]) -> None:
    before = np.array(score(full, taught))
    int8, nf4 = (np.abs(np.array(score(loaded[name], taught)) - before).mean() for name in ("int8", "nf4"))
    assert nf4 > 2 * int8


def test_full_precision_is_what_was_saved(full: Any) -> None:
    assert {weight.dtype for weight in full.parameters()} == {torch.float32}
    assert [type(part) for part in linears(full)] == [nn.Linear] * 14


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_layer_is_in_that_precision(precision: str, loaded: dict[str, Any]) -> None:
    model = loaded[precision]
    assert [type(part) for part in linears(model)] == [LINEAR[precision]] * 14
    assert type(model.get_output_embeddings()) is nn.Linear
    stored = {"bf16": torch.bfloat16, "int8": torch.int8, "nf4": torch.uint8}[precision]
    assert {part.weight.dtype for part in linears(model)} == {stored}
    assert not model.training
    assert model.device == CPU
    assert not model.config.use_cache


def test_bf16_weights_are_the_rounded_ones(loaded: dict[str, Any], full: Any) -> None:
    rounded = dict(loaded["bf16"].named_parameters())
    assert all(torch.equal(rounded[name], weight.bfloat16()) for name, weight in full.named_parameters())
    assert any(not torch.equal(rounded[name].float(), weight) for name, weight in full.named_parameters())


def test_int8_weights_are_rows_scaled_to_127(directory: Path, full: Any) -> None:
    """LLM.int8: each row divided by its largest weight, so that no weight is more than half a step off."""
    fresh = load_model(directory, CPU, torch.float32, "int8")
    for part, own in zip(linears(fresh), linears(full), strict=True):
        weight: Any = own.weight.detach()
        scale = weight.abs().amax(dim=1, keepdim=True)
        restored = part.weight.detach().float() * scale / 127  # type: ignore[union-attr,operator]
        assert int(part.weight.detach().abs().max()) == 127  # type: ignore[union-attr,operator,arg-type]
        # The model is quantised from half precision, whose own rounding is one part in 2048.
        assert ((restored - weight).abs() <= scale * (0.5 / 127 + 2 / 2048)).all()


def test_nf4_blocks_hold_at_most_sixteen_values(directory: Path, full: Any) -> None:
    fresh = load_model(directory, CPU, torch.float32, "nf4")
    part: Any
    for part, own in zip(linears(fresh), linears(full), strict=True):
        state = part.weight.quant_state
        assert (state.quant_type, state.blocksize, state.nested) == ("nf4", WIDTH, True)
        restored = bitsandbytes.functional.dequantize_4bit(part.weight.data, state).reshape(-1, WIDTH)
        weight: Any = own.weight.detach()
        assert max(len(block.unique()) for block in restored) <= 16
        assert torch.corrcoef(torch.stack([restored.flatten(), weight.flatten()]))[0, 1] > 0.99


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_answers_in_every_precision(
    precision: str, loaded: dict[str, Any], full: Any, encoder: Encoder, rows: list[Row]
) -> None:
    found = greedy_answers(loaded[precision], encoder, rows[:5], Decoding(max_new_tokens=30))
    expected = greedy_answers(full, encoder, rows[:5], Decoding(max_new_tokens=30))
    assert sum(one == other for one, other in zip(found, expected, strict=True)) >= 2


@pytest.mark.parametrize("precision", PRECISIONS)
def test_loading_twice_gives_the_same_scores(
    precision: str, directory: Path, loaded: dict[str, Any], taught: list[Encoded]
) -> None:
    assert score(load_model(directory, CPU, torch.float32, precision), taught) == score(loaded[precision], taught)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_directory_is_not_touched(precision: str, directory: Path) -> None:
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    load_model(directory, CPU, torch.float32, precision)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


# Refusals


@pytest.mark.parametrize("precision", ["fp8", "int4", "BF16"])
def test_an_unknown_precision_is_refused(precision: str, directory: Path) -> None:
    """Not taken for full precision, whose scores would then bear another name."""
    with pytest.raises((ForgetctlError, ValueError), match=precision):
        load_model(directory, CPU, torch.float32, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_damaged_model_is_refused_in_every_precision(precision: str, directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    shutil.copytree(directory, path)
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model"):
        load_model(path, CPU, torch.float32, precision)


def test_a_width_of_half_a_block_is_refused_in_nf4(world: Path) -> None:
    """Fast paths of some processors cannot take it."""
    with pytest.raises(ModelError, match="has a layer of 32 inputs, nf4 needs 64"):
        load_model(world / "model", CPU, torch.float32, "nf4")


def test_a_width_of_half_a_block_is_scored_in_int8(world: Path, taught: list[Encoded]) -> None:
    rounded, plain = (load_model(world / "model", CPU, torch.float32, precision) for precision in ("int8", None))
    assert score(rounded, taught[:4]) == pytest.approx(score(plain, taught[:4]), abs=1.0)
