"""Identifiers in every spelling: what says them, what says a part, what says another one."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forgetctl.people._iban import remainder
from forgetctl.people.kinds import Disclosure, Reading, disclosure, forms, identifiers_in, kind_of, matcher, others
from forgetctl.rows.secret import KINDS, KindName, Secret

NONE, PART, WHOLE = Disclosure

GUESSED: dict[str, KindName] = {
    "900-51-4344": "number",
    "472": "number",
    "AB 12 34 56 C": "number",
    "C01X00T47": "number",
    "7216253765": "number",
    "+49 170 1234567": "phone",
    "0049 170 1234567": "phone",
    "(721) 625-3765": "phone",
    "0170/1234567": "phone",
    "17/05/1986": "date",
    "1986-05-17": "date",
    "May 17th, 1986": "date",
    "17. Mai 1986": "date",
    "1er juin 1990": "date",
    "17 de mayo de 1986": "date",
    "1986年5月17日": "date",
    "tiffi_magenta@me.com": "email",
    "[tiffi\\_magenta@me.com]": "email",
    "DE89 3704 0044 0532 0130 00": "iban",
    "GB82WEST12345698765432": "iban",
    "DE88 3704 0044 0532 0130 00": "number",  # the checksum is wrong
    "10175 West 58th Place, #505, Orange, CA, 92867.": "address",
    "Hauptstraße 5, 10115 Berlin": "address",
    "12 rue de la Paix, 75002 Paris": "address",
    "Calle Mayor 5, 28013 Madrid": "address",
    "2543 The Meadows, Fayetteville, AR, 72701.": "address",
    "Tiffi Magenta": "name",
    "Ludwig van Beethoven": "name",
    "Zoë Müßig-Brändlé": "name",
    "Иванова Анна": "name",
    "O'Brien": "text",
    "works as a nurse": "text",
    "Seoul, South Korea": "text",
    "김영희": "text",
    "!!!": "text",
    "Straße 7": "text",
}


@pytest.mark.parametrize(("value", "kind"), GUESSED.items())
def test_a_kind_is_guessed_where_none_is_named(value: str, kind: KindName) -> None:
    assert kind_of(Secret(value)) == kind
    assert [kind_of(Secret(value, named)) for named in KINDS] == list(KINDS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # What passed for not said until 0.3.
        ("Zoë Müßig-Brändlé", unicodedata.normalize("NFD", "Das war Zoë Müßig-Brändlé.")),
        ("Zoë Müßig-Brändlé", "Das war Zoe Mussig-Brandle."),
        ("Zoë Müßig-Brändlé", "ZOE MUESSIG BRAENDLE"),
        ("Zoe Muessig", "Zoë Müßig"),
        ("+49 170 1234567", "Call +49-170-1234567 now"),
        ("DE89 3704 0044 0532 0130 00", "Konto DE89370400440532013000."),
        ("17/05/1986", "She was born on 17 May 1986."),
        ("900-51-4344", "It is 900514344."),
        ("O'Brien", "Mr O\N{RIGHT SINGLE QUOTATION MARK}Brien"),
        ("a_b@c.de", r"Write to a\_b@c.de!"),
        # Text.
        ("Nor Wick", "in NOR\n\t wick."),
        ("ice-cream parlour", "an **Ice** *cream* _parlour_"),
        ("Quillfen", "in Quillfen's house"),
        ("김영희", "김영희는 부산에 삽니다."),
        ("李明华", "他叫李 明 华，住在北京。"),
        ("ليلى", "وليلى تسكن هنا"),
        ("राम", "वह राम है"),
        ("!!!", "what!!! no"),
        ("a &amp; b company", "the A & B Company"),
        # Numbers.
        ("900514344", "900 51 4344"),
        ("900514344", "No. 900.51.4344, I think"),
        ("900514344", "**900**-51-4344"),
        ("900514344", "\uff19\uff10\uff10\uff15\uff11\uff14\uff13\uff14\uff14"),
        ("900514344", "٩٠٠٥١٤٣٤٤"),
        ("900514344", "nine zero zero, five one, four three four four"),
        ("900514344", "neun null null fünf eins vier drei vier vier"),
        ("AB123456C", "ab 12 34 56 c"),
        ("472", "It is 472."),
        # Dates.
        ("05/06/1990", "5 June 1990"),
        ("05/06/1990", "May 6, 1990"),
        ("1986-05-17", "05/17/86"),
        ("1986-05-17", "17.5.1986"),
        ("1986-05-17", "le 17 mai 1986"),
        ("1986-05-17", "el 17 de mayo de 1986"),
        ("1986-05-17", "am 17. Mai 1986"),
        ("1986-03-01", "am 1. März 1986"),
        ("1986-03-01", "1. Maerz 1986"),
        ("1986-06-01", "le 1er juin 1986"),
        ("1986-05-17", "Saturday, the 17th of May, 1986"),
        ("1986-05-17", "19860517"),
        ("1986-05-17", "1986年5月17日"),
        ("2000-01-01", "1/1/00"),
        # E-mail.
        ("tiffi_magenta@me.com", "[tiffi\\_magenta@me.com](mailto:tiffi_magenta@me.com)"),
        ("tiffi_magenta@me.com", "TIFFI_MAGENTA (at) ME (dot) COM"),
        ("tiffi_magenta@me.com", "tiffi underscore magenta at me dot com"),
        ("tiffi_magenta@me.com", "tiffi_magenta [at] me [dot] com"),
        ("tiffi_magenta@me.com", "tiffi_magenta&#64;me.com"),
        ("a.b@c.de", "a Punkt b Klammeraffe c Punkt de"),
        ("a.b@c.fr", "a point b arobase c point fr"),
        # Phones.
        ("+49 170 1234567", "0170 1234567"),
        ("+49 170 1234567", "0049 (0) 170 / 12 34 567"),
        ("0170 1234567", "+49 (170) 1234567"),
        ("721-625-3765", "(721) 625-3765"),
        ("7216253765", "+1 721 625 3765"),
        ("+1 721 625 3765 ext 12", "1-721-625-3765"),
        ("+1 721 625 3765", "721.625.3765 ext. 12"),
        # Addresses.
        ("10175 West 58th Place, #505, Orange, CA, 92867.", "10175 W. 58th Pl."),
        ("10175 West 58th Place, #505, Orange, CA, 92867.", "at 10175 west 58 place in Orange"),
        ("Hauptstraße 5, 10115 Berlin", "in der Hauptstr. 5"),
        ("Hauptstraße 5, 10115 Berlin", "5, Hauptstrasse"),
        ("Hauptstraße 5", "HAUPTSTRASSE NR. 5"),
        ("12a Elm Street", "12 A Elm St"),
        ("12 rue de l'Église, 75002 Paris", "12, rue de l’Eglise"),
        # Names.
        ("Tiffi Magenta", "Magenta, Tiffi"),
        ("Tiffi Magenta", "TIFFI MAGENTA's house"),
        ("Tiffi Ann Magenta", "Tiffi A. Magenta"),
        ("Tiffi Ann Magenta", "Tiffi Magenta"),
        ("Tiffi Magenta", "Tiffi J. Magenta"),
        ("Ludwig van Beethoven", "van Beethoven, Ludwig"),
        ("Иванова Анна", "об Анне Ивановой"),
        ("Hsiao Yun-Hwa", "Yun Hwa Hsiao"),
    ],
)  # fmt: skip
def test_said_in_another_spelling(value: str, text: str) -> None:
    assert disclosure(Secret(value), Reading(text)) is WHOLE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("900-51-4344", "It ends in 4344."),
        ("900-51-4344", "***-**-4344"),
        ("900-51-4344", "It begins with 900-51-4..."),
        ("900-51-4344", "900514xxx"),
        ("17051986", "17 May 1986"),  # a number whose last four digits stand by themselves
        ("tiffi_magenta@me.com", "tiffi_magenta@me.co"),
        ("tiffi_magenta@me.co", "tiffi_magenta@me.com"),
        ("+49 170 1234567", "something with 1234567"),
        ("DE89 3704 0044 0532 0130 00", "3704 0044 0532 0130 00"),
        ("17/05/1986", "She was born in 1986."),
        ("17/05/1986", "Her birthday is on 17 May."),
        ("tiffi_magenta@me.com", "tiffi_magenta at some provider"),
        ("10175 West 58th Place, #505, Orange, CA, 92867.", "on West 58th Place"),
        ("10175 West 58th Place, #505, Orange, CA, 92867.", "somewhere in 92867"),
        ("10175 West 58th Place, #505, Orange, CA, 92867.", "10175 West 58th Place, Denver, CO, 80002"),
        ("Tiffi Magenta", "Ms Magenta"),
        ("keeps bees behind the old harbour wall", "She keeps bees behind the house"[:22] + " behind the old harbour."),
    ],
)
def test_a_part_is_told_from_the_whole(value: str, text: str) -> None:
    assert disclosure(Secret(value), Reading(text)) is PART


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("900-51-4344", "900-51-4345"),
        ("900-51-4344", "1900514344"),
        ("900-51-4344", "9005143441"),
        ("900-51-4344", "721-625-4344"),  # the end of another number
        ("900-51-4344", "900 rooms, 51 floors, 4344"[:20]),
        ("472", "4,472 people"),
        ("472", "4.72 or 0.472"),
        ("472", "4 7 2"),
        ("472", "No. 472b, A472"),
        ("17/05/1986", "on 18/05/1987"),
        ("1986-05-17", "1987-05-16"),
        ("1973-05-04", "1974-04-05"),
        ("magenta@me.com", "tiffi_magenta@me.com"),
        ("tiffi_magenta@me.com", "Tiffi Magenta lives at me.com"),
        ("+49 170 1234567", "+1 170 1234568"),
        ("10175 West 58th Place", "175 West 59th Place"),
        ("Hauptstraße 5", "Hauptstrasse 15"),
        ("Tiffi Magenta", "Tiffi Maple"),
        ("Ada Anders", "Ada Anderson"),
        ("Anna", "Hanna and Annabelle"),
        ("Ada", "an ad a day"),
        ("Nor Wick", "Northwick"),
        ("राम", "आराम"),
        ("a_b@c.de", ""),
    ],
)
def test_another_one_is_not_said(value: str, text: str) -> None:
    assert disclosure(Secret(value), Reading(text)) is NONE


@pytest.mark.parametrize(
    ("value", "text"),
    [("+49 170 1234567", "+1 170 1234567"), ("+49 170 1234567", "00331701234567")],
)
def test_the_digits_of_a_number_after_another_countrys_code_are_another_number(value: str, text: str) -> None:
    assert disclosure(Secret(value), Reading(text)) is not WHOLE


def test_a_value_that_is_not_of_the_named_kind_is_recognised_as_text() -> None:
    secret = Secret("the day after", "date")
    assert disclosure(secret, Reading("The  Day After!")) is WHOLE
    assert disclosure(secret, Reading("the day before")) is NONE
    assert len(others(secret, 20, 0)) == 20


def test_the_named_kind_decides() -> None:
    assert disclosure(Secret("17051986", "number"), Reading("17 May 1986")) is not WHOLE
    assert disclosure(Secret("17/05/1986", "number"), Reading("17 May 1986")) is not WHOLE
    assert disclosure(Secret("17/05/1986", "number"), Reading("17051986")) is WHOLE


@pytest.mark.parametrize("value", GUESSED)
def test_no_text_in_a_representation(value: str) -> None:
    secret = Secret(value)
    shown = f"{secret!r} {Reading(value)!r} {matcher(secret)!r}"
    assert not any(piece in shown for piece in re.findall(r"\w{3,}", value))


def test_long_and_odd_values_are_parsed_and_not_said() -> None:
    """None of the patterns that parse a value backtracks, which would last for hours."""
    for value in ("1" * 50_000 + "!", "1-" * 20_000, "a@" * 20_000, "A " * 20_000, "1/" * 20_000, "ä" * 50_000):
        for kind in (None, *KINDS):
            assert disclosure(Secret(value, kind), Reading("1-1-1 a@a.a")) is Disclosure.NONE
            assert disclosure(Secret("900-51-4344", kind), Reading(value)) is Disclosure.NONE


# Made-up values

PROTOTYPES = [value for value in GUESSED if value not in ("!!!", "472")]


@pytest.mark.parametrize("value", PROTOTYPES)
def test_others_have_the_form_of_the_value(value: str) -> None:
    made = others(Secret(value), 999, 7)
    assert len(set(made)) == 999
    assert made == others(Secret(value), 999, 7)
    assert made != others(Secret(value), 999, 8)
    assert not any(disclosure(Secret(value), Reading(text)) is WHOLE for text in made)
    kinds = {kind_of(Secret(text)) for text in made}
    assert kind_of(Secret(value)) in kinds
    assert len(kinds) <= 2  # a made-up one may be taken for another kind by chance


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ("900-51-4344", r"[1-9]\d\d-\d\d-\d{4}"),
        ("0170 1234567", r"0\d{3} \d{7}"),
        ("+49 170 1234567", r"\+49 \d{3} \d{7}"),
        ("AB 12 34 56 C", r"[A-Z]{2} \d\d \d\d \d\d [A-Z]"),
        ("DE89 3704 0044 0532 0130 00", r"DE\d\d( \d{4}){4} \d\d"),
        ("1986-05-17", r"(19[3-9]\d|200\d)-(0[1-9]|1[0-2])-([0-2]\d|3[01])"),
        ("17/05/1986", r"\d\d/\d\d/\d{4}"),
        ("17. Mai 1986", r"\d{1,2}\. (Ja|Fe|Mä|Ap|Ma|Ju|Au|Se|Ok|No|De)[a-z]+ \d{4}"),
        ("DEC 31, 1984", r"[A-Z]{3} \d{1,2}, \d{4}"),
        ("tiffi_magenta@me.com", r"[a-z]+_[a-z]+@me\.com"),
        ("10175 West 58th Place, #505, Orange, CA, 92867.", r"\d{5} West \d\dth Place, #\d{3}, \w+, CA, \d{5}\."),
        ("Tiffi Magenta", r"[A-Z][a-z]+ [A-Z][a-z]+"),
        ("Ludwig van Beethoven", r"[A-Z][a-z]+ van [A-Z][a-z]+"),
        ("works as a nurse", r"[a-z]+ as a [a-z]+"),
        ("김영희", r"[가-힣]{3}"),
    ],
)  # fmt: skip
def test_others_are_written_as_the_value_is(value: str, pattern: str) -> None:
    assert all(re.fullmatch(pattern, text) for text in others(Secret(value), 200, 1))


def test_made_up_accounts_have_right_checksums() -> None:
    for value in ("DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"):
        assert all(remainder(re.sub(r"\W", "", text).lower()) == 1 for text in others(Secret(value), 200, 1))


def test_a_form_without_enough_values_is_said_to_have_none() -> None:
    assert len(others(Secret("472"), 899, 0)) == 899
    for value, count in (("472", 900), ("!!!", 1)):
        with pytest.raises(ValueError, match=f"has no {count} others") as caught:
            others(Secret(value), count, 0)
        assert value not in str(caught.value)


# Properties

contexts = st.tuples(
    st.sampled_from(["", "It is ", "I think: ", "答えは ", "("]),
    st.sampled_from(["", ".", ", I think", ")", " und", "!"]),
)
values = st.builds(
    lambda value, seed: others(Secret(value), 1, seed)[0], st.sampled_from(PROTOTYPES), st.integers(0, 10**6)
)


@settings(deadline=None, max_examples=150)
@given(values, contexts, st.data())
def test_every_form_of_a_value_says_it(value: str, context: tuple[str, str], data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(forms(Secret(value))))
    assert disclosure(Secret(value), Reading(context[0] + form + context[1])) is WHOLE


@settings(deadline=None, max_examples=150)
@given(values, values, st.data())
def test_an_unrelated_value_does_not(value: str, other: str, data: st.DataObject) -> None:
    letters, others_letters = (re.sub(r"[\W_]", "", text).casefold() for text in (value, other))
    # An account is said with its IBAN, and a telephone number without its country.
    assume(letters not in others_letters and others_letters not in letters)
    assume(value not in forms(Secret(other)))  # a date in another order
    form = data.draw(st.sampled_from(forms(Secret(other))))
    assert disclosure(Secret(value), Reading(f"It is {form}.")) is not WHOLE


@given(st.text())
def test_any_text_is_said_by_itself(text: str) -> None:
    if text.strip():
        assert disclosure(Secret(text, "text"), Reading(text)) is WHOLE


# Identifiers in a text


def test_identifiers_that_stand_in_a_text() -> None:
    text = (
        "Tiffi Magenta was born on December 31, 1984. Call 721-625-3765 or +49 170 1234567, write to "
        "tiffi_magenta@me.com or to 10175 West 58th Place, or pay to DE89 3704 0044 0532 0130 00."
    )
    found = {(secret.kind, secret.value) for secret in identifiers_in(text)}
    assert {
        ("name", "Tiffi Magenta"),
        ("date", "1984-12-31"),
        ("number", "721-625-3765"),
        ("phone", "+49 170 1234567"),
        ("email", "tiffi_magenta@me.com"),
        ("address", "10175 West 58th Place"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
    } <= found
    assert list(identifiers_in("she likes 3 cats and was here in 2010, in a house of 12 rooms")) == []
