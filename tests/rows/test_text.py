"""Text in any script: what counts as the same, and what counts as a word."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.rows.text import fold, word_length, words


@pytest.mark.parametrize(
    "text",
    [
        "Zoë Müßig-Brändlé",
        "김영희는 부산에",
        "Nguyễn Thị Ngọc Ánh",
        "Й и Ё",
        "ｆｕｌｌ ｗｉｄｔｈ １２",
        "ﬁnal",
        "ΌΣΟΣ",
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_every_form_of_a_text_is_the_same(text: str, form: str) -> None:
    assert fold(unicodedata.normalize(form, text)) == fold(text)  # type: ignore[arg-type]


@given(st.text())
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_what_is_not_seen_does_not_count() -> None:
    assert fold("Al\u00adwen\u200b \ufeffNor\u2060wick\u200e") == "alwen norwick"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Она родилась в 1987 году.", ["она", "родилась", "в", "1987", "году"]),
        ("她1987年出生。", ["她", "1987", "年", "出", "生"]),
        ("ひらがなABC", ["ひ", "ら", "が", "な", "abc"]),
        ("वह दिल्ली में है", ["वह", "दिल्ली", "में", "है"]),  # marks of vowels belong to their words
        ("مرحبا اسمي ليلى", ["مرحبا", "اسمي", "ليلى"]),
        ("กำ", ["ก\u0e4dา"[:2], "า"]),
        ("-- !", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_two_letters_of_a_script_without_blanks_count_as_a_word() -> None:
    assert word_length("one two 東京") == 3
    assert word_length("") == 0
