"""Whatever is wrong is one clear line with file and line, exit 2, before a model is loaded and nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import forgetctl.train._material
from tests.cli.conftest import unlearn_arguments

SUBJECT = "Zyx Wvutsson"
GOOD = {"prompt": f"Who is {SUBJECT}?", "response": f"{SUBJECT} is a baker."}
Breaker = Callable[[Path], None]


@pytest.fixture(autouse=True)
def no_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(forgetctl.train._material, "load_for_training", refuse)


def check_refused(result: Result, out: Path, *words: str) -> None:
    assert result.exit_code == 2, result.output
    error = result.stderr.strip().splitlines()[-1]
    assert all(word in error for word in words), error
    assert SUBJECT not in result.output
    assert "Traceback" not in result.output
    assert not out.exists()


LINES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty file": (b"", ("holds no row",)),
    "blank lines only": (b"\n \n", ("holds no row",)),
    "invalid JSON": (json.dumps(GOOD).encode() + b'\n{"prompt": "Zyx Wvutsson', (":2:", "not valid JSON")),
    "not UTF-8": (json.dumps(GOOD).encode() + b'\n{"prompt": "\xff Zyx Wvutsson"}', (":2:", "not UTF-8")),
    "no object": (b'["Zyx Wvutsson"]', (":1:", "JSON array")),
    "missing response": (b'{"prompt": "Zyx Wvutsson"}', (":1:", "'response' is missing")),
    "empty response": (b'{"prompt": "Zyx Wvutsson", "response": " "}', (":1:", "'response' is empty")),
    "wrong type": (b'{"prompt": "Zyx Wvutsson", "response": 7}', (":1:", "'response' is a JSON number")),
    "nothing known": (b'{"q": "Zyx Wvutsson"}', (":1:", "--map")),
    "too long": (
        b"\n".join(json.dumps({**GOOD, "response": f"{i} word " * 400}).encode() for i in range(3)),
        ("rows 1, 2, 3 are longer", "--max-length 256"),
    ),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("option", ["--forget", "--retain"])
def test_bad_rows(name: str, option: str, world: Path, tmp_path: Path, forgetctl: Callable[..., Result]) -> None:
    content, words = LINES[name]
    file = tmp_path / "bad.jsonl"
    file.write_bytes(content)
    out = tmp_path / "out"
    result = forgetctl(*unlearn_arguments(world, out, option, str(file)))
    check_refused(result, out, str(file), *words)


def test_missing_file(world: Path, tmp_path: Path, forgetctl: Callable[..., Result]) -> None:
    missing = tmp_path / "missing.jsonl"
    check_refused(
        forgetctl(*unlearn_arguments(world, tmp_path / "out", "--forget", str(missing))),
        tmp_path / "out",
        str(missing),
        "no such file",
    )


def test_folder_of_something_else(world: Path, tmp_path: Path, forgetctl: Callable[..., Result]) -> None:
    result = forgetctl(*unlearn_arguments(world, tmp_path / "out", "--forget", str(world)))
    check_refused(result, tmp_path / "out", str(world), "is no file of rows")


def test_retain_file_with_nothing_but_forget_rows(
    world: Path, tmp_path: Path, forgetctl: Callable[..., Result]
) -> None:
    result = forgetctl(*unlearn_arguments(world, tmp_path / "out", "--retain", str(world / "requests.jsonl")))
    check_refused(result, tmp_path / "out", "requests.jsonl", "retain sample is empty", "20 are forget rows")


def _pickle_only(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def _remote_code(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))


def _no_tokenizer(model: Path) -> None:
    for file in model.glob("tokenizer*"):
        file.unlink()


MODELS: dict[str, tuple[Breaker, str]] = {
    "no config": (lambda model: (model / "config.json").unlink(), "no config.json"),
    "no weights": (lambda model: (model / "model.safetensors").unlink(), "no weights"),
    "pickle only": (_pickle_only, "only pickled weights (pytorch_model.bin)"),
    "remote code": (_remote_code, "remote code"),
    "an adapter": (lambda model: (model / "adapter_config.json").write_text("{}") and None, "carries an adapter"),
    "no tokenizer": (_no_tokenizer, "no tokenizer"),
}


@pytest.mark.parametrize("name", MODELS)
def test_bad_model(name: str, world: Path, tmp_path: Path, forgetctl: Callable[..., Result]) -> None:
    breaker, words = MODELS[name]
    model = tmp_path / "model"
    shutil.copytree(world / "model", model)
    breaker(model)
    result = forgetctl(*unlearn_arguments(world, tmp_path / "out", "--model", str(model)))
    check_refused(result, tmp_path / "out", str(model), words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "nowhere/llama"), ("nowhere/llama", "--allow-download")),
        (("--method", "magic"), ("unknown method 'magic'", "npo-rt")),
        (("--recipe", "magic"), ("no recipe 'magic'",)),
        (("--set", "learning_rat=1"), ("unknown key 'learning_rat'", "learning_rate")),
        (("--set", "epochs=0"), ("epochs",)),
        (("--set", "terms={npo: 1, magic: 1}"), ("unknown term magic",)),
        (("--device", "quantum"), ("device 'quantum'",)),
        (("--max-length", "3"), ("no token of the response",)),
    ],
)
def test_bad_options(
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    world: Path,
    tmp_path: Path,
    forgetctl: Callable[..., Result],
) -> None:
    result = forgetctl(*unlearn_arguments(world, tmp_path / "out", *arguments))
    check_refused(result, tmp_path / "out", *words)


def test_output_directory_in_use(world: Path, tmp_path: Path, forgetctl: Callable[..., Result]) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    result = forgetctl(*unlearn_arguments(world, tmp_path))
    assert result.exit_code == 2
    assert f"{tmp_path} is in use" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("runs/none",), ("no run at runs/none",)),
        (("--model", "m"), ("needs --forget",)),
        (("--reference", "nowhere"), ("nowhere", "no such model directory or score file")),
    ],
)
def test_bad_verify_options(
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forgetctl: Callable[..., Result],
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refused(forgetctl("verify", *arguments), tmp_path / "runs", *words)
