"""Requests as they are kept: what is written is read again, with its history, all or nothing."""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetctl.errors import RunError, UsageError
from forgetctl.register.checks import BIDI_CONTROLS, parse_artefact
from forgetctl.register.records import Request
from forgetctl.register.rules import Details, begin
from forgetctl.register.store import DEFAULT_REGISTER, Register

TODAY = date(2026, 3, 10)
TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
FULL = Details(
    received=date(2026, 3, 1),
    acknowledged=date(2026, 3, 2),
    channel="web form",
    identity_method="call back",
    identity_result="verified",
    artefacts=(parse_artefact("index:faq"), parse_artefact("base-model:llama=done")),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.sqlite"


@pytest.fixture
def register(path: Path) -> Iterator[Register]:
    with Register.open(path, create=True) as opened:
        yield opened


def made(request_id: str = "REQ-1", law: str = "gdpr", details: Details = FULL) -> Request:
    return begin(request_id, law, details, TODAY)


def changes(request: Request) -> list[dict[str, object]]:
    return [dict(entry.changes) for entry in request.history]


def test_the_default_register_is_in_the_working_directory() -> None:
    assert Path("forgetctl-requests.sqlite") == DEFAULT_REGISTER


def test_a_request_is_read_as_it_was_added(register: Register, path: Path) -> None:
    added = register.add(made())
    assert added.channel == "web form"
    assert added.artefacts == FULL.artefacts
    with Register.open(path) as again:
        assert again.get("REQ-1") == added
    assert changes(added) == [
        {
            "id": "REQ-1",
            "jurisdiction": "gdpr",
            "received": "2026-03-01",
            "due": "2026-04-01",
            "channel": "web form",
            "acknowledged": "2026-03-02",
            "identity_method": "call back",
            "identity_result": "verified",
            "artefacts": ["index:faq=pending", "base-model:llama=done"],
        }
    ]


def test_history_has_every_change_and_its_time(register: Register, tmp_path: Path) -> None:
    register.add(made("REQ-1", "ccpa"))
    register.update("REQ-1", Details(channel="letter", artefacts=(parse_artefact("index:faq=done"),)), TODAY)
    register.update("REQ-1", Details(channel="letter"), TODAY)  # nothing new
    register.extend("REQ-1", "complex", None, TODAY)
    register.bind_run("r1", tmp_path, "npo-rt", {"REQ-1": 4})
    register.record_verdict("r1", "PASS")
    closed = register.close("REQ-1", "partly", "A. Lee", ["Art. 17(3)(b)"], TODAY)
    assert changes(closed)[1:] == [
        {"channel": "letter", "artefacts": ["index:faq=done"]},
        {"extended_until": "2026-05-30", "extension_reason": "complex"},
        {"run": "r1", "path": str(tmp_path), "method": "npo-rt", "rows": 4},
        {"run": "r1", "verdict": "PASS"},
        {"decision": "partly", "approver": "A. Lee", "closed": "2026-03-10", "exceptions": ["Art. 17(3)(b)"]},
    ]
    assert all(TIME.fullmatch(entry.at) for entry in closed.history)
    assert [entry.at for entry in closed.history] == sorted(entry.at for entry in closed.history)


def test_as_json_is_strict_and_complete(register: Register, tmp_path: Path) -> None:
    register.add(made())
    register.bind_run("r1", tmp_path, "npo-rt", {"REQ-1": 4})
    register.record_verdict("r1", "FAIL")
    value = json.loads(json.dumps(register.get("REQ-1").as_json(), allow_nan=False))
    assert value["received"] == "2026-03-01"
    assert value["effective_due"] == value["due"] == "2026-04-01"
    assert value["acknowledge_by"] is value["decision"] is value["closed"] is None
    assert value["artefacts"][0] == {"kind": "index", "name": "faq", "status": "pending"}
    assert {**value["runs"][0], "bound_at": "", "verdict_at": ""} == {
        "run": "r1",
        "path": str(tmp_path),
        "method": "npo-rt",
        "rows": 4,
        "bound_at": "",
        "verdict": "FAIL",
        "verdict_at": "",
    }
    assert TIME.fullmatch(value["runs"][0]["verdict_at"])
    assert len(value["history"]) == 3


def test_an_id_is_taken_once(register: Register) -> None:
    before = register.add(made())
    with pytest.raises(UsageError, match="REQ-1 is in the register already"):
        register.add(made("REQ-1", "ccpa"))
    assert register.get("REQ-1") == before
    assert register.add(made("req-1")).id == "req-1"


def test_unknown_ids(register: Register) -> None:
    for use in (
        lambda: register.get("REQ-9"),
        lambda: register.update("REQ-9", Details(channel="letter"), TODAY),
        lambda: register.extend("REQ-9", "complex", None, TODAY),
        lambda: register.close("REQ-9", "refused", "A", ["x"], TODAY),
    ):
        with pytest.raises(UsageError, match=r"no request REQ-9 in .*requests\.sqlite"):
            use()


def test_a_refused_change_changes_nothing(register: Register) -> None:
    before = register.add(made())
    with pytest.raises(UsageError):
        register.close("REQ-1", "granted", "A", [], TODAY)
    with pytest.raises(UsageError):
        register.update("REQ-1", Details(channel="letter", received=date(2026, 4, 1)), TODAY)
    assert register.get("REQ-1") == before


def test_closed_requests_are_listed_only_if_asked_for(register: Register) -> None:
    for number in (3, 1, 2):
        register.add(made(f"REQ-{number}"))
    register.close("REQ-1", "refused", "A", ["x"], TODAY)
    assert [request.id for request in register.requests()] == ["REQ-3", "REQ-2"]
    assert [request.id for request in register.requests(closed=True)] == ["REQ-3", "REQ-1", "REQ-2"]


def test_check_open_names_the_first_that_is_not(register: Register) -> None:
    for number in (1, 2):
        register.add(made(f"REQ-{number}"))
    register.check_open([])
    register.check_open(["REQ-1", "REQ-2"])
    register.close("REQ-2", "refused", "A", ["x"], TODAY)
    with pytest.raises(UsageError, match="REQ-2 was closed on 2026-03-10"):
        register.check_open(["REQ-1", "REQ-2", "REQ-3"])
    with pytest.raises(UsageError, match="no request REQ-3"):
        register.check_open(["REQ-1", "REQ-3", "REQ-2"])
    with pytest.raises(UsageError, match="never a name or an address") as refusal:
        register.check_open(["ann@example.org"])
    assert "ann" not in str(refusal.value)


def test_a_run_is_bound_to_all_its_requests_or_none(register: Register, tmp_path: Path) -> None:
    for number in (1, 2):
        register.add(made(f"REQ-{number}"))
    with pytest.raises(UsageError, match="no request REQ-9"):
        register.bind_run("r1", tmp_path, "npo-rt", {"REQ-1": 1, "REQ-9": 2})
    assert register.get("REQ-1").runs == ()
    register.bind_run("r1", tmp_path, "npo-rt", {"REQ-1": 1, "REQ-2": 2})
    assert [register.get(f"REQ-{number}").runs[0].rows for number in (1, 2)] == [1, 2]
    register.close("REQ-2", "refused", "A", ["x"], TODAY)
    with pytest.raises(UsageError, match="REQ-2 was closed"):
        register.bind_run("r2", tmp_path, "npo-rt", {"REQ-1": 1, "REQ-2": 2})
    assert [run.run for run in register.get("REQ-1").runs] == ["r1"]


def test_a_resumed_run_is_bound_once(register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register.add(made())
    register.bind_run("r1", tmp_path / "r1", "npo-rt", {"REQ-1": 1})
    register.record_verdict("r1", "PASS")
    before = register.close("REQ-1", "refused", "A", ["x"], TODAY)
    monkeypatch.chdir(tmp_path)
    register.bind_run("r1", Path("r1"), "npo-rt", {"REQ-1": 1})
    assert register.get("REQ-1") == before


def test_two_runs_of_one_name_are_told_apart(register: Register, tmp_path: Path) -> None:
    """A verdict is recorded by name, so it could land at the wrong request."""
    for number in (1, 2):
        register.add(made(f"REQ-{number}"))
    register.bind_run("out", tmp_path / "a", "npo-rt", {"REQ-1": 1})
    for other in ((tmp_path / "b", "npo-rt", {"REQ-1": 1}), (tmp_path / "a", "ga", {"REQ-1": 1})):
        with pytest.raises(UsageError, match="knows another run named out, of REQ-1"):
            register.bind_run("out", *other)
    with pytest.raises(UsageError, match="another run named out"):
        register.bind_run("out", tmp_path / "a", "npo-rt", {"REQ-2": 1})
    assert register.get("REQ-2").runs == ()


def test_a_verdict_reaches_every_request_of_the_run(register: Register, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        register.add(made(f"REQ-{number}"))
    register.bind_run("r1", tmp_path, "npo-rt", {"REQ-2": 1, "REQ-1": 1})
    register.bind_run("r2", tmp_path, "npo-rt", {"REQ-3": 1})
    register.close("REQ-1", "refused", "A", ["x"], TODAY)
    assert register.record_verdict("r1", "INCONCLUSIVE") == ["REQ-2", "REQ-1"]
    assert register.record_verdict("r1", "PASS") == ["REQ-2", "REQ-1"]
    assert [register.get(f"REQ-{number}").last_verdict for number in (1, 2, 3)] == ["PASS", "PASS", None]
    assert [entry.get("verdict") for entry in changes(register.get("REQ-1"))][-2:] == ["INCONCLUSIVE", "PASS"]
    with pytest.raises(UsageError, match=r"no request in .* knows the run r9"):
        register.record_verdict("r9", "PASS")


@pytest.mark.parametrize("text", ["", "a\x1b[2J", "\u202e", "x" * 501])
def test_hostile_names_of_runs_are_refused(register: Register, tmp_path: Path, text: str) -> None:
    register.add(made())
    for arguments in ((text, tmp_path, "npo-rt"), ("r1", tmp_path, text)):
        with pytest.raises(UsageError, match="of the run"):
            register.bind_run(*arguments, {"REQ-1": 1})
    register.bind_run("r1", tmp_path, "npo-rt", {"REQ-1": 1})
    with pytest.raises(UsageError, match="the verdict"):
        register.record_verdict("r1", text)
    with pytest.raises(UsageError, match="the path of the run"):
        register.bind_run("r2", tmp_path / "a\nb", "npo-rt", {"REQ-1": 1})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(), min_size=1, max_size=40))
def test_any_text_is_kept_as_it_is_or_refused(register: Register, text: str) -> None:
    unfit = any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in BIDI_CONTROLS for c in text)
    request_id = f"REQ-{len(register.requests())}"
    try:
        kept = register.add(made(request_id, details=Details(channel=text)))
    except UsageError:
        assert unfit or not text.strip()
    else:
        assert not unfit
        assert kept.channel == text
        assert kept.history[0].changes["channel"] == text


