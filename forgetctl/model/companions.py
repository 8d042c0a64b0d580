"""What lies beside a model's weights: files that belong to the model, and files that may still know what it forgets.

What belongs to the model goes into the unlearned one byte for byte: licence, tokenizer, templates, configs, figures,
code. Left out is what may know the rows as the start model does: other forms of its weights, adapters, the state of its
training, data, archives. What is of neither kind by its name is copied if it is a small text, and else left out: what
is not known to be harmless does not ship.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import InputError, ModelError
from ..files.outside import LARGEST_BYTES, opened, read_text

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BEFORE = "START_"
"""What is put before the name of the start model's card, whose place is for the unlearned one's."""
CARDS = re.compile(rf"({BEFORE})*README\.md")
NEEDED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json")
"""Without these the unlearned model would be another one, or none."""
SMALL = 2**16
"""Bytes of the largest text of an unknown name that is copied."""

_SAFETENSORS = ("*.safetensors*", "*.index.json")
_ADAPTERS = (ADAPTER_CONFIG, "adapter_model*", "adapters", "adapter", "lora", "lora[-_]*")
_WEIGHTS = tuple(
    "*.bin *.pt *.pth *.ckpt *.h5 *.hdf5 *.keras *.msgpack *.gguf* *ggml* *.llamafile *.onnx* *.ort *openvino* *.xml "
    "*.tflite *.task *.litertlm *.pb *.pte *.mlmodel *.mlpackage *.mlmodelc *.nemo *.engine *.plan *.trt *.pdparams "
    "*.pdmodel *.params *.distcp *.t7 *.mar *.vmfb *.npy *.npz *.pkl *.pickle *.joblib *.data *.dat".split()
)
_TRAINING = (
    *"checkpoint[-_]* checkpoints global_step* latest optimizer* scheduler* scaler* rng_state* trainer_*".split(),
    *"training_args* *_results.json *tfevents* runs wandb mlruns tensorboard logs lightning_logs *.log".split(),
    "reference.json",  # what `forgetctl reference` says of a model that it made
)
_DATA = tuple(
    "*.parquet *.jsonl* *.ndjson* *.csv* *.tsv* *.arrow *.feather *.avro *.lance *.db *.sqlite* *.duckdb *.mdb *.xls* "
    "*.ods *.doc *.docx *.rtf *.eml *.mbox *.zip *.tar *.tar.* *.tgz *.gz *.bz2 *.xz *.zst *.7z *.rar *.whl "
    "data dataset datasets".split()
)
_TABLES = (
    "train training test valid validation val dev eval data dataset corpus sample samples example examples prediction "
    "predictions generated generations outputs forget retain holdout conversations chats".split()
)
"""What tables of rows in JSON or plain text are called, or how their names begin."""
_ROWS = tuple(f"{name}{rest}.{kind}" for name in _TABLES for rest in ("", "[-_.0-9]*") for kind in ("json", "txt"))
_LEFT_OUT = (*_SAFETENSORS, *_ADAPTERS, *_WEIGHTS, *_TRAINING, *_DATA, *_ROWS)
_TOKENIZER = tuple(
    "tokenizer* special_tokens_map.json added_tokens.json vocab* *.vocab merges* *.bpe *bpe*.codes dict.txt "
    "encoder.json tekken* spiece* sentencepiece* *spm* sp.model unigram* *bpe*.model *.tiktoken *.jinja "
    "chat_template*".split()
)
_BELONGING = tuple(
    "license* licence* notice* copying* copyright* patents* *use_policy* *usage_policy* acceptable_use* terms* "
    "third_party* third-party* authors* citation* readme* *.md *.rst *config*.json params.json generation*.json "
    "*processor* *.png *.jpg *.jpeg *.gif *.svg *.webp *.ico *.py .gitattributes .gitignore".split()
)
_KNOWN = (*_TOKENIZER, *_BELONGING)


@dataclass(frozen=True)
class Companions:
    """copied: a file's name in the start model, below its directory, and its name in the unlearned one. left_out: names
    of what stays behind; that of a folder ends in a slash."""

    copied: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]


def companions(model: Path, weights: Collection[str]) -> Companions:
    """Sort what lies in a model directory beside its weights. weights: names of the files that hold those in use.

    A link is followed to a file within the directory, or in the store of the hub's cache, or to one of the same name
    if that is a name that belongs to models; any other leads to what is no part of the model, and stays behind, as do
    linked and hidden folders.

    Raises ModelError if a file that a model needs is behind such a link.
    """
    files = [(file, file.relative_to(model).as_posix()) for file in _files(model, model)]
    copied, left_out = [], []
    for file, name in files:
        if name in weights:
            continue
        if _belongs(file, model):
            copied.append((name, BEFORE + name if CARDS.fullmatch(name) else name))
        else:
            left_out.append(f"{name}/" if file.is_dir() else name)
    return Companions(tuple(copied), tuple(left_out))


def of_tokenizer(name: str) -> bool:
    """Whether a file, by its name below a model's directory, is of the model's tokenizer or of its templates."""
    folder, _, file = name.rpartition("/")
    return folder in ("", "additional_chat_templates") and _named(Path(file), _TOKENIZER)


def copy_companions(model: Path, copied: Iterable[tuple[str, str]], directory: Path) -> None:
    """Copy files of a model's directory, byte for byte and never as links. copied: as in `Companions`.

    Raises InputError for one that cannot be read.
    """
    for name, new in copied:
        copy = directory / new
        copy.parent.mkdir(parents=True, exist_ok=True)
        with opened(model / name) as source, copy.open("xb") as target:
            shutil.copyfileobj(source, target)


def _files(folder: Path, model: Path) -> Iterator[Path]:
    """Every file below a folder, and the folders that stay behind whole."""
    for path in sorted(folder.iterdir()):
        whole = path.is_symlink() or _named(path, _LEFT_OUT) or path.name.startswith(".") or _is_adapter(path)
        if path.is_dir() and not whole:
            yield from _files(path, model)
        else:
            yield path


def _is_adapter(path: Path) -> bool:
    return (path / ADAPTER_CONFIG).is_file()


def _named(path: Path, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(path.name.lower(), pattern) for pattern in patterns)


def _belongs(file: Path, model: Path) -> bool:
    """Whether a file goes into the unlearned model."""
    if not file.is_file() or _named(file, _LEFT_OUT):
        return False
    known = _named(file, _KNOWN)
    if not _leads_home(file, model, known):
        if file.parent == model and file.name in NEEDED:
            raise ModelError(f"{file}: is a link to a file of another name elsewhere; put the file itself there")
        return False
    if known:
        return file.stat().st_size <= LARGEST_BYTES
    return not file.name.startswith(".") and _is_small_text(file)


def _leads_home(file: Path, model: Path, known: bool) -> bool:
    """Whether a file is the model's own, wherever its bytes lie."""
    if not file.is_symlink():
        return True
    home, target = model.resolve(), file.resolve()
    snapshot = home.parent.name == "snapshots"  # of a repository in the hub's cache: links to its store of files
    homes = (home, home.parent.parent / "blobs") if snapshot else (home,)
    return any(target.is_relative_to(place) for place in homes) or (known and target.name == file.name)


def _is_small_text(file: Path) -> bool:
    try:
        read_text(file, SMALL)
    except InputError:  # large, compressed, binary or not to be read: in each case nobody knows what it holds
        return False
    return True


def wanted_from_hub() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Patterns of a hub repository's files to download, and of those among them not to.

    The hub matches them against whole names, folders included, and minds case. An adapter's files are wanted: a
    repository that carries one is refused, not taken for the model without it.
    """
    known = (*map(_any_case, _KNOWN), "*.json", "*.txt", "*.yaml", "*.yml", "*.toml")
    others = ("consolidated*.safetensors", "*.fp16*.safetensors*", "*.bf16*.safetensors*", "*.fp32*.safetensors*")
    refused = [*map(_any_case, (*_WEIGHTS, *_TRAINING, *_DATA, *_ROWS, "*.bin.index.json", "*.h5.index.json")), *others]
    unwanted = [*(form for name in refused for form in (name, f"*/{name}", f"{name}/*", f"*/{name}/*"))]
    return ("*.safetensors", *known, *(f"*/{name}" for name in known)), (*unwanted, "*/*.safetensors*")


def _any_case(pattern: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in pattern)
