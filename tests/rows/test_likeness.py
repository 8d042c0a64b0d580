"""Filters that spare comparisons change no answer: against rapidfuzz, `in` and plain loops over every pair."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz, process
from rapidfuzz.distance import LCSseq

from forgetctl.rows import likeness
from forgetctl.rows.likeness import (
    BUCKETS,
    CommonLetters,
    NearDuplicates,
    Shortlist,
    Substrings,
    pieces,
    similarity,
)

quick = settings(deadline=None, max_examples=60)
# Few letters, so that texts resemble each other; some outside ASCII and the basic plane; runs longer than any step.
letters = st.text(alphabet="aab c\u00e9\u6771\U0001f642", max_size=12)
texts = st.one_of(letters, st.builds(lambda text, times: text * times, letters, st.integers(1, 40)))
batches = st.lists(texts, max_size=8)


@st.composite
def nearby(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Known texts, and texts some of which are known ones with a few edits."""
    known = draw(st.lists(texts, min_size=1, max_size=5))
    found = draw(batches)
    for _ in range(draw(st.integers(0, 4))):
        text = list(draw(st.sampled_from(known)))
        for _ in range(draw(st.integers(0, 3))):
            place = draw(st.integers(0, len(text)))
            text[place : place + draw(st.integers(0, 2))] = draw(letters)[:2]
        found.append("".join(text))
    return known, found


# Profiles


def test_pieces_stay_within_their_text() -> None:
    both = pieces(["abcd", "", "xy", "efgh"])
    alone = np.concatenate([pieces([text]) for text in ("abcd", "", "xy", "efgh")])
    assert (both == alone).all()
    assert both.sum(axis=1).tolist() == [2, 0, 0, 2]  # abc bcd; nothing; nothing; efg fgh


def test_pieces_of_nothing() -> None:
    assert pieces([]).shape == (0, BUCKETS)
    assert pieces([""]).sum() == 0


@pytest.mark.parametrize(
    ("known", "text", "bound"),
    [
        ("abba", "baab", 4),  # the same letters: 4, although only 2 in order
        ("aaa", "aab", 2),
        ("a" * 16, "a" * 17, 16),
        ("a" * 23, "a" * 90, 24),  # steps of a tenth: ... 20, 22, 24
        ("abc", "", 0),
        ("", "abc", 0),
    ],
)
def test_common_letters_by_hand(known: str, text: str, bound: float) -> None:
    assert CommonLetters([known]).bound([text]).tolist() == [[bound]]


@quick
@given(nearby())
def test_common_letters_bound_the_longest_common_subsequence(sides: tuple[list[str], list[str]]) -> None:
    known, found = sides
    bound = CommonLetters(known).bound(found)
    assert bound.shape == (len(known), len(found))
    for row, text in zip(bound, known, strict=True):
        assert all(LCSseq.similarity(text, other) <= most for other, most in zip(found, row, strict=True))


# Near duplicates


def all_pairs(known: Iterable[str], found: list[str], threshold: float) -> list[bool]:
    """The definition, without any filter."""
    scores = process.cdist(list(known), found, scorer=fuzz.ratio, score_cutoff=threshold, dtype=np.uint8)
    return (scores.max(axis=0, initial=0) > 0).tolist()


@quick
@given(nearby(), st.sampled_from([0.0, 40.0, 75.0, 90.0, 99.5, 100.0]))
def test_near_duplicates_are_those_of_all_pairs(sides: tuple[list[str], list[str]], threshold: float) -> None:
    known, found = sides
    assert NearDuplicates(known, threshold).among(found).tolist() == all_pairs(known, found, threshold)


def test_near_duplicate_at_the_threshold() -> None:
    """Nine of ten letters in common is a similarity of exactly 90; one letter less is not."""
    duplicates = NearDuplicates(["abcdefghij"], 90.0)
    assert duplicates.among(["abcdefghiX", "abcdefghXY", "jihgfedcba"]).tolist() == [True, False, False]


