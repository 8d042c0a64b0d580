"""What may happen to a request, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from forgetctl.errors import UsageError
from forgetctl.register.checks import BIDI_CONTROLS, checked_id, checked_text, parse_artefact
from forgetctl.register.records import Artefact, BoundRun, Request
from forgetctl.register.rules import Details, amend, begin, conclude, prolong

TODAY = date(2026, 3, 10)
INDEX = Artefact("index", "faq", "pending")


def request(law: str = "gdpr", **details: object) -> Request:
    return begin("REQ-1", law, Details(**details), TODAY)  # type: ignore[arg-type]


def ready() -> Request:
    return request(identity_result="verified", artefacts=[replace(INDEX, status="done")])


def run(verdict: str | None) -> BoundRun:
    return BoundRun(
        run="r1",
        path="/runs/r 1",
        method="npo-rt",
        rows=3,
        bound_at="2026-03-09T08:00:00+00:00",
        verdict=verdict,
        verdict_at=None,
    )


def test_a_request_came_in_today_unless_said() -> None:
    assert request().received == TODAY
    assert request().due == date(2026, 4, 10)
    assert request(received=date(2026, 1, 31)).due == date(2026, 2, 28)


@pytest.mark.parametrize("text", ["R", "7", "REQ-2026.017_b", "a" * 64])
def test_ids_that_may_be(text: str) -> None:
    assert checked_id(text) == text


@pytest.mark.parametrize(
    "text", ["", "-r", ".r", "Ann Lee", "ann@example.org", "a" * 65, "r\n", "é1", "r/1", "١", "r\x1b[2J"]
)
def test_ids_that_may_not_be_are_refused_unquoted(text: str) -> None:
    with pytest.raises(UsageError, match="never a name or an address") as refusal:
        begin(text, "gdpr", Details(), TODAY)
    assert len(text) < 2 or text not in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["", "  ", "x" * 501, "a\nb", "a\tb", "\x1b[31m", "\x9b1m", "\x7f", "\ud800", "a\u2028b", "a\u2029b"]
)
def test_texts_that_may_not_be(text: str) -> None:
    for field in ("channel", "identity_method"):
        with pytest.raises(UsageError, match=field.replace("_", " ")):
            request(**{field: text})
    with pytest.raises(UsageError, match="the reason"):
        prolong(request(), text, None, TODAY)
    with pytest.raises(UsageError, match="the approver"):
        conclude(ready(), "granted", text, [], TODAY)
    with pytest.raises(UsageError, match="an exception"):
        conclude(ready(), "partly", "A", [text], TODAY)
    with pytest.raises(UsageError, match="the name of an artefact"):
        parse_artefact(f"index:{text}=done")


@pytest.mark.parametrize("character", sorted(BIDI_CONTROLS))
def test_no_text_may_reorder_another(character: str) -> None:
    with pytest.raises(UsageError, match=f"the note.*U\\+{ord(character):04X}"):
        checked_text("the note", f"a{character}b")


def test_texts_of_any_script_may_be() -> None:
    for text in ("x" * 500, "[red]", "Grüße, שלום, مرحبا", "می\u200cخواهم", "👩‍⚖️"):
        assert checked_text("the note", text) == text


def test_dates_that_cannot_be() -> None:
    tomorrow, before = TODAY + timedelta(days=1), TODAY - timedelta(days=1)
    with pytest.raises(UsageError, match="cannot be received on 2026-03-11: that is in the future"):
        request(received=tomorrow)
    with pytest.raises(UsageError, match="cannot be acknowledged on 2026-03-11: that is in the future"):
        request(acknowledged=tomorrow)
    with pytest.raises(UsageError, match="acknowledged on 2026-03-09, before it was received"):
        request(acknowledged=before)
    with pytest.raises(UsageError, match="due on 2026-03-09, before it was received"):
        request("other", due=before)
    assert request(received=before, acknowledged=before).acknowledged == before


@pytest.mark.parametrize("law", ["gdpr", "ccpa"])
def test_a_law_says_itself_when_the_answer_is_due(law: str) -> None:
    with pytest.raises(UsageError, match=f"--due goes with --jurisdiction other; {law} counts from receipt"):
        request(law, due=date(2026, 5, 1))
    with pytest.raises(UsageError, match="--due goes with"):
        amend(request(law), Details(due=date(2026, 5, 1)), TODAY)


def test_another_law_needs_a_due_date() -> None:
    with pytest.raises(UsageError, match="needs --due"):
        request("other")
    assert request("other", due=date(2026, 5, 1)).due == date(2026, 5, 1)
    moved = amend(request("other", due=date(2026, 5, 1)), Details(due=date(2026, 5, 2)), TODAY)
    assert moved.due == date(2026, 5, 2)
    with pytest.raises(UsageError, match="a jurisdiction is one of gdpr, ccpa, other"):
        request("lgpd")


def test_a_corrected_receipt_moves_the_due_date() -> None:
    assert amend(request(), Details(received=date(2026, 1, 31)), TODAY).due == date(2026, 2, 28)
    acknowledged = request(received=date(2026, 3, 1), acknowledged=date(2026, 3, 2))
    with pytest.raises(UsageError, match="before it was received"):
        amend(acknowledged, Details(received=date(2026, 3, 3)), TODAY)
    with pytest.raises(UsageError, match="rests on its dates"):
        amend(prolong(request(), "complex", None, TODAY), Details(received=date(2026, 3, 1)), TODAY)


def test_what_is_not_said_stays() -> None:
    full = request(channel="letter", identity_method="call", identity_result="verified", artefacts=[INDEX])
    assert amend(full, Details(), TODAY) == full


def test_artefacts_are_added_or_changed_in_order() -> None:
    adapter = Artefact("adapter", "faq", "pending")
    changed = amend(request(artefacts=[INDEX]), Details(artefacts=[adapter, replace(INDEX, status="done")]), TODAY)
    assert changed.artefacts == (replace(INDEX, status="done"), adapter)


@pytest.mark.parametrize(
    ("text", "artefact"),
    [
        ("index:faq", INDEX),
        ("index:faq=done", replace(INDEX, status="done")),
        ("backup:s3://b/date=2024=not-affected", Artefact("backup", "s3://b/date=2024", "not-affected")),
        ("other:a b", Artefact("other", "a b", "pending")),
    ],
)
def test_artefacts_as_typed(text: str, artefact: Artefact) -> None:
    assert parse_artefact(text) == artefact


@pytest.mark.parametrize(
    "text", ["index", "index:", "cache:x", "index:x=maybe", "index:=done", ":x", "Index:x", "=done"]
)
def test_artefacts_that_may_not_be(text: str) -> None:
    with pytest.raises(UsageError, match="artefact"):
        parse_artefact(text)


def test_extension_of_gdpr_and_ccpa() -> None:
    assert prolong(request(received=date(2026, 2, 28)), "complex", None, TODAY).extended_until == date(2026, 5, 28)
    longer = prolong(request("ccpa"), "complex", None, TODAY)
    assert longer.extended_until == TODAY + timedelta(days=90)
    assert longer.due == TODAY + timedelta(days=45)
    assert longer.extension_reason == "complex"
    with pytest.raises(UsageError, match="extended already, until 2026-06-08"):
        prolong(longer, "again", None, TODAY)
    with pytest.raises(UsageError, match="--until goes with --jurisdiction other; gdpr says itself how long"):
        prolong(request(), "complex", date(2026, 5, 1), TODAY)


@pytest.mark.parametrize("law", ["gdpr", "ccpa"])
def test_an_extension_is_told_before_the_first_period_ends(law: str) -> None:
    made = request(law, received=date(2026, 1, 20))
    assert prolong(made, "complex", None, made.due).extended_until
    with pytest.raises(UsageError, match=f"the person had to be told by {made.due}"):
        prolong(made, "complex", None, made.due + timedelta(days=1))


def test_extension_under_another_law() -> None:
    other = request("other", due=date(2026, 5, 1))
    for until in (None, date(2026, 4, 30), date(2026, 5, 1)):
        with pytest.raises(UsageError, match="give --until, a date after the due date 2026-05-01"):
            prolong(other, "complex", until, TODAY)
    assert prolong(other, "complex", date(2026, 5, 2), TODAY).effective_due == date(2026, 5, 2)


@pytest.mark.parametrize("decision", ["granted", "partly"])
def test_all_that_is_missing_is_said_at_once(decision: str) -> None:
    open_request = replace(request(artefacts=[INDEX, replace(INDEX, name="it's", status="pending")]), runs=(run(None),))
    with pytest.raises(UsageError) as refusal:
        conclude(open_request, decision, "A", [], TODAY)
    said = str(refusal.value)
    assert f"cannot be closed as {decision}" in said
    assert "identity is pending, not verified or not-needed" in said
    assert "(forgetctl requests update REQ-1 --identity-result verified)" in said
    assert "artefact index:faq is pending (forgetctl requests update REQ-1 --artefact index:faq=done)" in said
    assert """--artefact 'index:it'"'"'s=done'""" in said
    assert "run r1 has no verdict (forgetctl verify '/runs/r 1'; if it is no more, forgetctl requests unbind" in said
    assert ("no reason is given (--exception TEXT)" in said) == (decision == "partly")


@pytest.mark.parametrize("result", ["pending", "failed"])
def test_nobody_unidentified_is_granted_anything(result: str) -> None:
    with pytest.raises(UsageError, match=f"identity is {result}"):
        conclude(request(identity_result=result), "granted", "A", [], TODAY)


@pytest.mark.parametrize("result", ["verified", "not-needed"])
@pytest.mark.parametrize("status", ["done", "not-affected"])
@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_granted_once_everything_is_settled(result: str, status: str, verdict: str) -> None:
    settled = request(identity_result=result, artefacts=[replace(INDEX, status=status)])
    closed = conclude(replace(settled, runs=(run(verdict),)), "granted", "A. Lee", [], TODAY)
    assert (closed.decision, closed.approver, closed.closed) == ("granted", "A. Lee", TODAY)


def test_refusal_needs_a_reason_and_nothing_else() -> None:
    unsettled = replace(request(artefacts=[INDEX]), runs=(run(None),))
    with pytest.raises(
        UsageError, match=r"REQ-1 cannot be closed as refused: no reason is given \(--exception TEXT\)$"
    ):
        conclude(unsettled, "refused", "A", [], TODAY)
    refused = conclude(unsettled, "refused", "A", ["Art. 17(3)(b)", "Art. 17(3)(b)", "Art. 17(3)(e)"], TODAY)
    assert refused.exceptions == ("Art. 17(3)(b)", "Art. 17(3)(e)")


def test_granting_in_full_claims_no_exception() -> None:
    with pytest.raises(UsageError, match="with one it is granted partly"):
        conclude(ready(), "granted", "A", ["Art. 17(3)(b)"], TODAY)
    assert conclude(ready(), "partly", "A", ["Art. 17(3)(b)"], TODAY).decision == "partly"


def test_a_closed_request_stays_as_it_is() -> None:
    closed = conclude(ready(), "granted", "A", [], TODAY)
    for change in (
        lambda: amend(closed, Details(channel="letter"), TODAY),
        lambda: prolong(closed, "complex", None, TODAY),
        lambda: conclude(closed, "refused", "A", ["Art. 17(3)(b)"], TODAY),
    ):
        with pytest.raises(UsageError, match="REQ-1 was closed on 2026-03-10"):
            change()


def test_overdue_is_after_the_last_day_of_the_extension_if_there_is_one() -> None:
    made = request(received=date(2026, 2, 1))
    assert (made.days_left(date(2026, 3, 1)), made.overdue(date(2026, 3, 1))) == (0, False)
    assert (made.days_left(date(2026, 3, 2)), made.overdue(date(2026, 3, 2))) == (-1, True)
    longer = prolong(made, "complex", None, date(2026, 3, 1))
    assert (longer.days_left(date(2026, 3, 2)), longer.overdue(date(2026, 3, 2))) == (60, False)
    assert longer.overdue(date(2026, 5, 2))


def test_unconfirmed_receipt_is_overdue_under_ccpa_only() -> None:
    received = date(2026, 2, 2)  # the tenth business day is 2026-02-16
    made = request("ccpa", received=received)
    assert not made.overdue(date(2026, 2, 16))
    assert made.overdue(date(2026, 2, 17))
    assert not amend(made, Details(acknowledged=TODAY), TODAY).overdue(date(2026, 2, 17))
    assert not request("gdpr", received=received).overdue(date(2026, 2, 17))


def test_a_closed_request_is_never_overdue() -> None:
    closed = conclude(request("ccpa"), "refused", "A", ["no data"], TODAY)
    assert not closed.overdue(date(2030, 1, 1))
    assert closed.days_left(date(2030, 1, 1)) is None


def test_the_last_verdict_is_the_newest_not_that_of_the_last_run() -> None:
    runs = (replace(run("PASS"), verdict_at="2026-03-10"), replace(run("FAIL"), verdict_at="2026-03-09"), run(None))
    assert replace(request(), runs=runs).last_verdict == "PASS"
    assert request().last_verdict is None


def test_an_extension_counts_from_the_day_on_which_the_person_was_told() -> None:
    late = replace(request(), received=date(2026, 1, 5), due=date(2026, 2, 5))
    with pytest.raises(UsageError, match="too late"):
        prolong(late, "many copies", None, TODAY)
    assert prolong(late, "many copies", None, TODAY, date(2026, 2, 5)).extended_until == date(2026, 4, 5)
    with pytest.raises(UsageError, match="too late"):
        prolong(late, "many copies", None, TODAY, date(2026, 2, 6))
    with pytest.raises(UsageError, match="in the future"):
        prolong(late, "many copies", None, TODAY, date(2999, 1, 1))


@pytest.mark.parametrize("jurisdiction", ["gdpr", "ccpa"])
def test_the_last_day_of_all_is_in_the_future(jurisdiction: str) -> None:
    with pytest.raises(UsageError, match="in the future"):
        begin("REQ-1", jurisdiction, Details(received=date.max), TODAY)
    with pytest.raises(UsageError, match="in the future"):
        amend(replace(request(), jurisdiction=jurisdiction), Details(received=date.max), TODAY)
