"""A tokenizer whose library panics: one line, and nothing of the text that it was given, on standard error either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgetctl.errors import ForgetctlError
from forgetctl.model._panics import panics_unheard
from tests.world import untrained_model, write_lines

NAME = "Velmira Oskandt"
CATASTROPHE = "a" * 40 + "!"
"""Onig gives up on it with (a+)+$."""
GIVES_UP = {"pattern": {"Regex": "(a+)+$"}}


def gives_up_on_words(parts: dict[str, Any]) -> None:
    parts["pre_tokenizer"] = {"type": "Split", **GIVES_UP, "behavior": "Isolated", "invert": False}


def gives_up_on_normalising(parts: dict[str, Any]) -> None:
    parts["normalizer"] = {"type": "Replace", **GIVES_UP, "content": "b"}


def cannot_be_read(parts: dict[str, Any]) -> None:
    parts["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "BAAAAP////9hYoA="}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_model(tmp_path_factory.mktemp("panicking") / "model")


@pytest.mark.parametrize("change", [gives_up_on_words, gives_up_on_normalising, cannot_be_read])
def test_a_panic_is_one_line_without_its_message(
    change: Callable[[dict[str, Any]], None], model: Path, tmp_path: Path
) -> None:
    file = model / "tokenizer.json"
    whole = file.read_text()
    rows = [{"prompt": f"Who is {NAME}? {number}", "response": f"{NAME} {CATASTROPHE}"} for number in range(8)]
    forget = write_lines(tmp_path / "forget.jsonl", rows)
    retain = write_lines(tmp_path / "retain.jsonl", [{"prompt": f"Who? {n}", "response": f"b {n}"} for n in range(80)])
    command = ["unlearn", "--model", model, "--forget", forget, "--retain", retain, "--dry-run"]
    parts = json.loads(whole)
    change(parts)
    file.write_text(json.dumps(parts))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "forgetctl", *map(str, command)],
            env={**os.environ, "RUST_BACKTRACE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        file.write_text(whole)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "tokenizer gives up (a panic of its library)" in done.stderr
    assert not [word for word in ("Velmira", "panicked", "Onig", "Traceback", "aaaa") if word in done.stderr]


def test_standard_error_is_there_again_and_other_errors_pass(capfd: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        with panics_unheard():
            os.write(2, b"unheard\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_several_threads_leave_standard_error_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        for _ in range(200):
            with panics_unheard():
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_what_begins_the_line() -> None:
    panic = type("PanicException", (BaseException,), {})
    with (
        pytest.raises(ForgetctlError, match=r"^here: its tokenizer gives up") as caught,
        panics_unheard("here: its tokenizer"),
    ):
        raise panic(NAME)
    assert NAME not in str(caught.value)
