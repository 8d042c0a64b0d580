"""Every architecture with its head tied to the embeddings and with a head of its own: the scores of a plain forward."""

from __future__ import annotations

import pytest
import torch

from forgetctl.model.fast.packing import enable_packing
from forgetctl.model.scoring import score
from forgetctl.model.token_scores import score_tokens
from tests.model.oracles import ARCHITECTURES, plain_logp, random_model, random_rows


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_scores_are_those_of_a_plain_forward(name: str, tied: bool) -> None:
    model = random_model(name, tie_word_embeddings=tied)
    head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head.data_ptr() == embeddings.data_ptr()) is tied
    rows = random_rows(10)
    expected = plain_logp(model, rows)
    assert expected.std() > 1
    enable_packing(model)
    assert torch.allclose(torch.tensor(score(model, rows)), expected, atol=1e-3)
    assert torch.allclose(torch.tensor([found.total for found in score_tokens(model, rows)]), expected, atol=1e-3)
