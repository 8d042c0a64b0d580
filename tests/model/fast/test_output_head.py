"""Log-probabilities straight from the head: against cross-entropy over plain logits, values and gradients."""

from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy, linear, log_softmax

import forgetctl.model.fast.output_head
import forgetctl.model.scoring
from forgetctl.model.fast.output_head import Compared, compared_logp, head_gives_logp, head_inputs, target_logp
from forgetctl.model.load import add_lora
from forgetctl.model.scoring import answer_logits, answer_logp, answer_logp_and_kl, logp_of, pad_rows
from forgetctl.model.states import AnswerStates
from forgetctl.recipe.recipe import Lora
from tests.model.oracles import random_model, random_rows

POSITIONS, WIDTH, VOCABULARY = 37, 16, 101


@pytest.fixture(params=[1, 3 * VOCABULARY, 10**6], ids=["row by row", "three rows", "all at once"])
def buffer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much is turned over at once must not matter."""
    monkeypatch.setattr(forgetctl.model.fast.output_head, "BUFFER_VALUES", request.param)


def inputs(scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden = scale * torch.randn(POSITIONS, WIDTH, generator=generator)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator)
    targets = torch.randint(VOCABULARY, (POSITIONS,), generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), targets, torch.randn(POSITIONS, generator=generator)


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return -cross_entropy(linear(hidden, weight).float(), targets, reduction="none")


def test_a_sharded_head_is_as_plain_as_before() -> None:
    """Under FSDP2 its class is another one, and its weight whole within the forward only."""
    model, batch = random_model("Llama"), pad_rows(random_rows(5))
    expected = answer_logp(model, batch)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        sharded = random_model("Llama")
        mesh, head = init_device_mesh("cpu", (1,)), sharded.get_output_embeddings()
        fully_shard(head, mesh=mesh)
        fully_shard(sharded, mesh=mesh)
        assert type(head) is not nn.Linear
        with patch.object(forgetctl.model.scoring, "answer_logits", side_effect=AssertionError):
            torch.testing.assert_close(answer_logp(sharded, batch), expected)
    finally:
        distributed.destroy_process_group()


@pytest.mark.usefixtures("buffer")
@pytest.mark.parametrize("scale", [1.0, 60.0], ids=["flat", "with logits of a thousand"])
def test_values_and_gradients_are_those_of_cross_entropy(scale: float) -> None:
    hidden, weight, targets, upstream = inputs(scale)
    expected = plain(hidden, weight, targets)
    wanted = torch.autograd.grad(expected, (hidden, weight), upstream)
    found = target_logp(hidden, weight, targets)
    gradients = torch.autograd.grad(found, (hidden, weight), upstream)
    assert wanted[1].abs().max() > 1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    for one, other in zip(gradients, wanted, strict=True):
        assert (one - other).norm() < 1e-4 * other.norm()


@pytest.mark.usefixtures("buffer")
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0], ids=["none compared", "some", "all"])
def test_divergences_and_their_gradients_are_those_of_whole_distributions(share: float) -> None:
    hidden, weight, targets, upstream = inputs()
    generator = torch.Generator().manual_seed(4)
    there = torch.rand(POSITIONS, generator=generator) < share
    start = log_softmax(torch.randn(int(there.sum()), VOCABULARY, generator=generator), dim=-1)
    now = log_softmax(linear(hidden, weight), dim=-1)
    divergence = torch.zeros(POSITIONS).masked_scatter(there, (start.exp() * (start - now[there])).sum(-1))
    expected = torch.stack([plain(hidden, weight, targets), divergence], 1)
    slopes = torch.stack([upstream, upstream.flip(0)], 1)
    wanted = torch.autograd.grad(expected, (hidden, weight), slopes)
    found = compared_logp(hidden, weight, targets, Compared(there, start.__getitem__))
    gradients = torch.autograd.grad(found, (hidden, weight), slopes)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    for one, other in zip(gradients, wanted, strict=True):
        assert (one - other).norm() < 1e-4 * other.norm()


def test_divergences_are_from_the_start_model_where_it_shares_the_head() -> None:
    """Adapters leave the head as it is, so the start model's states use the very head that is replaced for a moment."""
    rows, model = random_rows(6), random_model("Llama")
    states = AnswerStates(model, rows)
    assert states.head is model.get_output_embeddings()
    adapted, batch = add_lora(model, Lora(rank=4)), pad_rows(rows)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.2, generator=torch.Generator().manual_seed(5))
    hidden = states.states_of(range(6))
    everywhere = Compared(
        torch.ones_like(batch.row, dtype=torch.bool), lambda where: states.distributions(hidden[where])
    )
    found = answer_logp_and_kl(adapted, batch, everywhere)
    assert found is not None
    now, start = log_softmax(answer_logits(adapted, batch).float(), dim=-1), states.log_probabilities(range(6))
    expected = torch.zeros(6).index_add(0, batch.row, (start.exp() * (start - now)).sum(-1))
    assert expected.min() > 1e-2
    torch.testing.assert_close(found[1], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[0], logp_of(answer_logits(adapted, batch), batch), atol=1e-4, rtol=1e-4)


