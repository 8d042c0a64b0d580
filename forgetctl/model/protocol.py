"""What is used of transformers' models and tokenizers, whose own types hold for no more than one architecture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class Output(Protocol):
    """What a forward pass gives. logits: (rows, tokens, vocabulary), or of the kept positions."""

    @property
    def logits(self) -> Tensor: ...

    @property
    def hidden_states(self) -> Sequence[Tensor]: ...


class Layers(Protocol):
    """The modules and parameters that a model has, of transformers or any other."""

    def modules(self) -> Iterator[nn.Module]:
        """Every module, itself the first."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The same with their names."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter once."""

    def named_parameters(
        self, prefix: str = ..., recurse: bool = ..., remove_duplicate: bool = ...
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """The same with their names, shared ones under each of theirs if asked for."""


class Model(Layers, Protocol):
    """A causal language model of transformers, wrapped with adapters or not."""

    training: bool
    generation_config: Any
    base_model_prefix: str
    _supports_attention_backend: bool

    @property
    def config(self) -> PreTrainedConfig: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def forward(self) -> Callable[..., Output]: ...

    def __call__(self, **inputs: Any) -> Output:
        """A forward pass."""

    def generate(self, inputs: Tensor, **options: Any) -> Any:
        """transformers' own decoding."""

    def buffers(self) -> Iterator[Tensor]:
        """Every buffer once."""

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Every buffer with its name."""

    def state_dict(self) -> dict[str, Tensor]:
        """What is saved, by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take all of that."""

    def get_parameter_or_buffer(self, name: str) -> Tensor:
        """One of them by its name."""

    def get_input_embeddings(self) -> nn.Embedding:
        """The embeddings."""

    def get_output_embeddings(self) -> nn.Linear:
        """The output head."""

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs: dict[str, Any]) -> None:
        """Compute activations again for the backward pass."""

    def get_memory_footprint(self) -> int:
        """Bytes of its parameters and buffers."""

    def zero_grad(self, set_to_none: bool = ...) -> None:
        """Forget all gradients."""

    def set_attn_implementation(self, name: str) -> None:
        """Compute attention by what is registered under a name."""

    def train(self, mode: bool = ...) -> Self:
        """Set to training, or not."""

    def eval(self) -> Self:
        """Set to evaluation."""

    def to(self, device: torch.device) -> Self:
        """Move to a device."""

    def requires_grad_(self, requires_grad: bool = ...) -> Self:
        """Let all parameters be trained, or none."""


class AdaptedModel(Model, Protocol):
    """A model that peft wrapped."""

    peft_config: Mapping[str, Any]

    def get_base_model(self) -> Model:
        """The model inside, its layers with their adapters."""

    def merge_and_unload(self) -> Model:
        """The model inside, the adapters added to its weights."""

    def save_pretrained(self, directory: str, **options: Any) -> None:
        """Write the adapter."""


class Tokenizer(Protocol):
    """A tokenizer of transformers. is_fast: whether it is of tokenizers, which knows where in a text its tokens are."""

    eos_token_id: int
    chat_template: str | dict[str, str] | None
    is_fast: bool

    @property
    def backend_tokenizer(self) -> Any:
        """That of tokenizers inside, where there is one."""

    @property
    def all_special_ids(self) -> Collection[int]: ...

    @property
    def added_tokens_decoder(self) -> Mapping[int, object]: ...

    def __len__(self) -> int:
        """Tokens, added ones included."""

    def __call__(
        self, text: str | list[str], *, add_special_tokens: bool = ..., return_offsets_mapping: bool = ...
    ) -> Mapping[str, Any]:
        """Token ids of a text or of several, and where they are in it if asked for."""

    def decode(self, ids: Sequence[int] | Tensor, *, skip_special_tokens: bool = ...) -> str:
        """The text of token ids."""

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        """A conversation as the model reads it."""

    def save_pretrained(self, directory: Path | str) -> Any:
        """Write its files."""


class AutogradContext(Protocol):
    """What torch hands to both passes of a function of ours."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for the backward pass."""

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs were written to."""
