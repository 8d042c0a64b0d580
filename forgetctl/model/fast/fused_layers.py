"""RMSNorm, SwiGLU and RoPE computed with fewer passes over memory, and with less kept for the backward pass.

Products of matrices aside, a layer's time goes into reading and writing its states. A norm as transformers writes it
does so a dozen times, and keeps its input in float32 twice over; here the input alone is kept. What is replaced is
recognised by what it computes, on a few numbers, and not by its name; and only a module's own `forward` is replaced, so
that adapters, sharding and activation checkpointing find the modules that they know. Values are the same but for
rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import Parameter, signature
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

from ..protocol import AutogradContext, Layers
from ._forwards import Maker, replace_forward
from .packing import computing_dtype

ROPE_FUNCTION = "apply_rotary_pos_emb"
"""Name by which attention in transformers calls what applies RoPE to its queries and keys."""
SAME = 1e-5
"""How far numbers around one may be apart in float32 and count as the same."""


def fuse_layers(model: Layers) -> None:
    """Replace the forward of every RMSNorm, SwiGLU MLP and attention with RoPE of the model that is of a known kind."""
    for module in model.modules():
        if fused := _fused_forward(module):
            replace_forward(module, fused)


def _fused_forward(module: Any) -> Maker | None:
    """What makes the forward of the module's class, if it is of a known kind."""
    kind: Any = type(module)
    weighs = isinstance(getattr(module, "weight", None), nn.Parameter)
    if weighs and (hasattr(module, "variance_epsilon") or hasattr(module, "eps")):
        return _rms_norm_of if _rms_norm_of(kind) else None
    if hasattr(module, "act_fn") and hasattr(module, "gate_proj"):
        return _swiglu_of if _is_swiglu(kind, module.act_fn) else None
    return _rope_attention_of if _rope_attention_of(kind) else None


def _same(compute: Callable[[], object], expected: Tensor) -> bool:
    """Whether code that is not ours gives what is expected; code that expects something else is of another kind."""
    try:
        given = compute()
    except (AttributeError, TypeError, ValueError, RuntimeError, IndexError):
        return False
    return isinstance(given, Tensor) and given.shape == expected.shape and bool((given - expected).abs().max() < SAME)


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


@cache
def _rms_norm_of(kind: Any) -> Callable[..., Any] | None:
    """How modules of the class norm, if they compute states / rms(states) * weight (Zhang and Sennrich 2019), or, as
    Gemma's do, with 1 + weight."""
    states, weight = _random(3, 8), _random(8)
    norm = kind.__new__(kind)
    nn.Module.__init__(norm)
    norm.weight, norm.variance_epsilon, norm.eps = nn.Parameter(weight, requires_grad=False), 0.1, 0.1
    if _same(lambda: kind.forward(norm, states), rms_norm(states, (8,), weight, 0.1)):
        return _rms_norm
    if _same(lambda: kind.forward(norm, states), rms_norm(states, (8,), 1 + weight, 0.1)):
        return _zero_centred_rms_norm
    return None


def _rms_norm(self: Any, states: Tensor) -> Tensor:
    return _normalise(states, self.weight, _epsilon(self))


def _zero_centred_rms_norm(self: Any, states: Tensor) -> Tensor:
    return _normalise(states, 1 + self.weight.float(), _epsilon(self))


def _epsilon(norm: Any) -> float:
    variance_epsilon = getattr(norm, "variance_epsilon", None)
    return float(norm.eps if variance_epsilon is None else variance_epsilon)


