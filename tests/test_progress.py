"""How far long work is: a line a minute, by a clock that the test sets, and by a real one that is fast."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from forgetctl import progress
from forgetctl.cli import terminal as console
from forgetctl.cli.terminal import TerminalProgress
from forgetctl.progress import Pace, in_words


def test_the_first_line_comes_after_a_minute_and_then_one_a_minute() -> None:
    pace = Pace(title="Training seed-1", total=400, started=1000.0)
    told = []
    for second in range(1, 300):
        pace.done += 1
        if line := pace.due(1000.0 + second):
            told.append((second, line))
    assert told == [
        (60, "Training seed-1: 60 of 400, about 6 min left"),
        (120, "Training seed-1: 120 of 400, about 5 min left"),
        (180, "Training seed-1: 180 of 400, about 4 min left"),
        (240, "Training seed-1: 240 of 400, about 3 min left"),
    ]


def test_what_is_left_is_reckoned_from_what_this_job_did() -> None:
    """300 of 400 were done before; 20 more took 10 minutes, so the other 80 take 40."""
    pace = Pace(title="Unlearning", total=0, started=0.0)
    pace.resize(400, 300)
    assert pace.line(600.0) == "Unlearning: 300 of 400 after 10 min"
    pace.done += 20
    assert pace.line(600.0) == "Unlearning: 320 of 400, about 40 min left"


def test_a_number_of_steps_that_is_not_known() -> None:
    assert Pace(title="Scoring the refusals", total=0, started=0.0, done=1234).line(61.0) == (
        "Scoring the refusals: 1,234 after 1 min"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1.0, "0 s"), (0.4, "0 s"), (59.0, "59 s"), (60.0, "1 min"), (3541.0, "59 min"), (3600.0, "1 h 0 min"),
     (97_260.0, "27 h 1 min")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is a hundredth of a second."""
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    monkeypatch.setattr(console, "LOOKING", 0.002)


def told(*, terminal: bool = False, quiet: bool = False) -> tuple[TerminalProgress, io.StringIO]:
    shown, stream = TerminalProgress(quiet=quiet), io.StringIO()
    shown.console = Console(file=stream, force_terminal=terminal, quiet=quiet, width=200)
    return shown, stream


def work(shown: TerminalProgress) -> None:
    """A step that takes as long as many minutes."""
    with shown.bar("Scoring the start model", 8) as bar:
        bar.advance(2, "loss 1.234")
        time.sleep(0.1)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(("quiet", "terminal"), [(False, False), (True, False), (False, True)])
def test_lines_go_to_standard_error_that_is_no_terminal_and_always_to_the_log(
    tmp_path: Path, quiet: bool, terminal: bool
) -> None:
    shown, stream = told(terminal=terminal, quiet=quiet)
    log, other = tmp_path / "progress.log", tmp_path / "inner.log"
    with shown.logged(log), shown.logged(other):
        work(shown)
    lines = log.read_text().splitlines()
    assert len(lines) > 2
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+\+00:00 Scoring the start model: 2 of 8, about .+ left", line)
        for line in lines
    )
    assert log.stat().st_mode & 0o077 == 0
    assert not other.exists()  # the outermost
    plain = [
        line for line in stream.getvalue().splitlines() if re.match(r"Scoring the start model: 2 of 8, about", line)
    ]
    assert bool(plain) is (not quiet and not terminal)
    size = log.stat().st_size
    work(shown)
    assert log.stat().st_size == size  # no longer


@pytest.mark.usefixtures("fast")
def test_a_log_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    shown, stream = told()
    with shown.logged(tmp_path / "missing" / "progress.log"):
        work(shown)
    assert stream.getvalue().count("cannot be written") == 1
    assert "Scoring the start model: 2 of 8" in stream.getvalue()


@pytest.mark.usefixtures("fast")
def test_an_error_in_the_work_ends_the_watching() -> None:
    import threading

    shown, _ = told()
    before = threading.active_count()
    with pytest.raises(ValueError, match="as it was"), shown.bar("Work", 3):
        raise ValueError("as it was")
    assert threading.active_count() == before


def test_work_of_less_than_a_minute_tells_nothing(tmp_path: Path) -> None:
    shown, stream = told()
    with shown.logged(tmp_path / "progress.log"):
        work(shown)
    assert stream.getvalue() == ""
    assert not (tmp_path / "progress.log").exists()
