"""How an owner draws answers: read from options and models, and what is cut off, against transformers' own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from forgetctl.errors import ModelError, UsageError
from forgetctl.model.directories import own_sampling
from forgetctl.model.sampling import PLAIN, Sampling


def test_settings_are_read_from_an_option() -> None:
    assert Sampling.parse("temperature=.7,top_p=.9") == Sampling(temperature=0.7, top_p=0.9)
    assert str(Sampling.parse("top_k=40, temperature=1.5")) == "temperature 1.5, top-k 40"
    assert Sampling.parse("temperature=1") == PLAIN
    assert (PLAIN.plain, Sampling(top_k=5).plain) == (True, False)


@pytest.mark.parametrize("text", ["", "hot", "temperature=0", "top_p=1.1", "top_k=0", "min_p=.1", "temperature=nan"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="temperature, top_k, top_p"):
        Sampling.parse(text)


OWN: list[tuple[dict[str, Any] | None, Sampling | None]] = [
    (None, None),
    ({"eos_token_id": 2}, None),
    ({"do_sample": True}, None),
    ({"do_sample": True, "temperature": 0.6, "top_p": 0.9}, Sampling(temperature=0.6, top_p=0.9)),
    ({"temperature": 0.6, "top_k": 20}, Sampling(temperature=0.6, top_k=20)),
    ({"temperature": 0.6, "top_k": 0}, Sampling(temperature=0.6)),
    ({"do_sample": False, "temperature": 0.6}, None),
    ({"temperature": 0.0, "top_p": 0.9}, None),
]


@pytest.mark.parametrize(("config", "expected"), OWN)
def test_a_model_brings_its_own(tmp_path: Path, config: dict[str, Any] | None, expected: Sampling | None) -> None:
    if config is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(config))
    assert own_sampling(tmp_path) == expected


def test_settings_of_a_model_that_nobody_can_draw_with_are_refused(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"top_p": 7}')
    with pytest.raises(ModelError, match="no usable temperature"):
        own_sampling(tmp_path)


def test_kept_by_hand() -> None:
    """Shares .5, .3, .15, .05: the first two have .8, the first three .95."""
    logits = torch.tensor([[0.5, 0.05, 0.3, 0.15]]).log()
    shares = [Sampling(top_p=p).kept(logits).softmax(-1)[0].tolist() for p in (0.79, 0.81)]
    assert shares[0] == pytest.approx([0.625, 0, 0.375, 0])
    assert shares[1] == pytest.approx([0.5 / 0.95, 0, 0.3 / 0.95, 0.15 / 0.95])
    assert Sampling(top_k=1).kept(logits).softmax(-1)[0].tolist() == [1, 0, 0, 0]
    assert torch.equal(PLAIN.kept(logits), logits)


@settings(deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.1, 3),
    st.none() | st.integers(1, 20),
    st.floats(0.05, 1),
)
def test_what_is_kept_is_what_transformers_keeps(
    seed: int, temperature: float, top_k: int | None, top_p: float
) -> None:
    logits = torch.randn(3, 12, generator=torch.Generator().manual_seed(seed))
    expected, ids = TemperatureLogitsWarper(temperature)(None, logits), None  # type: ignore[no-untyped-call, arg-type]
    if top_k is not None:
        expected = TopKLogitsWarper(top_k)(ids, expected)  # type: ignore[no-untyped-call, arg-type]
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(ids, expected)  # type: ignore[no-untyped-call, arg-type]
    found = Sampling(temperature=temperature, top_k=top_k, top_p=top_p).kept(logits)
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1))
