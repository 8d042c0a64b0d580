"""The unlearned model's directory: the start model's, byte for byte, but for the weights that training changed.

Every weight goes into the file, to the place and in the type that the start model has it, one after another, so that no
second model is held in memory. Where the start model is a GGUF file, all is written anew, its weights dequantised, as
a directory that transformers loads by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import ModelError
from ..files.outside import opened, read_bytes
from .adapters import adapted_weights, is_adapted, own_weights
from .companions import Companions, companions, copy_companions, of_tokenizer
from .configs import load_config
from .directories import ModelFacts
from .gguf import dequantised, gguf_tokenizer, is_gguf
from .placement import Part, Placement
from .protocol import AdaptedModel, Model
from .split_weights import is_split, join, low_half
from .weights import FLOATS, INDEX, Layout, Stored, dequantised_layout, read_header, weight_files

CHUNK = 2**24
"""Bytes that are copied at once."""

Start = Callable[[], dict[str, Tensor]]
"""Gives the weights of a part as the start model has them, float32, by their names in the model."""
Trained = Callable[[Part, Start], Mapping[str, Tensor] | None]
"""Gives those of a part after training; None if training left them alone."""


@dataclass(frozen=True)
class Shipped:
    """What of the start model is in the saved one, and what is not. untouched: how many weights are the start's because
    the model that was trained does not have them, such as an image encoder's. left_out: files that stayed behind."""

    untouched: int
    left_out: tuple[str, ...]


def left_out_words(names: Sequence[str]) -> str:
    """The warning of files that stay behind."""
    return (
        f"Not copied from the start model, since they may still know the rows or it is not known what they hold: "
        f"{', '.join(names)}."
    )


def beside_weights(start: Path) -> Companions:
    """What lies beside the weights of a model directory; nothing does beside a GGUF file. Raises as `companions`."""
    if is_gguf(start):
        return Companions((), ())
    files = {file.name for file in weight_files(start)}
    return companions(start, files if "model.safetensors" in files else {*files, INDEX})


def save_model(model: Model, start: ModelFacts, directory: Path, tokenizer: Path | None = None) -> Shipped:
    """Write a trained model as a Hugging Face directory in safetensors, in place of the start model.

    Files, shards, names, types and everything beside the weights are the start's, byte for byte; only numbers differ.
    Adapters are folded in: what they change is added to the start model's own weights, read from disk again, so that
    rounding or quantisation for training never ships. It also means that under QLoRA the shipped model's scores are
    near those that training saw, on NF4 weights, but not the same; `verify` scores the saved model and no other.

    tokenizer: a directory whose tokenizer takes the place of the start model's. Raises ModelError for a model whose
    weights are not those that the start's files hold.
    """
    directory.mkdir(parents=True, exist_ok=True)
    placement = Placement(start.path)
    trained = _with_adapters(model, placement) if is_adapted(model) else _own_weights(model)
    if is_gguf(start.path):
        with torch.no_grad():
            _write_dequantised(trained, placement, model, directory)
        _write_beside_dequantised(start, directory, tokenizer)
        return Shipped(0, ())
    with torch.no_grad():
        _write_weights(trained, placement, directory)
    beside = beside_weights(start.path)
    if (index := start.path / INDEX).is_file() and INDEX not in beside.left_out:
        (directory / INDEX).write_bytes(read_bytes(index))
    if tokenizer is None:
        copy_companions(start.path, beside.copied, directory)
    else:
        copy_companions(start.path, [pair for pair in beside.copied if not of_tokenizer(pair[0])], directory)
        own = companions(tokenizer, ()).copied
        copy_companions(tokenizer, [pair for pair in own if of_tokenizer(pair[0])], directory)
    return Shipped(len(placement.untouched), beside.left_out)


def _own_weights(model: Model) -> Trained:
    """The weights of a model that was trained itself; split ones are joined one at a time."""
    weights = dict(model.named_parameters(remove_duplicate=False))
    buffers = {name for name, _ in model.named_buffers()}

    def trained(part: Part, _: Start) -> Mapping[str, Tensor] | None:
        if buffers.issuperset(part.weights):
            return None
        if lost := [name for name in part.weights if name not in weights]:
            raise ModelError(f"{type(model).__name__} has no weight {lost[0]} to save")
        return {name: _joined(weights[name]) for name in part.weights}

    return trained


def _joined(weight: Tensor) -> Tensor:
    return join(weight.data, low_half(weight)) if is_split(weight) else weight.data


def _with_adapters(model: AdaptedModel, placement: Placement) -> Trained:
    """The start model's weights with what the adapters of a model add to them."""
    layers = adapted_weights(model)
    if lost := layers.keys() - {name for part in placement.parts for name in part.weights}:
        raise ModelError(f"{placement.path}: an adapter changes {min(lost)}, which is not stored")

    def trained(part: Part, start: Start) -> Mapping[str, Tensor] | None:
        if layers.keys().isdisjoint(part.weights):
            return None
        return {name: weight + _added(layers[name]) if name in layers else weight for name, weight in start().items()}

    return trained


def _added(layer: Any) -> Tensor:
    (adapter,) = layer.active_adapters
    added: Tensor = layer.get_delta_weight(adapter)
    return added.float().cpu()


