"""What the GPU benchmark rests on: the hollow model has the shapes of the real one, and rows leave steps to spare."""

from pathlib import Path

import pytest

from forgetctl.model.load import inspect_model
from forgetctl.model.weights import weight_shapes
from tests.bench.gpu import MEASURED, PEAKS, RECIPES, SHAPES, WARM_UP, build, hollow, recipe_of, rows_of


def test_the_hollow_model_has_the_real_ones_shapes(tmp_path: Path) -> None:
    for name in ("real", "hollow"):
        (tmp_path / name).mkdir()
    build("tiny", tmp_path / "real", "cpu")
    hollow("tiny", tmp_path / "hollow")
    real, empty = (inspect_model(tmp_path / name) for name in ("real", "hollow"))
    assert weight_shapes(real.path) == weight_shapes(empty.path)
    assert (real.dtype, real.context, real.layers) == (empty.dtype, empty.context, empty.layers)


@pytest.mark.parametrize(("shape", "parameters"), [("llama-1b", 1_235_814_400), ("llama-7b", 6_738_415_616)])
def test_the_shapes_are_those_of_the_models_they_are_named_after(shape: str, parameters: int, tmp_path: Path) -> None:
    """The numbers that their makers give; the file takes next to no room."""
    hollow(shape, tmp_path)
    assert inspect_model(tmp_path).bytes // 2 == pytest.approx(parameters, rel=1e-4)
    assert (tmp_path / "model.safetensors").stat().st_blocks * 512 < 2**20


@pytest.mark.parametrize("way", RECIPES)
def test_the_epoch_outlasts_the_measurement(way: str) -> None:
    """Else a checkpoint would be written, of 50 GB in the largest shape."""
    forget, _ = rows_of("tiny")
    assert len(forget) > SHAPES["tiny"][1] * (WARM_UP + MEASURED)
    assert recipe_of("tiny", way).epochs == 1


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA H200", 989e12)],
)
def test_peaks(name: str, peak: float) -> None:
    assert next(value for known, value in PEAKS.items() if known in name) == peak
