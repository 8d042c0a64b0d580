"""Load models, as they are or as training needs them.

Safetensors and GGUF only, no remote code, no silent download.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError

from ..errors import MemoryExceeded, ModelError
from ..recipe.recipe import Recipe
from ._panics import tokenizer_loading
from ._quantisation import NF4_BLOCK, QUANTISED, narrowest_input, quantisation_options, settle_four_bit_layers
from ._quantisation import PRECISIONS as PRECISIONS
from ._stored_types import hold_stored_types, most_stored, restore_stored
from .adapters import add_lora as add_lora  # these are part of this module's own interface
from .adapters import merged as merged
from .adapters import put_on as put_on
from .configs import load_config
from .directories import ModelFacts as ModelFacts
from .directories import inspect_model as inspect_model
from .directories import inspect_trainable as inspect_trainable
from .directories import model_place as model_place
from .directories import quantisation_method
from .directories import resolve_model as resolve_model
from .encoding import Encoder
from .fast.fused_layers import fuse_layers
from .fast.packing import enable_packing
from .gguf import dequantised, gguf_tokenizer, is_gguf
from .host import no_progress_bars, repeat_sums
from .memory import REFUSALS, out_of_memory
from .protocol import Layers, Model, Tokenizer
from .split_weights import split_weights

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


_Loaded = tuple[Model, Mapping[str, Collection[str]]]
"""A model, and what transformers reports of its weights: those that are missing among them."""
RESCALING = "rescale_every"
"""RWKV's: blocks after which states are halved, against overflow in float16. In evaluation it halves its own weights to
match, in place, and what is trained and saved would be those."""


def choose_device(name: str = "auto") -> torch.device:
    """The device to work on: `name`, or the accelerator if there is one. Raises ModelError for an unusable name."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator()
        name = "cpu" if accelerator is None else accelerator.type
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError):
        raise ModelError(f"device '{name}' is not available here") from None


def load_tokenizer(path: Path) -> Tokenizer:
    """The model's own tokenizer. Raises ModelError if it cannot be read, ForgetctlError where its library panics."""
    if is_gguf(path):
        return gguf_tokenizer(path)
    from transformers import AutoTokenizer

    with tokenizer_loading(path):
        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    return cast(Tokenizer, tokenizer)


def load_encoder(facts: ModelFacts, prompt_format: str) -> Encoder:
    """What turns rows into this model's token ids. Raises ModelError if its tokenizer cannot be used."""
    return Encoder(load_tokenizer(facts.path), prompt_format, facts.stops, facts.vocabulary)


def load_model(path: Path, device: torch.device, dtype: torch.dtype, precision: str | None = None) -> Model:
    """A causal language model with its dropout off, in evaluation mode.

    precision: one of PRECISIONS to round or quantise the weights to, None to keep them, also where they are quantised
    already; dtype is what is computed in.

    Dropout is off because losses compare with the start model: at the start the ratio must be exactly one.
    Raises ModelError if the model cannot be loaded, weights are missing from it, it cannot have the precision, or
    its tokens see those behind them; MemoryExceeded if there is no room for it.
    """
    if precision not in (None, *PRECISIONS):
        raise ModelError(f"no precision {precision}; there is {', '.join(PRECISIONS)}")
    quantised = quantisation_method(path)
    if quantised and precision is not None:
        raise ModelError(f"{path}: its weights are quantised already ({quantised}); leave out --precision {precision}")
    # What is not quantised beside quantised weights must be what these compute in.
    held = "auto" if quantised else torch.bfloat16 if precision == "bf16" else dtype
    model = _loaded(
        path, device, held, quantisation_options(precision, dtype), placed=bool(quantised) or precision in QUANTISED
    )
    model.config.use_cache = False
    if precision == "nf4" and (narrow := narrowest_input(model)) < NF4_BLOCK:
        raise ModelError(f"{path}: has a layer of {narrow} inputs, nf4 needs {NF4_BLOCK}")
    settle_four_bit_layers(model)
    model.eval()
    if not _is_causal(model):
        raise ModelError(f"{path}: is no causal language model: its tokens see those behind them")
    enable_packing(model)
    fuse_layers(model)
    if precision is None and not quantised:
        hold_stored_types(model, path)
    return model


