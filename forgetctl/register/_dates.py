"""When an answer is due. Dates are calendar dates where the owner is, and the day of receipt is not counted.

gdpr: one calendar month from receipt (GDPR art. 12(3)): the corresponding date, or the last day of a month that has no
such date (Regulation (EEC, Euratom) 1182/71 art. 3; EDPB Guidelines 01/2022 on the right of access). An extension by
two further months ends three months from receipt.

ccpa: 45 calendar days from receipt, with an extension 90; receipt is confirmed within 10 business days (11 CCR 7021).

Dates here keep to the early side: a period that would end on a weekend or a holiday is not prolonged, because holidays
depend on the country; time in which the person's identity is asked for is counted too; and business days skip weekends
but no holidays. Three months from receipt can be up to two days later than one month and then two.
"""

from __future__ import annotations

from datetime import date, timedelta

from dateutil.relativedelta import relativedelta

PERIODS: dict[str, relativedelta] = {"gdpr": relativedelta(months=1), "ccpa": relativedelta(days=45)}
EXTENDED_PERIODS: dict[str, relativedelta] = {"gdpr": relativedelta(months=3), "ccpa": relativedelta(days=90)}
"""Both from receipt. A law that is not named here has no period: its date is given by the owner."""
ACKNOWLEDGE_BUSINESS_DAYS = 10
SATURDAY = 5


def due_date(jurisdiction: str, received: date) -> date:
    """The last day for an answer under gdpr or ccpa."""
    return received + PERIODS[jurisdiction]


def extended_date(jurisdiction: str, received: date) -> date:
    """The last day for an answer under gdpr or ccpa after an extension."""
    return received + EXTENDED_PERIODS[jurisdiction]


def acknowledge_by(jurisdiction: str, received: date) -> date | None:
    """The last day to confirm receipt, where the law asks for it."""
    return add_business_days(received, ACKNOWLEDGE_BUSINESS_DAYS) if jurisdiction == "ccpa" else None


def add_business_days(start: date, count: int) -> date:
    """The `count`-th day after `start` that is neither Saturday nor Sunday."""
    day = start
    for _ in range(count):
        day += timedelta(days=1)
        while day.weekday() >= SATURDAY:
            day += timedelta(days=1)
    return day
