"""What of a model directory goes into the unlearned model beside its weights, and what stays behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub.utils import filter_repo_objects

from forgetctl.errors import ModelError
from forgetctl.model.companions import SMALL, companions, copy_companions, wanted_from_hub

BELONGING = """
LICENSE LICENSE.txt License.md NOTICE USE_POLICY.md config.json generation_config.json tokenizer.json tokenizer.model
tokenizer.model.v3 tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json vocab.txt merges.txt
qwen.tiktoken tekken.json spiece.model sentencepiece.bpe.model source.spm chat_template.jinja chat_template.json
additional_chat_templates/rag.jinja preprocessor_config.json processor_config.json video_preprocessor_config.json
original/params.json original/tokenizer.model assets/figure.png configuration_phi3.py .gitattributes labels.json
mergekit_config.yml notes/how.txt onnx/config.json
""".split()
LEFT_OUT = """
pytorch_model.bin pytorch_model-00001-of-00002.bin pytorch_model.bin.index.json consolidated.00.pth
original/consolidated.00.pth consolidated.safetensors model.fp16.safetensors model.safetensors.index.fp32.json
model.pt last.ckpt tf_model.h5 flax_model.msgpack model-Q4_K_M.gguf ggml-model.bin onnx/model.onnx
onnx/model.onnx_data model.tflite int8/openvino_model.xml int8/openvino_model.bin model.mlmodel
optimizer.pt scheduler.pt rng_state.pth rng_state_0.pth trainer_state.json training_args.bin train_results.json
latest events.out.tfevents.1 training.log data.parquet rows.jsonl rows.csv train.json test_split.json samples.txt
cache.arrow people.db backup.zip weights.npz state.pkl reference.json blob mystery.xyz tokenizer.tar.gz
""".split()
FOLDERS = {
    "checkpoint-500": ("config.json",),
    "global_step10": ("states.json",),
    "runs": ("a.txt",),
    "data": ("a.txt",),
    "finance-adapter": ("adapter_config.json", "README.md"),
    "Model.mlpackage": ("Manifest.json",),
    ".git": ("HEAD",),
    ".cache": ("a.json",),
}


def write(path: Path, data: bytes = b"text\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with every kind of file, each with bytes of its own."""
    folder = tmp_path / "model"
    write(folder / "model.safetensors")
    for name in BELONGING:
        write(folder / name, f"this is {name}\r\n".encode())
    for name in LEFT_OUT:
        write(folder / name, b"\0\1" if name in ("blob", "mystery.xyz") else b"{}")
    for name, files in FOLDERS.items():
        for file in files:
            write(folder / name / file)
    return folder


def test_what_belongs_to_the_model_is_copied_and_all_else_is_named(model: Path, tmp_path: Path) -> None:
    found = companions(model, {"model.safetensors"})
    assert dict(found.copied) == {name: name for name in BELONGING}
    assert set(found.left_out) == {*LEFT_OUT, *(f"{name}/" for name in FOLDERS)}
    copy_companions(model, found.copied, tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "out").as_posix() for path in files} == set(BELONGING)
    assert all(path.read_bytes() == (model / path.relative_to(tmp_path / "out")).read_bytes() for path in files)


def test_names_are_known_in_any_case(tmp_path: Path) -> None:
    write(tmp_path / "Model.GGUF")
    write(tmp_path / "Train.JSON")
    write(tmp_path / "licence.MD", b"a" * (SMALL + 1))
    found = companions(tmp_path, ())
    assert (found.copied, set(found.left_out)) == ((("licence.MD",) * 2,), {"Model.GGUF", "Train.JSON"})


@pytest.mark.parametrize(
    ("data", "copied"),
    [(b"a" * SMALL, True), (b"a" * (SMALL + 1), False), (b"a\0b", False), (b"\xff\xfe", False), (b"", True)],
    ids=["small", "large", "binary", "no-utf8", "empty"],
)
def test_a_file_of_an_unknown_name_is_copied_if_it_is_a_small_text(data: bytes, copied: bool, tmp_path: Path) -> None:
    write(tmp_path / "something.else", data)
    assert bool(companions(tmp_path, ()).copied) == copied


