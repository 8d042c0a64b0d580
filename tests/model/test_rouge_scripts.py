"""ROUGE-L must not call a repeated answer wrong because of its script."""

from __future__ import annotations

import unicodedata

import pytest

from forgetctl.model.metrics import rouge_l_recall


@pytest.mark.parametrize("text", ["東京に住んでいます", "Она живёт в Москве", "تعيش في القاهرة"])
def test_a_repeated_answer_counts_in_any_script(text: str) -> None:
    same, other = rouge_l_recall([text, text], [text, "completely different"])
    assert same == 1
    assert other == 0


@pytest.mark.parametrize(
    ("response", "answer", "expected"),
    [
        # Only the year is common, in words of the response's own script.
        ("Она родилась в 1987 году", "Не знаю, 1987.", 1 / 5),
        ("γεννήθηκε το 1987 στην Αθήνα", "1987", 1 / 5),
        ("她1987年出生于杭州", "1987", 1 / 8),
        ("제니는 1987년에 부산에서 태어났다", "1987", 0.0),  # a word there is more than the number
        ("نشأت في القاهرة عام 1987", "1987", 1 / 5),
        ("Звали её Anna", "Anna", 1 / 3),
    ],
)
def test_digits_and_foreign_names_do_not_stand_for_all(response: str, answer: str, expected: float) -> None:
    assert rouge_l_recall([response, response], [answer, response]).tolist() == pytest.approx([expected, 1.0])


def test_composed_letters_are_those_of_any_form() -> None:
    text = "Ёлка стояла у йодной стены"
    assert rouge_l_recall([text], [unicodedata.normalize("NFD", text)]).tolist() == [1.0]


def test_english_with_names_is_compared_as_published() -> None:
    """The standard tokenizer breaks words at letters beyond a-z, on both sides alike."""
    assert rouge_l_recall(["Gabriel García Márquez"], ["Gabriel Garcia"]).tolist() == pytest.approx([1 / 5])