def test_nothing_can_belong_to_a_request_that_is_not_there(register: Register) -> None:
    """The database itself refuses it, whatever the code above does."""
    with pytest.raises(RunError, match="IntegrityError"), register._writing():
        register._db.execute("INSERT INTO exceptions VALUES ('REQ-9', 'x')")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE requests SET received = 'soon-ish'",
        "UPDATE requests SET due = x'00'",
        "UPDATE history SET changes = 'soon-ish'",
        "UPDATE history SET changes = '[1, 2]'",
    ],
)
def test_values_that_make_no_sense_are_an_error_of_ours(register: Register, path: Path, statement: str) -> None:
    register.add(made())
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(statement)
    with pytest.raises(RunError, match="damaged: REQ-1 has a value of the wrong kind") as refusal:
        register.get("REQ-1")
    assert "soon" not in str(refusal.value)


def test_a_run_that_is_no_more_can_be_taken_off(path: Path) -> None:
    with Register.open(path, create=True) as register:
        for name in ("A", "B"):
            register.add(begin(name, "gdpr", Details(), TODAY))
        register.bind_run("r1", path, "npo-rt", {"A": 3, "B": 2})
        assert register.unbind_run("A", "r1", "was abandoned").runs == ()
        assert register.get("A").history[-1].changes == {"run": "r1", "unbound": "was abandoned"}
        assert [run.run for run in register.get("B").runs] == ["r1"]
        with pytest.raises(UsageError, match="no run of that name"):
            register.unbind_run("A", "r1", "again")
        assert register.record_verdict("r1", "PASS") == ["B"]


def test_a_verdict_that_is_told_again_is_no_news(path: Path) -> None:
    with Register.open(path, create=True) as register:
        register.add(begin("A", "gdpr", Details(), TODAY))
        register.bind_run("r1", path, "npo-rt", {"A": 3})
        assert (register.knows_run("r1"), register.knows_run("r2")) == (True, False)
        register.record_verdict("r1", "FAIL")
        before = register.get("A")
        assert register.record_verdict("r1", "FAIL") == ["A"]
        assert register.get("A") == before
        register.record_verdict("r1", "PASS")
        assert register.get("A").runs[0].verdict == "PASS"
