"""What the owner's files hold is read once, without torch, and handed on; rows are tokenised once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from forgetctl.errors import InputError, UsageError
from forgetctl.files.writing import file_digest
from forgetctl.model.encoding import Encoder
from forgetctl.recipe.recipe import load_recipe
from forgetctl.rows import json_lines
from forgetctl.train.inputs import read
from forgetctl.train.options import UnlearnOptions
from forgetctl.train.unlearn import run_unlearn
from tests.cli.conftest import forgetctl as forgetctl  # fixtures
from tests.cli.conftest import strangers as strangers
from tests.cli.conftest import unlearn_arguments
from tests.world import write_lines

Command = Callable[..., Result]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[Any], Counter[Any]]:
    """How often each line of a file was parsed, and each row tokenised."""
    parsed: Counter[Any] = Counter()
    tokenised: Counter[Any] = Counter()
    parse, encode = json_lines._object, Encoder.encode_texts

    def line(path: Path, number: int, text: str) -> dict[str, Any]:
        parsed[path.name, number] += 1
        return parse(path, number, text)

    def encode_texts(self: Encoder, rows: Any, texts: Any) -> Any:
        tokenised.update((row.context, row.response) for row in rows if row.line)  # not probes
        return encode(self, rows, texts)

    monkeypatch.setattr(json_lines, "_object", line)
    monkeypatch.setattr(Encoder, "encode_texts", encode_texts)
    return parsed, tokenised


def options(world: Path, **more: Any) -> UnlearnOptions:
    files = {"forget": world / "requests.jsonl", "retain": world / "employees.jsonl"}
    return UnlearnOptions(model=str(world / "model"), **{**files, **more})


def test_a_calibrated_run_parses_a_line_once_and_tokenises_a_row_once(
    world: Path, strangers: Path, tmp_path: Path, counts: tuple[Counter[Any], Counter[Any]], forgetctl: Command
) -> None:
    parsed, tokenised = counts
    arguments = unlearn_arguments(world, tmp_path / "run", "--holdout", str(strangers), "--set", "epochs=1", "--track")
    assert forgetctl(*arguments).exit_code == 0
    assert {name for name, _ in parsed} == {"requests.jsonl", "employees.jsonl", strangers.name}
    assert set(parsed.values()) == {1}
    assert set(tokenised.values()) == {1}


def test_a_verification_parses_a_line_once(
    world: Path, strangers: Path, tmp_path: Path, counts: tuple[Counter[Any], Counter[Any]], forgetctl: Command
) -> None:
    run = tmp_path / "run"
    assert forgetctl(*unlearn_arguments(world, run, "--holdout", str(strangers), "--set", "epochs=1")).exit_code == 0
    counts[0].clear()
    done = forgetctl("verify", run, "--holdout", strangers, "--forget", world / "requests.jsonl")
    assert done.exit_code in (3, 4), done.output
    assert set(counts[0].values()) == {1}


def test_nothing_of_the_reading_imports_torch() -> None:
    code = (
        "import sys, forgetctl.train.inputs, forgetctl.verify.reading\n"
        "loaded = {'torch', 'transformers', 'accelerate'} & set(sys.modules)\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["unlearn", "verify"])
def test_what_is_wrong_with_a_file_is_said_before_torch_is_imported(command: str, world: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes((world / "requests.jsonl").read_bytes() + b'{"prompt": "p"}\n')
    code = (
        "import sys\n"
        "from forgetctl.cli.main import cli\n"
        "try:\n    cli()\nexcept SystemExit as end:\n"
        "    print(end.code, sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    request = str(world / "requests.jsonl")
    files = {
        "unlearn": ["--model", "none", "--forget", request, "--retain", str(bad)],
        "verify": ["--model", "none", "--forget", request, "--holdout", str(bad)],
    }
    done = subprocess.run(
        [sys.executable, "-c", code, command, *files[command]], capture_output=True, text=True, check=False
    )
    assert done.stdout == "2 []\n", done.stderr
    assert f"{bad}:21: field 'response' is missing" in done.stderr


def test_what_is_read(world: Path, tmp_path: Path) -> None:
    holdout = write_lines(tmp_path / "holdout.jsonl", [{"prompt": "Who?", "response": "Nobody."}])
    inputs = read(options(world, holdout=holdout))
    assert len(inputs.forget.rows) == sum(len(part.rows) for part in inputs.parts) == 20
    assert inputs.retain is not None
    assert inputs.holdout is not None
    for file in (inputs.forget, inputs.retain, inputs.holdout):
        assert file.sha256 == file_digest(file.path)
    assert inputs.refusals
    assert "Nobody" not in repr(inputs)


def test_a_holdout_that_was_seen_is_refused(world: Path) -> None:
    with pytest.raises(InputError, match=r"remaining\.jsonl:1: is one of the rows to forget or to retain"):
        read(options(world, holdout=world / "remaining.jsonl"))


def test_a_file_that_changes_after_it_was_read_is_not_committed_to(world: Path, tmp_path: Path) -> None:
    request = tmp_path / "requests.jsonl"
    request.write_bytes((world / "requests.jsonl").read_bytes())
    chosen = options(world, forget=request, out=tmp_path / "run")
    inputs = read(chosen)
    request.write_bytes(request.read_bytes() + b"\n")
    with pytest.raises(InputError, match="has changed since its rows were read"):
        run_unlearn(chosen, load_recipe("npo-rt", options={"epochs": 1}), inputs=inputs)


def test_requests_are_refused_where_nobody_knows_their_register(world: Path, tmp_path: Path) -> None:
    """The room that trains knows none; `forgetctl.run_unlearn` does."""
    chosen = options(world, out=tmp_path / "run", requests=("demo-001", "demo-002", "demo-003", "demo-004"))
    with pytest.raises(UsageError, match=r"forgetctl\.run_unlearn"):
        run_unlearn(chosen, load_recipe("npo-rt"))
    assert not (tmp_path / "run").exists()