def _write_weights(trained: Trained, placement: Placement, directory: Path) -> None:
    stored = placement.stored
    with _files_like(weight_files(placement.path), directory) as files:
        for name in placement.untouched:
            _copy(stored[name], files)
        for part in placement.parts:
            weights = trained(part, lambda part=part: start_weights(placement, part))  # type: ignore[misc]
            if weights is None:
                for name in part.stored:
                    _copy(stored[name], files)
                continue
            for name, weight in placement.to_files(part, weights).items():
                _write(weight, stored[name], files)


def _write_dequantised(trained: Trained, placement: Placement, model: Model, directory: Path) -> None:
    layout = dequantised_layout(placement.path)
    start = _DequantisedStart(placement.path, model)
    with _new_files(layout, directory) as files:
        for part in placement.parts:
            untrained = partial(start, part)
            for name, weight in placement.to_files(part, trained(part, untrained) or untrained()).items():
                _write(weight, layout.stored[name], files)
    if len(layout.headers) > 1:
        names = {name: str(stored.file) for name, stored in layout.stored.items()}
        index = {"metadata": {"total_size": layout.bytes}, "weight_map": names}
        (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n")


class _DequantisedStart:
    """The weights of a GGUF file by parts: those that a model of it holds in float32, whatever adapters it has beside
    them; else from the file, all at once, when the first is asked for."""

    def __init__(self, path: Path, model: Model) -> None:
        self.path, self.held = path, own_weights(model)

    def __call__(self, part: Part) -> dict[str, Tensor]:
        if all(name in self.held and self.held[name].dtype == torch.float32 for name in part.weights):
            return {name: self.held[name].detach() for name in part.weights}
        return {name: self._read[name].float() for name in part.weights}

    @cached_property
    def _read(self) -> dict[str, Tensor]:
        return dequantised(self.path, load_config(self.path), torch.float32)[1]


def _write_beside_dequantised(start: ModelFacts, directory: Path, tokenizer: Path | None) -> None:
    """PreTrainedConfig, generation settings and tokenizer, as a model directory has them."""
    from transformers import GenerationConfig

    config, model = load_config(start.path), Placement(start.path).model
    config.architectures, config.dtype = [type(model).__name__], start.dtype
    config.save_pretrained(directory)
    stops = list(start.stops)
    GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=config.bos_token_id, eos_token_id=stops or None, pad_token_id=config.pad_token_id
    ).save_pretrained(directory)
    if tokenizer is None:
        gguf_tokenizer(start.path).save_pretrained(directory)
        return
    own = companions(tokenizer, ()).copied
    copy_companions(tokenizer, [pair for pair in own if of_tokenizer(pair[0])], directory)


def start_weights(placement: Placement, part: Part) -> dict[str, Tensor]:
    """The weights of a part from the start model's files, float32, by their names in the model."""
    return placement.to_model(part, {name: _read(placement.stored[name]).float() for name in part.stored})


@torch.no_grad()
def round_as_stored(model: Model, start: Path) -> None:
    """Round a float32 model's parameters as they would be if they were saved in place of those of `start`."""
    placement = Placement(start)
    dtypes = {name: FLOATS[placement.stored[part.stored[0]].dtype] for part in placement.parts for name in part.weights}
    for name, weight in model.named_parameters(remove_duplicate=False):
        if name in dtypes:
            weight.copy_(weight.to(dtypes[name]))


@contextmanager
def _files_like(weights: list[Path], directory: Path) -> Iterator[Mapping[Path, BinaryIO]]:
    """New files with the headers of others and as long as they are, which hold zeros until they are written to."""
    with ExitStack() as held:
        files = {}
        for file in weights:
            length = 8 + read_header(file)[1]
            files[file] = new = held.enter_context((directory / file.name).open("xb"))
            with opened(file) as source:
                new.write(source.read(length))
            new.truncate(file.stat().st_size)
        yield files


@contextmanager
def _new_files(layout: Layout, directory: Path) -> Iterator[Mapping[Path, BinaryIO]]:
    """New files that begin with the headers of a layout and are as long as it says, which hold zeros until they are
    written to."""
    with ExitStack() as held:
        files = {}
        for name, header in layout.headers.items():
            files[name] = new = held.enter_context((directory / name).open("xb"))
            new.write(header)
            new.truncate(max(stored.end for stored in layout.stored.values() if stored.file == name))
        yield files


def _read(stored: Stored) -> Tensor:
    with opened(stored.file) as file:
        file.seek(stored.begin)
        data = bytearray(file.read(stored.end - stored.begin))
    dtype = FLOATS[stored.dtype]
    return torch.frombuffer(data, dtype=dtype).view(stored.shape) if data else torch.empty(stored.shape, dtype=dtype)


def _copy(stored: Stored, files: Mapping[Path, BinaryIO]) -> None:
    new = files[stored.file]
    new.seek(stored.begin)
    with opened(stored.file) as file:
        file.seek(stored.begin)
        for begin in range(stored.begin, stored.end, CHUNK):
            new.write(file.read(min(CHUNK, stored.end - begin)))


def _write(weight: Tensor, stored: Stored, files: Mapping[Path, BinaryIO]) -> None:
    """Round a weight to the type that it is stored in, and write it to its place."""
    if tuple(weight.shape) != stored.shape:
        raise ModelError(f"{stored.file}: a weight of shape {stored.shape} cannot become {tuple(weight.shape)}")
    new = files[stored.file]
    new.seek(stored.begin)
    new.write(weight.detach().cpu().to(FLOATS[stored.dtype]).contiguous().view(-1).view(torch.uint8).numpy().data)
