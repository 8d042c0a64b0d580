"""A command gives each text to a tokenizer once, however many models it is checked with, scored with and asked by."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from transformers import PreTrainedTokenizerBase

from forgetctl.cli.main import cli
from tests.cli.conftest import unlearn_arguments
from tests.cli.test_digests_once import other
from tests.world import untrained_model, write_lines

Command = Callable[..., Result]
PROBES = {"a"}
"""With which an encoder asks what its tokenizer puts before a text."""


@contextmanager
def tokenised() -> Iterator[Counter[tuple[int, str]]]:
    """Counts by tokenizer how often each text is given to it for its ids."""
    counts: Counter[tuple[int, str]] = Counter()
    held: list[object] = []  # a tokenizer that is gone would leave its number to the next
    plain = PreTrainedTokenizerBase.__call__

    def counted(self: Any, text: Any, **options: Any) -> Any:
        if not options.get("return_offsets_mapping"):
            held.append(self)
            texts = [text] if isinstance(text, str) else text
            counts.update((id(self), one) for one in texts if one not in PROBES)
        return plain(self, text, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreTrainedTokenizerBase, "__call__", counted)
        yield counts
    assert counts, "nothing was tokenised, so nothing was counted"


def once(counts: Counter[tuple[int, str]], tokenizers: int) -> bool:
    """Whether so many tokenizers were used, each once for a text."""
    return set(counts.values()) == {1} and len({number for number, _ in counts}) == tokenizers


@pytest.fixture(scope="module")
def run(world: Path, strangers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unlearned with everything that `unlearn` has to encode."""
    out = tmp_path_factory.mktemp("once") / "run"
    few = ("--holdout", str(strangers), "--set", "epochs=1", "--track")
    with tokenised() as counts:
        done = CliRunner().invoke(cli, unlearn_arguments(world, out, *few), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert once(counts, 1)
    return out


def test_unlearn_with_answers_of_other_rows(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    with tokenised() as counts:
        done = forgetctl(*unlearn_arguments(world, tmp_path / "run", "--method", "dpo-rt", "--set", "epochs=2"))
    assert done.exit_code == 0, done.output
    assert once(counts, 1)


def test_verify_with_everything(run: Path, world: Path, strangers: Path, tmp_path: Path, forgetctl: Command) -> None:
    """Three models that read alike: the length check, scores, prompts that ask, attack sets, precisions, an attack."""
    again = [json.loads(line) for line in (world / "requests.jsonl").read_text(encoding="utf-8").splitlines()]
    rephrased = write_lines(
        tmp_path / "rephrased.jsonl", [{**row, "prompt": f"Well, {row['prompt']}"} for row in again]
    )
    second = other(world / "reference", tmp_path / "second")
    extra = ("--holdout", strangers, "--rephrased", rephrased, "--precision", "bf16", "--deep")
    with tokenised() as counts:
        done = forgetctl("verify", run, "--reference", world / "reference", "--reference", second, *extra, "--force")
    assert done.exit_code in (3, 4), done.output
    assert once(counts, 1)


def test_a_reference_with_another_tokenizer_reads_for_itself(
    run: Path, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    reference = untrained_model(tmp_path / "reference")
    with tokenised() as counts:
        done = forgetctl("verify", run, "--reference", reference, "--force")
    assert done.exit_code in (3, 4), done.output
    assert once(counts, 2)


def test_verify_also_of_an_earlier_run(run: Path, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    assert forgetctl("verify", run, "--reference", world / "reference").exit_code in (3, 4)
    files = ("--model", run / "model", "--forget", world / "remaining.jsonl", "--out", tmp_path / "later")
    with tokenised() as counts:
        done = forgetctl("verify", *files, "--also", run, "--attacks", "none")
    assert done.exit_code in (3, 4), done.output
    assert once(counts, 1)
