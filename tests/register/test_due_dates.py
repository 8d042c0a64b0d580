"""When an answer is due: the laws' own examples, month ends and leap years, and what holds for every date."""

from __future__ import annotations

import calendar
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.register._dates import acknowledge_by, due_date, extended_date

DAYS = st.dates(date(2018, 5, 25), date(2199, 12, 31))
LAWS = st.sampled_from(["gdpr", "ccpa"])


@pytest.mark.parametrize(
    ("received", "due", "extended"),
    [
        ("2026-03-05", "2026-04-05", "2026-06-05"),  # EDPB Guidelines 01/2022
        ("2026-08-31", "2026-09-30", "2026-11-30"),  # EDPB Guidelines 01/2022
        ("2026-01-31", "2026-02-28", "2026-04-30"),
        ("2026-01-29", "2026-02-28", "2026-04-29"),
        ("2026-01-28", "2026-02-28", "2026-04-28"),
        ("2024-01-29", "2024-02-29", "2024-04-29"),
        ("2024-01-30", "2024-02-29", "2024-04-30"),
        ("2028-01-31", "2028-02-29", "2028-04-30"),
        ("2024-02-29", "2024-03-29", "2024-05-29"),
        ("2026-02-28", "2026-03-28", "2026-05-28"),
        ("2026-03-31", "2026-04-30", "2026-06-30"),
        ("2026-10-31", "2026-11-30", "2027-01-31"),
        ("2026-11-30", "2026-12-30", "2027-02-28"),
        ("2027-11-30", "2027-12-30", "2028-02-29"),
        ("2026-12-31", "2027-01-31", "2027-03-31"),
        ("2026-12-01", "2027-01-01", "2027-03-01"),  # a holiday, on purpose not moved
        ("2026-10-15", "2026-11-15", "2027-01-15"),  # a Sunday, likewise
    ],
)
def test_gdpr_is_a_month_and_with_an_extension_three_from_receipt(received: str, due: str, extended: str) -> None:
    assert due_date("gdpr", date.fromisoformat(received)) == date.fromisoformat(due)
    assert extended_date("gdpr", date.fromisoformat(received)) == date.fromisoformat(extended)


@pytest.mark.parametrize(
    ("received", "due", "extended"),
    [
        ("2026-01-01", "2026-02-15", "2026-04-01"),
        ("2026-01-15", "2026-03-01", "2026-04-15"),
        ("2024-01-15", "2024-02-29", "2024-04-14"),
        ("2028-02-29", "2028-04-14", "2028-05-29"),
        ("2026-11-17", "2027-01-01", "2027-02-15"),
    ],
)
def test_ccpa_is_45_days_and_with_an_extension_90_from_receipt(received: str, due: str, extended: str) -> None:
    assert due_date("ccpa", date.fromisoformat(received)) == date.fromisoformat(due)
    assert extended_date("ccpa", date.fromisoformat(received)) == date.fromisoformat(extended)


@pytest.mark.parametrize(
    ("received", "deadline"),
    [
        ("2026-11-02", "2026-11-16"),  # a Monday
        ("2026-11-06", "2026-11-20"),  # a Friday
        ("2026-11-07", "2026-11-20"),  # a Saturday: Monday is the first business day
        ("2026-11-08", "2026-11-20"),  # a Sunday
        ("2026-12-21", "2027-01-04"),  # holidays are not skipped
    ],
)
def test_ccpa_receipt_is_confirmed_within_ten_business_days(received: str, deadline: str) -> None:
    assert acknowledge_by("ccpa", date.fromisoformat(received)) == date.fromisoformat(deadline)


def test_other_laws_ask_for_no_confirmation() -> None:
    assert acknowledge_by("gdpr", date(2026, 1, 1)) is None
    assert acknowledge_by("other", date(2026, 1, 1)) is None


@given(DAYS)
def test_gdpr_is_the_same_day_of_the_next_month_or_its_last(received: date) -> None:
    due = due_date("gdpr", received)
    assert (due.year, due.month) == (received.year + received.month // 12, received.month % 12 + 1)
    assert due.day == min(received.day, calendar.monthrange(due.year, due.month)[1])


@given(LAWS, DAYS)
def test_due_is_after_receipt_and_an_extension_after_that(law: str, received: date) -> None:
    assert received < due_date(law, received) < extended_date(law, received)


@given(LAWS, DAYS, st.integers(0, 400))
def test_who_asks_later_is_never_answered_earlier(law: str, received: date, days: int) -> None:
    later = received + timedelta(days=days)
    assert due_date(law, received) <= due_date(law, later)
    assert extended_date(law, received) <= extended_date(law, later)


@given(DAYS)
def test_ten_business_days_are_ten_days_of_the_week(received: date) -> None:
    deadline = acknowledge_by("ccpa", received)
    assert deadline is not None
    passed = [received + timedelta(days=n) for n in range(1, (deadline - received).days + 1)]
    assert sum(day.weekday() < 5 for day in passed) == 10
    assert deadline.weekday() < 5