def _normalise(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Under autocast in its precision, to which the products that follow would each round."""
    dtype = computing_dtype(states.device, states.dtype)
    if states.device.type == "cuda":  # torch has a kernel
        wide = torch.promote_types(states.dtype, weight.dtype)
        with torch.autocast("cuda", enabled=False):
            kernel: Tensor = rms_norm(states.to(wide), weight.shape, weight.to(wide), epsilon)
            return kernel.to(dtype)
    normal: Tensor = _RMSNorm.apply(states, weight, epsilon, dtype)  # type: ignore[no-untyped-call]
    return normal


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(context: AutogradContext, states: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        size = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = size.square_().div_(states.shape[-1]).add_(epsilon).rsqrt_()
        context.save_for_backward(states, weight, inverse)
        normal: Tensor = states * inverse
        return normal.mul_(weight).to(dtype)

    @staticmethod
    def backward(context: AutogradContext, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, inverse = context.saved_tensors
        gradient, normal = gradients[0].float(), states * inverse
        along = gradient * normal
        of_weight = along.flatten(0, -2).sum(0).to(weight.dtype) if context.needs_input_grad[1] else None
        share = (along @ weight.float()).div_(states.shape[-1])
        of_states = (gradient * weight).addcmul_(normal, share[..., None], value=-1).mul_(inverse)
        return of_states.to(states.dtype), of_weight, None, None


def _is_swiglu(kind: Any, activation: nn.Module) -> bool:
    """Whether modules of the class compute down(silu(gate(states)) * up(states)) (Shazeer 2020)."""
    states = _random(3, 8)
    stand_in = SimpleNamespace(gate_proj=torch.sin, up_proj=torch.cos, down_proj=torch.neg, act_fn=activation)
    return _same(lambda: kind.forward(stand_in, states), -silu(states.sin()) * states.cos())


def _swiglu_of(_kind: Any) -> Callable[..., Any]:
    return _swiglu


def _swiglu(self: Any, states: Tensor) -> Tensor:
    product: Tensor = _SwiGLU.apply(self.gate_proj(states), self.up_proj(states))  # type: ignore[no-untyped-call]
    result: Tensor = self.down_proj(product)
    return result


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(context: AutogradContext, gate: Tensor, up: Tensor) -> Tensor:
        context.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(context: AutogradContext, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = context.saved_tensors
        (gradient,) = gradients
        return torch.ops.aten.silu_backward(gradient * up, gate), silu(gate).mul_(gradient)


@cache
def _rope_attention_of(kind: Any) -> Callable[..., Any] | None:
    """The class's own forward, but with our RoPE, if it rotates queries and keys by halves (Su et al. 2021) and by a
    function of its module; else None."""
    forward = kind.forward
    theirs = getattr(forward, "__globals__", {}).get(ROPE_FUNCTION)
    if theirs is None or ROPE_FUNCTION not in forward.__code__.co_names:
        return None
    if any(given.default is not Parameter.empty for given in list(signature(theirs).parameters.values())[:4]):
        return None  # it may be called otherwise, as with queries alone
    states, cos, sin = _random(2, 3, 5, 8), *_random(2, 2, 5, 8)
    expected = torch.stack(apply_rope(states, states.flip(1), cos, sin))
    if not _same(lambda: torch.stack(theirs(states, states.flip(1), cos, sin)), expected):
        return None
    ours = FunctionType(
        forward.__code__,
        {**forward.__globals__, ROPE_FUNCTION: apply_rope},
        forward.__name__,
        forward.__defaults__,
        forward.__closure__,
    )
    ours.__kwdefaults__ = forward.__kwdefaults__
    return ours


def apply_rope(
    queries: Tensor, keys: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    """Queries and keys, (batch, heads, tokens, width), rotated by the angles of their positions, (batch, tokens, width
    or less of it), rounded to their own precision at the end."""
    cos, sin = (part.unsqueeze(unsqueeze_dim) for part in (cos, sin))
    return _rope(queries, cos, sin), _rope(keys, cos, sin)


def _rope(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    rotated, rest = states.tensor_split([cos.shape[-1]], dim=-1)
    rotated = _RoPE.apply(rotated, cos, sin)  # type: ignore[no-untyped-call]
    return torch.cat([rotated, rest], dim=-1) if rest.shape[-1] else rotated


class _RoPE(torch.autograd.Function):
    @staticmethod
    def forward(context: AutogradContext, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        context.save_for_backward(cos, sin)
        first, second = sin.chunk(2, -1)
        return _rotated(states, cos, -first, second)

    @staticmethod
    def backward(context: AutogradContext, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = context.saved_tensors
        first, second = sin.chunk(2, -1)
        return _rotated(gradients[0], cos, second, -first), None, None


def _rotated(states: Tensor, cos: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Each half of the last dimension times cos, and the other half times what is given for it."""
    rotated = states * cos
    (head, tail), (into_head, into_tail) = states.chunk(2, -1), rotated.chunk(2, -1)
    into_head.addcmul_(tail, first)
    into_tail.addcmul_(head, second)
    return rotated.to(states.dtype)