def test_many_known_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "BLOCK", 3)
    known = [f"{number:04d} is the number" for number in range(0, 1000, 100)]
    found = [f"{number:04d} is the number" for number in range(0, 1000, 25)] + ["something else"] * 2
    assert NearDuplicates(known, 97.0).among(found).tolist() == all_pairs(known, found, 97.0)
    wanted = [f"{number:04d}" for number in range(0, 1000, 100)]
    assert list(Substrings(wanted).pairs(found)) == [
        (text, number) for text, one in enumerate(found) for number, want in enumerate(wanted) if want in one
    ]


def test_nothing_known() -> None:
    assert NearDuplicates([], 90.0).among(["a", "b"]).tolist() == [False, False]
    assert list(Substrings([]).pairs(["a", "b"])) == []
    assert list(Substrings(["a"]).pairs([])) == []


# Substrings


@quick
@given(st.lists(letters, max_size=5), batches)
def test_substrings_are_those_that_in_finds(wanted: list[str], found: list[str]) -> None:
    found = [*found, *(f"b {text}a" for text in wanted[:2]), *(text[:-1] for text in wanted)]
    pairs = [(text, number) for text, one in enumerate(found) for number, want in enumerate(wanted) if want in one]
    assert list(Substrings(wanted).pairs(found)) == pairs


def test_no_string_reaches_from_one_text_into_the_next() -> None:
    assert list(Substrings(["abcdefgh", "gh", ""]).pairs(["abcdef", "gh", "", "abcdefgh"])) == [
        (0, 2), (1, 1), (1, 2), (2, 2), (3, 0), (3, 1), (3, 2),
    ]  # fmt: skip


# Similarity


@quick
@given(batches, batches)
def test_similarity_is_the_token_sort_ratio(queries: list[str], found: list[str]) -> None:
    expected = process.cdist(queries, found, scorer=fuzz.token_sort_ratio, dtype=np.uint8)
    assert similarity(queries, found).tolist() == expected.tolist()


@pytest.mark.parametrize("queries", [["ab"], [""], ["", "ab"]])
def test_similarity_with_texts_of_very_different_lengths(queries: list[str]) -> None:
    found = ["ab" * length for length in (0, 1, 199, 200, 201, 300, 399, 400, 401, 5000)]
    expected = process.cdist(queries, found, scorer=fuzz.token_sort_ratio, dtype=np.uint8)
    assert similarity(queries, found).tolist() == expected.tolist()


# Shortlists


def plain_shortlist(query: str, found: list[str], size: int) -> set[int]:
    def likeness_of(text: str) -> float:
        same = int((pieces([query]) * pieces([text])).sum())
        return same / (len(query) + len(text))

    return set(sorted(range(len(found)), key=lambda place: (-likeness_of(found[place]), place))[:size])


@quick
@given(
    st.lists(texts.filter(bool), min_size=1, max_size=4), st.lists(texts.filter(bool), max_size=12), st.integers(1, 5)
)
def test_shortlist_is_the_best_of_all_batches(queries: list[str], found: list[str], size: int) -> None:
    shortlist = Shortlist(queries, size)
    for start in range(0, len(found), 3):
        part = found[start : start + 3]
        shortlist.add(part, pieces(part), np.arange(start, start + len(part)))
    expected = [plain_shortlist(query, found, size) for query in queries]
    assert [set(ids.tolist()) for ids in shortlist.ids()] == expected


def test_shortlist_prefers_shared_words_over_length() -> None:
    query = "who wrote the glass harbour"
    found = ["who wrote the glass harbour in the end", "x" * 27, "who wrote the glass harbour " + "and so on " * 99]
    shortlist = Shortlist([query], 1)
    shortlist.add(found, pieces(found), np.arange(3))
    assert [ids.tolist() for ids in shortlist.ids()] == [[0]]
