"""The tables for auditors: what happened to a run, and the digest of everything that it used and made."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgetctl.errors import RunError
from forgetctl.report._history import MOST_EVENTS
from forgetctl.report.render import build, render_json, render_markdown
from tests.report.report_records import events, html, run_record, write, write_events, write_run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def flat(text: str) -> str:
    return " ".join(text.split())


def history(folder: Path) -> str:
    """The table of the page."""
    return flat(html(folder).text.split("What happened to the run")[1].split("How to check the seal")[0])


def test_events_are_told_in_order_with_status_digests_and_counts(run_dir: Path) -> None:
    text = history(run_dir)
    told = (
        "2026-01-02T03:01:05+00:00 created kind: unlearn",
        f"frozen recipe.yaml: {'12' * 8}…; plan.json: {'34' * 8}…",
        "pairing status: done; retain rows: 611",
        "unlearn status: done; steps: 70; seconds: 61.200; stopped early: no",
        "verify status: done; verdict: FAIL",
    )
    places = [text.index(line) for line in told]
    assert places == sorted(places)
    assert "near_duplicates" not in text  # not a single value
    assert "None" not in text


def test_only_the_latest_of_many_events_are_shown_and_json_has_all(run_dir: Path) -> None:
    first = events()[0]
    write_events(run_dir, [{**first, "n": n, "event": f"event {n}."} for n in range(1, MOST_EVENTS + 4)])
    text = history(run_dir)
    assert "3 earlier events" in text
    assert "event 3." not in text
    assert "event 4." in text
    assert len(render_json(build(run_dir))["events"]) == MOST_EVENTS + 3


def test_a_run_without_events_has_no_history(run_dir: Path) -> None:
    (run_dir / "events.jsonl").unlink()
    page = html(run_dir)
    assert "What happened to the run" not in page.text
    assert "#history" not in page.values("href")
    assert render_json(build(run_dir))["events"] == []


def test_an_event_that_was_cut_off_in_writing_never_happened(run_dir: Path) -> None:
    with (run_dir / "events.jsonl").open("a") as file:
        file.write('{"n": 6, "ti')
    assert [event.n for event in build(run_dir).events] == [1, 2, 3, 4, 5]


def test_damage_names_the_line(run_dir: Path) -> None:
    lines = (run_dir / "events.jsonl").read_text().splitlines()
    (run_dir / "events.jsonl").write_text("\n".join([*lines[:2], lines[2].replace('"n": 3', '"n": "x"'), ""]))
    with pytest.raises(RunError, match=r"events\.jsonl:3: is damaged: n: "):
        build(run_dir)


def test_a_line_separator_in_a_name_does_not_end_the_line(run_dir: Path) -> None:
    line = '{"n": 1, "time": "t", "event": "seal", "facts": {"bundle": "a\u2028b\x85c"}, "previous": ""}\n'
    (run_dir / "events.jsonl").write_text(line, encoding="utf-8")
    assert len(build(run_dir).events) == 1


def test_every_digest_is_listed(run_dir: Path) -> None:
    page, text = flat(html(run_dir).text), render_markdown(build(run_dir))
    for name, small, digest in (
        ("recipe.yaml", "as fixed beforehand", "12" * 32),
        ("plan.json", "as fixed beforehand", "34" * 32),
        ("unlearned model", "as training wrote it", "90" * 32),
        ("start", "given to the verification, assistant", "56" * 32),
        ("holdout", "given to the verification, unseen.jsonl, 83 rows", "78" * 32),
        ("forget", "given to the verification, requests.jsonl, 37 rows", "hmac-sha256:" + "cd" * 32),
        ("model", "assistant, 11 MB", "ab" * 32),
        ("verdict", "digest of everything it depends on", "ef" * 32),
    ):
        assert f"{name} {small} {digest}" in page
        assert f"| {name} ({small}) | {digest} |" in text


def test_the_report_says_how_to_check_the_seal(run_dir: Path) -> None:
    for text in (flat(html(run_dir).text), render_markdown(build(run_dir))):
        for command in (
            "forgetctl seal RUN --key KEY",
            "forgetctl audit BUNDLE --key PUB",
            "forgetctl prove BUNDLE --row FILE --commit-key KEY",
        ):
            assert command in text
        assert "The public key must come from somewhere else than the bundle" in text
        assert "but not the weights" in text


def test_requests_are_named_and_all_of_them_stand_somewhere(run_dir: Path) -> None:
    assert "Requests R-7, R-19" in flat(html(run_dir).text)
    assert "- Requests: R-7, R-19" in render_markdown(build(run_dir))
    ids = [f"DSR-2026-{n:04d}" for n in range(40)]
    write(run_dir, "run.json", run_record(requests=ids))
    summary, rest = html(run_dir).text.split("What was asked")
    assert "and 35 more" in summary
    assert ids[5] not in summary
    assert ", ".join(ids) in rest
    assert ", ".join(ids) in render_markdown(build(run_dir))
    write(run_dir, "run.json", run_record(requests=["R-7"]))
    assert "- Request: R-7" in render_markdown(build(run_dir))
    write(run_dir, "run.json", run_record(requests=[]))
    assert "Request:" not in render_markdown(build(run_dir))