def _loaded(
    path: Path, device: torch.device, dtype: torch.dtype | str, options: dict[str, Any], *, placed: bool
) -> Model:
    """As transformers loads it. dtype: what weights are held in, "auto" for what the config says. placed: right onto
    its device, since quantised weights cannot be moved."""

    config = load_config(path)
    for key, value in config.to_dict().items():
        if _is_dropout(key, value):
            setattr(config, key, 0.0)
        elif key == RESCALING:
            setattr(config, key, 0)
    try:
        options = options | ({"device_map": {"": device}} if placed else {})
        with no_progress_bars():
            model, report = (_read_gguf if is_gguf(path) else _read_directory)(path, config, dtype, options)
        model = model if placed else model.to(device)
    except (*REFUSALS, ValueError, KeyError, ImportError, SafetensorError) as error:
        if out_of_memory(error):
            raise MemoryExceeded(f"{path}: the model does not fit into the free memory") from None
        if isinstance(error, ImportError) and (quantised := quantisation_method(path)):
            raise ModelError(f"{path}: a package for its quantised weights ({quantised}) is not installed") from None
        raise ModelError(f"{path}: cannot be loaded as a causal language model ({type(error).__name__})") from None
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{path}: {len(missing)} weights are missing, the first is {missing[0]}")
    return model


def _read_directory(path: Path, config: PreTrainedConfig, dtype: torch.dtype | str, options: dict[str, Any]) -> _Loaded:
    """A model, and what transformers reports of its weights."""
    from transformers import AutoModelForCausalLM

    classes: Any = AutoModelForCausalLM
    loaded: _Loaded = classes.from_pretrained(
        str(path),
        config=config,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    return loaded


def _read_gguf(path: Path, config: PreTrainedConfig, dtype: torch.dtype | str, options: dict[str, Any]) -> _Loaded:
    """The same of a GGUF file. Two steps, of which the second copies nothing: a model that is dequantised in loading
    counts as quantised ever after, and cannot be quantised in another way."""
    assert isinstance(dtype, torch.dtype)  # noqa: S101  "auto" is for weights that stay quantised
    kind, weights = dequantised(path, config, dtype)
    loaded: _Loaded = kind.from_pretrained(
        None, config=config, state_dict=weights, dtype=dtype, output_loading_info=True, **options
    )
    return loaded


@torch.no_grad()
def _is_causal(model: Model) -> bool:
    """Whether a token's logits are those that it had without the one behind it; ProphetNet's depend on the length."""
    ids = torch.arange(3, 11, device=model.device)[None] % model.config.get_text_config(decoder=True).vocab_size
    first, second = (model(input_ids=each, use_cache=False).logits[0, :7].float() for each in (ids, ids[:, :-1]))
    rounding = torch.finfo(model.dtype).eps ** 0.5  # experts of a mixture round otherwise beside other tokens
    return bool((first - second).abs().max() <= rounding * first.std())


def load_for_training(facts: ModelFacts, device: torch.device, recipe: Recipe, compute: torch.dtype) -> Model:
    """The start model with its weights held as the recipe says, ready for `add_lora` where the recipe has adapters.

    compute: what training computes in. Whole weights are float32, or split into bfloat16 and the bits that float32 has
    more (`split_weights`). Frozen weights are float32, or bfloat16 where nothing is lost by it. Under QLoRA they are
    NF4, and everything else is held in `compute`; the start model of the losses is then the quantised one. So the
    start model's scores must be taken from what this returns. What a GPU computes in float32 from then on it computes
    the same every time. Raises as `load_model`.
    """
    if device.type == "cuda" and compute == torch.float32:
        repeat_sums()
    if recipe.lora and recipe.lora.quantisation != "none":
        model = load_model(facts.path, device, compute, recipe.lora.quantisation)
        return model.requires_grad_(False)
    if recipe.lora:
        return load_model(facts.path, device, frozen_dtype(facts, recipe, compute))
    if recipe.weights != "bfloat16":
        return load_model(facts.path, device, torch.float32)
    lossless = facts.dtype == torch.bfloat16 and not is_gguf(facts.path)  # whose float32 norms would be rounded
    model = load_model(facts.path, device, torch.bfloat16 if lossless else torch.float32)
    restore_stored(model, facts.path)
    split_weights(model)
    return model


def frozen_dtype(facts: ModelFacts, recipe: Recipe, compute: torch.dtype) -> torch.dtype:
    """What weights under adapters are held in."""
    lossless = most_stored(facts.path) == compute == torch.bfloat16 and recipe.weights == "auto"
    return torch.bfloat16 if lossless or recipe.weights == "bfloat16" else torch.float32


def _is_dropout(key: str, value: object) -> bool:
    return ("dropout" in key or key.endswith("pdrop")) and isinstance(value, float)


def trainable_parameters(model: Layers) -> int:
    """Number of parameters that training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