def test_gradients_by_finite_differences() -> None:
    """In float32, against the slope of the values themselves."""
    hidden, weight, targets, _ = inputs()
    gradient, _ = torch.autograd.grad(target_logp(hidden, weight, targets).sum(), (hidden, weight))
    for place in ((0, 0), (5, 3), (36, 15)):
        step = torch.zeros_like(hidden)
        step[place] = 1e-2
        with torch.no_grad():
            up, down = (target_logp(hidden + sign * step, weight, targets).double().sum() for sign in (1, -1))
        assert float(gradient[place]) == pytest.approx(float(up - down) / 2e-2, abs=2e-2)


@pytest.mark.usefixtures("buffer")
def test_autocast_is_followed() -> None:
    """As precise as cross-entropy over bfloat16 logits, no more and no less."""
    hidden, weight, targets, upstream = inputs()
    exact = torch.autograd.grad(plain(hidden, weight, targets), (hidden, weight), upstream)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = plain(hidden, weight, targets), target_logp(hidden, weight, targets)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert found.dtype == torch.float32
    wanted = torch.autograd.grad(expected, (hidden, weight), upstream)
    gradients = torch.autograd.grad(found, (hidden, weight), upstream)
    for one, other, truth in zip(gradients, wanted, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - truth).norm() < 1.5 * (other - truth).norm() < 0.02 * truth.norm()


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, weight, targets, _ = inputs()
    target_logp(hidden, weight.requires_grad_(False), targets).sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert weight.grad is None


def test_a_second_backward_pass_is_refused() -> None:
    """The first one overwrote the logits; a wrong gradient would be worse."""
    hidden, weight, targets, _ = inputs()
    total = target_logp(hidden, weight, targets).sum()
    total.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="overwritten"):
        total.backward()  # type: ignore[no-untyped-call]


def scores(model: Any) -> tuple[Tensor, Tensor, bool]:
    """Summed log-probabilities as scored and through logits, and whether logits were made for the first."""
    batch = pad_rows(random_rows(5))
    shapes: list[torch.Size] = []
    answer_logp(model, batch)  # looks at the head
    handle = model.get_output_embeddings().register_forward_hook(lambda _m, _i, output: shapes.append(output.shape))
    with torch.no_grad():
        found = answer_logp(model, batch)
        handle.remove()
        return found, logp_of(answer_logits(model, batch), batch), len(shapes[0]) == 2


@pytest.mark.parametrize("architecture", ["Llama", "GPT2", "Qwen2", "Phi3", "GPTNeoX", "Mistral"])
def test_plain_heads_make_no_logits(architecture: str) -> None:
    found, expected, logits = scores(random_model(architecture))
    assert not logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ["Gemma2", "Cohere", "Granite"])
def test_capped_and_scaled_logits_are_made_whole(architecture: str) -> None:
    found, expected, logits = scores(random_model(architecture))
    assert logits
    assert torch.equal(found, expected)


def test_a_head_with_a_bias_is_used_as_it_is() -> None:
    model = random_model("Llama")
    model.lm_head = nn.Linear(model.lm_head.in_features, model.lm_head.out_features)
    found, expected, logits = scores(model)
    assert logits
    assert torch.equal(found, expected)


def test_a_head_with_an_adapter_is_used_as_it_is() -> None:
    model = add_lora(random_model("Llama"), Lora(rank=2, targets=("lm_head",)))
    nn.init.normal_(model.get_output_embeddings().lora_B["default"].weight)
    found, expected, logits = scores(model)
    assert logits
    assert torch.equal(found, expected)


def test_the_head_is_itself_again_also_after_an_error() -> None:
    model = random_model("Llama")
    ids = torch.tensor([[1, 2, 3]])
    before = model(input_ids=ids).logits
    with head_inputs(model), pytest.raises(ZeroDivisionError):
        _ = 1 / 0
    with pytest.raises(ZeroDivisionError), head_gives_logp(model, torch.tensor([1])):
        _ = 1 / 0
    assert torch.equal(model(input_ids=ids).logits, before)
