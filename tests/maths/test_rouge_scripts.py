"""ROUGE-L must not call a repeated answer wrong because of its script."""

from __future__ import annotations

import pytest

from forgetctl.maths.metrics import rouge_l_recall


@pytest.mark.parametrize("text", ["東京に住んでいます", "Она живёт в Москве", "تعيش في القاهرة"])
def test_a_repeated_answer_counts_in_any_script(text: str) -> None:
    same, other = rouge_l_recall([text, text], [text, "completely different"])
    assert same == 1
    assert other == 0
