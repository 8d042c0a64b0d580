"""Every causal architecture equals plain transformers or is refused with a sentence: `make architectures`."""

from __future__ import annotations

import pytest

from tests.architectures.compare import Result
from tests.architectures.running import in_child
from tests.architectures.shapes import ALL

UNBUILT = {}

QUICK = (
    "llama",
    "qwen3",
    "gemma3_text",
    "gpt2",
    "mixtral",
    "qwen2_moe",
    "phi3 (LongRoPE)",
    "rwkv",
    "falcon",
    "qwen3_next",
)
"""Models of different kinds, which `make test` looks at."""


def check(result: Result) -> None:
    if result.name in UNBUILT:
        assert result.status == "unbuilt", f"{result.name} can be built now; take it out of UNBUILT"
        assert UNBUILT[result.name] in result.why
        return
    assert result.status in ("equal", "untrained", "refused"), result.why
    assert result.status == "equal" or len(result.why.split()) > 5


@pytest.mark.parametrize("name", QUICK)
def test_a_model_of_each_kind(name: str) -> None:
    result = in_child(name)
    assert result.status == "equal", result.why


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL.keys() - set(QUICK))
def test_every_architecture(name: str) -> None:
    check(in_child(name))
