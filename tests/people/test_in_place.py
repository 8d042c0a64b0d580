"""Where a response says a secret, and the strings that could stand there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from forgetctl.people.in_place import FEWEST, OTHERS, InPlace, Places, in_place
from forgetctl.people.kinds import Disclosure, Reading, disclosure
from forgetctl.rows.row import Row
from forgetctl.rows.secret import KindName, Secret


def row(response: str, *secrets: Secret, prompt: str = "Which?", line: int = 1) -> Row:
    return Row(line, (("user", prompt),), response, secrets=secrets)


def only(places: Places) -> Any:
    ((place,),) = places.rows
    return place


def placed(response: str, secret: str, kind: KindName | None = None, **fields: Any) -> tuple[str, tuple[str, ...]]:
    """What stands there in the response, and what else could."""
    place = only(in_place([row(response, Secret(secret, kind), **fields)], [], "quick"))
    assert isinstance(place, InPlace)
    return response[place.start : place.end], place.others


@pytest.mark.parametrize(
    ("response", "secret", "there", "form"),
    [
        ("Her number is 900-51-4344, she said.", "900-51-4344", "900-51-4344", r"\d{3}-\d\d-\d{4}"),
        ("Her number is 900-51-4344.", "900514344", "900-51-4344", r"\d{3}-\d\d-\d{4}"),
        ("Born 1984-12-31 in Bonn.", "December 31, 1984", "1984-12-31", r"\d{4}-\d\d-\d\d"),
        ("Write to ada_example@me.com!", "ada_example@me.com", "ada_example@me.com", r"[a-z]+_[a-z]+@me\.com"),
        ("Her name is Ada Example.", "Ada Example", "Ada Example", r"[A-Z][a-z]+ [A-Z][a-z]+"),
    ],
)
def test_others_are_written_as_the_secret_is(response: str, secret: str, there: str, form: str) -> None:
    found, others = placed(response, secret)
    assert found == there
    assert len(others) == len(set(others)) == 99
    assert all(re.fullmatch(form, other) for other in others)
    assert not any(disclosure(Secret(secret), Reading(other)) is Disclosure.WHOLE for other in others)


def test_the_first_place_counts_and_no_part_of_a_word() -> None:
    response = "Not 4711999: 471199, and 471199 again."
    place = only(in_place([row(response, Secret("471199"))], [], "quick"))
    assert (place.start, place.end) == (response.index("471199,"), response.index(", and"))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (row("It is 900514344.", Secret("900-51-4344"), prompt="Is it 900 51 43 44?"), "said by the prompt"),
        (row("I do not know.", Secret("900-51-4344")), "in no answer"),
        (row("At gate 42.", Secret("42")), "too few others"),
    ],
)
def test_a_secret_without_a_place_says_why(found: Row, reason: str) -> None:
    places = in_place([found], ["From 1 to 99: " + " ".join(map(str, range(1, 100)))], "quick")
    assert only(places) == reason
    assert places.count == 0


def test_secrets_of_one_form_share_their_others() -> None:
    """But for the values of the request itself, which stand for no other."""
    rows = [row("No. 900514344", Secret("900514344")), row("No. 812345678", Secret("812345678"), line=2)]
    (first,), (second,) = in_place(rows, [], "quick").rows
    assert isinstance(first, InPlace)
    assert isinstance(second, InPlace)
    assert first.others == second.others
    again = in_place([*rows, row(f"No. {first.others[7]}", Secret(first.others[7]), line=3)], [], "quick")
    assert again.left_out == 1
    shared = again.rows[0][0]
    assert isinstance(shared, InPlace)
    assert len(shared.others) == 99
    assert shared.others[:7] + shared.others[7:98] == first.others[:7] + first.others[8:]


def test_what_kept_rows_say_is_no_other_string() -> None:
    one = row("Her name is Ada Example.", Secret("Ada Example"))
    said = only(in_place([one], [], "quick")).others[3]
    places = in_place([one], [f"{said.upper()} lives in Gent."], "quick")
    assert said not in only(places).others
    assert places.left_out == 1


def test_as_many_as_asked_for() -> None:
    one = row("No. 900514344", Secret("900514344"))
    assert len(only(in_place([one], [], "full")).others) == OTHERS["full"] == 999
    assert len(only(in_place([row("Code 472.", Secret("472"))], [], "full")).others) < 999
    assert len(only(in_place([row("Code 472.", Secret("472"))], [], "full")).others) >= FEWEST


def test_its_representation_holds_no_text() -> None:
    assert repr(only(in_place([row("No. 900514344", Secret("900514344"))], [], "quick"))) == "InPlace(99 others)"
