"""Where everything of a run is: only this module spells its file names.

<runs>/<time>-<method>/                one run; <runs>/latest points at the newest
<runs>/<time>-<method>.key             key of the request file's commitment: without it nobody can test guesses
<runs>/<time>-<method>.keys/           keys of the commitments to its rows, one for each request that the run serves
<runs>/<time>-<method>.bundle/         the sealed copy, which has the same names inside
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import RunError

PROGRESS_LOG = "progress.log"
"""Also where models and trials are made that are no runs."""
_SCORES = re.compile(r"(start|unlearned|reference)(-[a-z0-9]{1,16})?\.json")
_STEP = re.compile(r"step-(\d{6,12})\.json")


class RunFiles:
    """The files of a run, or of its sealed copy, whether they are there or not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def record_file(self) -> Path:
        """What was asked, with which versions and inputs, and how far each stage got."""
        return self.path / "run.json"

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def plan_file(self) -> Path:
        """The verdict's bounds, frozen before training."""
        return self.path / "plan.json"

    @property
    def pairs_file(self) -> Path:
        """Which retain rows were chosen, by position."""
        return self.path / "pairs.json"

    @property
    def start_file(self) -> Path:
        """The start model's log-probabilities of the forget rows."""
        return self.path / "start.json"

    @property
    def levels_file(self) -> Path:
        """Where each forget row was to end, in nats a token, for a run that was calibrated."""
        return self.path / "levels.json"

    @property
    def model_dir(self) -> Path:
        """The unlearned model."""
        return self.path / "model"

    @property
    def adapter_dir(self) -> Path:
        """The adapter that is merged into the model, where the owner asked to keep it."""
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        """Training state to resume from."""
        return self.path / "checkpoints"

    @property
    def log_file(self) -> Path:
        """One line of figures per optimizer step."""
        return self.path / "log.jsonl"

    @property
    def progress_file(self) -> Path:
        """How far long work was, a line a minute; names no row."""
        return self.path / PROGRESS_LOG

    @property
    def verdict_file(self) -> Path:
        """The verdict with every figure it rests on."""
        return self.path / "verdict.json"

    @property
    def events_file(self) -> Path:
        """What happened, in order; see `runs.events`."""
        return self.path / "events.jsonl"

    @property
    def commitments_file(self) -> Path:
        """Keyed commitments to the rows of the request."""
        return self.path / "commitments.json"

    @property
    def card_file(self) -> Path:
        """The model card, beside the weights."""
        return self.model_dir / "README.md"

    @property
    def key_file(self) -> Path:
        """The key of the request file's commitment, outside the run directory."""
        return self.path.with_name(self.path.name + ".key")

    @property
    def row_keys(self) -> Path:
        """The keys of the commitments to rows, outside the run directory."""
        return self.path.with_name(self.path.name + ".keys")

    def row_key_file(self, number: int) -> Path:
        """The key for the rows of one request of those that the run serves, counted from 1."""
        return self.row_keys / f"request-{number}.key"

    @property
    def bundle(self) -> Path:
        """Where the sealed copy goes."""
        return self.path.with_name(self.path.name + ".bundle")

    def tracked_file(self, step: int) -> Path:
        """Scores of the model in training, after an optimizer step."""
        return self.path / "tracked" / f"step-{step:06d}.json"

    def tracked_files(self) -> dict[int, Path]:
        """Those that there are, by step. Raises RunError if their folder is a link."""
        matched = ((file, _STEP.fullmatch(file.name)) for file in _inside(self.tracked_file(0).parent))
        return {int(match[1]): file for file, match in matched if match}

    def scores_file(self, name: str) -> Path:
        """Per-row scores of a model: start, unlearned, reference, reference-2, unlearned-int8, unlearned-relearned."""
        return self.path / "scores" / f"{name}.json"

    def score_files(self) -> dict[str, Path]:
        """Every score file that forgetctl made, by its name. Raises RunError if their folder is a link."""
        return {file.stem: file for file in _inside(self.scores_file("").parent) if _SCORES.fullmatch(file.name)}

    def report_file(self, kind: str) -> Path:
        """The rendered report: html, json or md."""
        return self.path / f"report.{kind}"


def _inside(folder: Path) -> list[Path]:
    """What is in a folder of a run, sorted. A link would lead to files that are not the run's."""
    if folder.is_symlink():
        raise RunError(f"{folder} is a link, which forgetctl did not make")
    return sorted(folder.iterdir()) if folder.is_dir() else []