def test_a_large_tokenizer_is_copied(tmp_path: Path) -> None:
    write(tmp_path / "tokenizer.json", b" " * 20 * SMALL)
    assert companions(tmp_path, ()).copied == (("tokenizer.json", "tokenizer.json"),)


def test_the_card_makes_room_for_ours_and_so_does_an_earlier_one(tmp_path: Path) -> None:
    for name in ("README.md", "START_README.md", "docs/README.md", "MY_README.md"):
        write(tmp_path / name)
    assert dict(companions(tmp_path, ()).copied) == {
        "README.md": "START_README.md",
        "START_README.md": "START_START_README.md",
        "docs/README.md": "docs/README.md",
        "MY_README.md": "MY_README.md",
    }


# Links


def test_the_hubs_cache_is_copied_by_content(tmp_path: Path) -> None:
    """Its snapshots are links to a store of files that are named by their digests."""
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "0a1b"
    for number, name in enumerate(("LICENSE", "config.json", "additional_chat_templates/rag.jinja")):
        blob = write(repository / "blobs" / f"{number:040x}", name.encode())
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    found = companions(snapshot, ())
    assert len(found.copied) == 3
    assert found.left_out == ()
    copy_companions(snapshot, found.copied, tmp_path / "out")
    copies = [path for path in (tmp_path / "out").rglob("*") if not path.is_dir()]
    assert {path.read_text() for path in copies} == {path.relative_to(tmp_path / "out").as_posix() for path in copies}
    assert not any(path.is_symlink() for path in copies)


def links(folder: Path, outside: Path) -> dict[str, Path]:
    secret = write(outside / "id_rsa")
    same = write(outside / "tokenizer.json")
    within = write(folder / "original" / "LICENSE")
    return {"LICENSE": within, "NOTICE": secret, "tokenizer.json": same, "id_rsa": secret, "gone.txt": outside / "no"}


def test_a_link_is_followed_within_the_model_and_to_files_of_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name, target in links(folder, tmp_path / "outside").items():
        (folder / name).symlink_to(target)
    (folder / "additional_chat_templates").symlink_to(tmp_path / "outside")
    found = companions(folder, ())
    assert {name for name, _ in found.copied} == {"LICENSE", "tokenizer.json", "original/LICENSE"}
    assert set(found.left_out) == {"NOTICE", "id_rsa", "gone.txt", "additional_chat_templates/"}


def test_a_needed_file_behind_a_link_elsewhere_is_refused(tmp_path: Path) -> None:
    target = write(tmp_path / "outside" / "other.json")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").symlink_to(target)
    with pytest.raises(ModelError, match=r"tokenizer\.json: is a link"):
        companions(tmp_path / "model", ())


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path)], ids=["fifo", "loop"])
def test_what_is_no_file_stays_behind(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "LICENSE")
    assert companions(tmp_path, ()).left_out == ("LICENSE",)


# From the hub


def downloaded(names: list[str]) -> set[str]:
    """By the hub's own matching."""
    wanted, unwanted = wanted_from_hub()
    return set(filter_repo_objects(names, allow_patterns=list(wanted), ignore_patterns=list(unwanted)))


def test_what_belongs_to_a_model_is_downloaded(model: Path) -> None:
    weights = ["model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]
    cards = ["README.md", "adapter_config.json", "adapter_model.safetensors"]  # the latter for their refusal
    assert downloaded([*BELONGING, *weights, *cards]) == {*BELONGING, *weights, *cards}


def test_nothing_else_is_downloaded() -> None:
    within = [f"{folder}/{file}" for folder, files in FOLDERS.items() for file in files]
    known = {"finance-adapter/adapter_config.json", "finance-adapter/README.md", ".git/HEAD", ".cache/a.json"}
    others = {"reference.json", "model.safetensors.index.fp32.json", "Model.mlpackage/Manifest.json"}
    assert downloaded([*LEFT_OUT, *within]) <= known | others
