"""Texts that say one of many identifiers: the same ones as when every text is read for every identifier."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetctl.people.kinds import Disclosure, Reading, disclosure, forms, others
from forgetctl.people.mentions import Mentions
from forgetctl.rows.secret import Secret
from tests.people.other_answers import SENTENCES, read_answers, read_facts, read_names
from tests.people.test_kinds import GUESSED

secrets = st.builds(
    lambda value, seed: Secret(others(Secret(value), 1, seed)[0]),
    st.sampled_from([value for value in GUESSED if value != "!!!"]),
    st.integers(0, 10**6),
)


def plainly(some: list[Secret], texts: list[str]) -> list[bool]:
    return [any(disclosure(secret, Reading(text)) is Disclosure.WHOLE for secret in some) for text in texts]


@settings(deadline=None, max_examples=100)
@given(st.lists(secrets, max_size=4), st.lists(secrets, max_size=2), st.data())
def test_no_form_is_missed(some: list[Secret], unrelated: list[Secret], data: st.DataObject) -> None:
    texts = [
        data.draw(st.sampled_from(SENTENCES)).format(data.draw(st.sampled_from(forms(secret))))
        for secret in [*some, *unrelated]
    ]
    found = Mentions(some).among(texts).tolist()
    assert found == plainly(some, texts)
    assert all(found[: len(some)])


@pytest.mark.parametrize("names", [True, False])
def test_lumes_texts(shared: Path, names: bool) -> None:
    path = shared / "lume" / "forget.jsonl"
    facts = read_names(path) if names else read_facts(path, named=False)
    some = [fact.secret for fact in facts[::40]]
    texts = [text for _, text in read_answers(path)][:300]
    assert Mentions(some).among(texts).tolist() == plainly(some, texts)


def test_marks_alone_and_nothing() -> None:
    texts = ["a", "", "no!!!"]
    assert Mentions([Secret("!!!")]).among(texts).tolist() == [False, False, True]
    assert Mentions([]).among(texts).tolist() == [False, False, False]
    assert Mentions([Secret("a")]).among([]).tolist() == []
