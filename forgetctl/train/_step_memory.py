"""How much memory a training step takes beside weights and optimizer, counted by running it on tensors without values.

The forward and backward pass of the model's own code runs on fake tensors, which have shapes and no storage, while
the birth and death of every tensor is counted. So any architecture, adapter, precision and checkpointing is counted
as it is; what is not seen is scratch memory within a kernel.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.nn.functional import kl_div, log_softmax
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.integrations import moe

from ..errors import ModelError
from ..model.configs import empty_model, load_config
from ..model.fast.fused_layers import fuse_layers
from ..model.fast.output_head import head_gives_logp
from ..model.fast.packing import could_pack
from ..model.load import add_lora
from ..model.protocol import Layers, Model
from ..recipe.recipe import Lora
from ._modes import set_training

UNKNOWN_VALUES = (DataDependentOutputException, DynamicOutputShapeException)
"""What tensors without values raise where code asks for one, or makes as many numbers as a value says."""


@dataclass(frozen=True)
class MicroBatchShape:
    """What is computed at once: rows of `length` tokens each, with `scored` answer tokens in all."""

    rows: int
    length: int
    scored: int


@dataclass(frozen=True)
class StepKind:
    """How it is computed. dtype: autocast's, None for float32. weights: what they are held in. checkpointing: of
    gradients: inner activations are computed again for the backward pass. logits: the loss reads whole
    distributions."""

    dtype: torch.dtype | None = None
    weights: torch.dtype = torch.float32
    checkpointing: bool = False
    logits: bool = False


def step_memory(path: Path, lora: Lora | None, shape: MicroBatchShape, kind: StepKind) -> int:
    """Most bytes of tensors in a forward and backward pass, without weights and the gradients that it adds to.

    Raises ModelError for a model whose code goes by values, which these tensors have not.
    """
    with torch.device("meta"):
        model = empty_model(path, kind.weights)
    fuse_layers(model)
    with torch.device("meta"):
        model = add_lora(model, lora) if lora else model
    _settle_rotations(model)
    if kind.checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    set_training(model)
    try:
        return _peak(model, shape, kind)
    except UNKNOWN_VALUES:
        name = load_config(path).model_type
        raise ModelError(f"{path}: the memory of a training step cannot be foreseen for models of {name}") from None


def _peak(model: Model, shape: MicroBatchShape, kind: StepKind) -> int:
    with FakeTensorMode(), _without_grouped_kernel():
        _materialise(model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)
        ids = torch.zeros(shape.rows, shape.length, dtype=torch.long)
        # Not a mask of positions, whose number a tensor without values cannot tell.
        restricts = _restricts_logits(model)
        kept = torch.arange(max(1, round(shape.scored / shape.rows)) if restricts else shape.length)
        targets = torch.zeros(shape.rows * len(kept), dtype=torch.long)
        with _Live(model) as live:
            with torch.autocast("cpu", dtype=kind.dtype, enabled=kind.dtype is not None):
                loss = (_with_logits if kind.logits or not restricts else _with_scores)(model, ids, kept, targets)
            loss.backward()  # type: ignore[no-untyped-call]
    peak: int = live.peak
    return peak


def _restricts_logits(model: Model) -> bool:
    """Whether the model can be asked for some positions' logits alone."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in signature(base.forward).parameters


def _settle_rotations(model: Layers) -> None:
    """Let dynamic RoPE not look at how long its input is: that changes its numbers, and no size."""
    for module in model.modules():
        if getattr(module, "rope_type", None) == "dynamic":
            module.rope_type = "default"  # type: ignore[assignment]


@contextmanager
def _without_grouped_kernel() -> Iterator[None]:
    """Let mixtures of experts take transformers' own grouped product: of torch's, which computes in any precision, the
    shapes are known in bfloat16 alone. Both make tensors of the same sizes."""
    own = moe._can_use_grouped_mm
    moe._can_use_grouped_mm = lambda *_: False
    try:
        yield
    finally:
        moe._can_use_grouped_mm = own


def model_width(path: Path) -> int:
    """Width of the hidden states, from the model's config, or of its head's inputs where the config does not tell."""
    width = getattr(load_config(path).get_text_config(), "hidden_size", None)
    if width is None:
        with torch.device("meta"):
            width = empty_model(path, torch.float32).get_output_embeddings().weight.shape[1]
    return int(width)


def model_packs(path: Path, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether rows are likely to be packed when computed in `dtype`, as far as a model without weights can tell."""
    with torch.device("meta"):
        return could_pack(empty_model(path, torch.float32), device, dtype)


def _with_scores(model: Model, ids: Tensor, kept: Tensor, targets: Tensor) -> Tensor:
    with head_gives_logp(model, targets):
        return _logits(model, ids, kept).sum()


def _with_logits(model: Model, ids: Tensor, kept: Tensor, targets: Tensor) -> Tensor:
    now = log_softmax(_logits(model, ids, kept).float().flatten(0, 1), dim=-1)
    return kl_div(now, torch.empty_like(now), reduction="sum", log_target=True) + now.gather(1, targets[:, None]).sum()


def _logits(model: Model, ids: Tensor, kept: Tensor) -> Tensor:
    mask = torch.ones_like(ids)
    logits: Tensor = model(input_ids=ids, attention_mask=mask, logits_to_keep=kept, use_cache=False).logits
    return logits


def _materialise(model: Layers) -> None:
    """Put tensors that count as memory in place of the model's, which were made on no device; shared ones stay so."""
    made: dict[int, Tensor] = {}

    def solid(old: Tensor) -> Tensor:
        if id(old) not in made:
            new = torch.empty(old.shape, dtype=old.dtype)
            made[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        return made[id(old)]

    for module in model.modules():
        for store in (module._parameters, module._buffers):
            store.update({name: solid(old) for name, old in store.items() if old is not None})  # type: ignore[misc]


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are made and not yet freed, but for those of the model and its gradients."""

    def __init__(self, model: Model) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        there = [*model.parameters(), *model.buffers()]
        there += [weight.grad for weight in model.parameters() if weight.grad is not None]
        # A view shows the storage of a weight as if it were new.
        given = [tensor.untyped_storage() for tensor in there]
        self.bytes = self.peak = 0
        self.known: dict[int, Any] = {id(storage): storage for storage in given}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        for value in tree_leaves(output):
            if isinstance(value, Tensor):
                self._see(value.untyped_storage())
        return output

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self.known:
            return

        def freed(_: Any) -> None:
            del self.known[key]
            self._add(-size)

        self.known[key] = weakref.ref(storage, freed)
        self._add(size)

    def _add(self, size: int) -> None:
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
