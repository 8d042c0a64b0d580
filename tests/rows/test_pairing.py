"""Choosing retain rows: the plain definition over every pair, its edges, and the shortlist that large files use."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from rapidfuzz import fuzz, process

from forgetctl.errors import UsageError
from forgetctl.people.mentions import Mentions
from forgetctl.recipe.recipe import Retain
from forgetctl.rows import pairing
from forgetctl.rows.pairing import Excluded, Pairing, first_distinct, similar_answers
from forgetctl.rows.reading import RowFile, read_rows
from forgetctl.rows.row import Row, normalise
from forgetctl.rows.secret import Secret
from tests.world import write_lines

WORDS = "the glass harbour was written by ada lovell in 1931 and sold at a fair of straßburg 東京 🙂".split()
SMALL = Retain(minimum=6, check_rows=5)


def row(prompt: str, response: str, line: int = 1, secrets: tuple[str, ...] = ()) -> Row:
    named = tuple(map(Secret, secrets))
    return Row(line, (("user", prompt),) if prompt else (), response, secrets=named)


def choose_retain(forget: Sequence[Row], retain: Sequence[Row], settings: Retain, seed: int) -> Pairing:
    mentions = Mentions.of_rows(forget)
    return pairing.choose_retain(forget, retain, settings, seed, mentions.among)


def sentence(random: np.random.Generator, words: int) -> str:
    return " ".join(random.choice(WORDS, words))


def invented(count: int, seed: int) -> list[Row]:
    """Rows of few words, so that many are alike."""
    random = np.random.default_rng(seed)
    return [row(sentence(random, 5), sentence(random, int(random.integers(4, 14))), line) for line in range(count)]


def plainly(forget: list[Row], retain: list[Row], settings: Retain, seed: int) -> Pairing:
    """The definition: every pair compared, everything in memory."""
    rows = {(normalise(r.prompt), normalise(r.response)) for r in forget}
    known = sorted({normalise(text) for r in forget for text in (r.response, r.paraphrased_response) if text})
    secrets = {normalise(secret.value) for r in forget for secret in r.secrets}
    responses = [normalise(r.response) for r in retain]
    closest = process.cdist(known, responses, scorer=fuzz.ratio, score_cutoff=settings.near_duplicate).max(axis=0)
    reasons = []
    for r, response, close in zip(retain, responses, closest, strict=True):
        holding = any(secret in response or secret in normalise(r.prompt) for secret in secrets)
        reasons.append(1 if (normalise(r.prompt), response) in rows else 2 if close else 3 if holding else 0)
    eligible = np.flatnonzero(np.array(reasons) == 0)
    shuffled = np.random.default_rng([seed, len(retain)]).permutation(eligible)
    checks = min(settings.check_rows, max(1, round(settings.check_share * len(eligible))))
    rest = [int(i) for i in shuffled[checks:]]
    size = min(len(rest), max(settings.minimum, round(settings.ratio * len(forget))))
    keys = [[normalise(f"{r.prompt} {r.response}") for r in part] for part in (forget, [retain[i] for i in rest])]
    scores = process.cdist(*keys, scorer=fuzz.token_sort_ratio, dtype=np.uint8).astype(int)
    near: dict[int, None] = {}
    for place in np.argsort(-scores, axis=1, kind="stable").T.ravel():
        if len(near) < round(settings.nearest_share * size):
            near[rest[place]] = None
    uniform = [i for i in rest if i not in near][: size - len(near)]
    return Pairing(
        tuple(sorted([*near, *uniform])),
        tuple(sorted(int(i) for i in shuffled[:checks])),
        Excluded(*(reasons.count(code) for code in (1, 2, 3, 4))),
    )


def request_and_file(seed: int, count: int = 120) -> tuple[list[Row], list[Row]]:
    """A request, and retain rows among which are forget rows, near duplicates and holders of secrets."""
    forget, retain = invented(12, seed), invented(count, seed + 1)
    forget[3] = replace(
        forget[3], secrets=(Secret("At A Fair", "text"), Secret("0700-11")), paraphrased_response=sentence_of(seed)
    )
    forget[7] = forget[6]
    retain[10:13] = [replace(forget[i], line=10) for i in (0, 3, 6)]
    retain[20] = row("anything", f"  {forget[4].response.upper()} ")
    retain[21] = row("anything", sentence_of(seed) + "!")
    retain[30] = row("call 0700-11", "or not")
    return forget, retain


def sentence_of(seed: int) -> str:
    return sentence(np.random.default_rng(seed + 77), 9)


# The definition


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "settings",
    [SMALL, Retain(), Retain(ratio=0.5, minimum=1, nearest_share=1.0, near_duplicate=70.0), Retain(nearest_share=0.0)],
    ids=["small", "defaults", "nearest", "uniform"],
)
def test_choice_is_that_of_the_plain_definition(settings: Retain, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "BATCH_ROWS", 7)
    forget, retain = request_and_file(seed)
    found = choose_retain(forget, retain, settings, seed)
    assert found == plainly(forget, retain, settings, seed)
    assert found.excluded.forget_rows >= 3
    assert found.excluded.near_duplicates >= 2
    assert found.excluded.holding_secrets >= 1


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(10, 60))
def test_choice_from_any_rows(seed: int, count: int) -> None:
    forget, retain = invented(5, seed), invented(count, seed + 1)
    assert choose_retain(forget, retain, SMALL, seed) == plainly(forget, retain, SMALL, seed)


def test_choice_from_a_file_is_that_from_its_rows(tmp_path: Path) -> None:
    forget, retain = request_and_file(5)
    path = write_lines(tmp_path / "retain.jsonl", ({"prompt": r.prompt, "response": r.response} for r in retain))
    assert choose_retain(forget, RowFile(path), SMALL, 1) == choose_retain(forget, retain, SMALL, 1)


def test_choice_on_tofu(shared: Path) -> None:
    """Real rows: a file with the forget rows in it, and paraphrases in the request."""
    forget = read_rows(shared / "tofu/forget01_perturbed.json")
    rows = RowFile(shared / "tofu/full.json")
    assert choose_retain(forget, rows, Retain(), 0) == plainly(forget, list(rows), Retain(), 0)


def test_first_distinct_takes_turns() -> None:
    rankings = [[4, 1, 2], [4, 3], [5, 4, 6]]
    assert first_distinct(rankings, 9) == [4, 5, 1, 3, 2, 6]
    assert first_distinct(rankings, 3) == [4, 5, 1]
    assert first_distinct(rankings, 0) == []


# The shortlist of large files


@pytest.mark.parametrize("seed", range(3))
def test_a_shortlist_of_all_rows_changes_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forget, retain = request_and_file(seed)
    exact = choose_retain(forget, retain, SMALL, seed)
    monkeypatch.setattr(pairing, "EXACT_PAIRS", 0)
    assert choose_retain(forget, retain, SMALL, seed) == exact


def test_a_short_shortlist_leaves_out_what_is_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    forget, retain = request_and_file(9)
    exact = choose_retain(forget, retain, SMALL, 2)
    monkeypatch.setattr(pairing, "EXACT_PAIRS", 0)
    monkeypatch.setattr(pairing, "SHORTLIST", 8)
    found = choose_retain(forget, retain, SMALL, 2)
    assert (found.check, found.excluded, len(found.train)) == (exact.check, exact.excluded, len(exact.train))
    assert not {10, 11, 12, 20, 21, 30} & {*found.train, *found.check}


def test_shortlists_miss_little_on_tofu(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest rows found are as near as the nearest there are, to a fifth of a point of 100 on average."""
    forget = read_rows(shared / "tofu/forget05.json")[::4]
    retain = read_rows(shared / "tofu/retain95.json")
    monkeypatch.setattr(pairing, "EXACT_PAIRS", 0)
    nearness = pairing._nearness(forget, retain, 150)
    pairing._reasons(forget, retain, 90.0, nearness, Mentions(()).among)
    keys = [[normalise(f"{r.prompt} {r.response}") for r in part] for part in (forget, retain)]
    scores = np.sort(process.cdist(*keys, scorer=fuzz.token_sort_ratio, dtype=np.uint8), axis=1)[:, ::-1]
    found = process.cdist(*keys, scorer=fuzz.token_sort_ratio, dtype=np.uint8)
    ranked = [ranking[:3] for ranking in nearness.rankings(np.arange(len(retain)))]
    reached = np.array([line[ranking] for line, ranking in zip(found, ranked, strict=True)], dtype=float)
    assert scores[:, :3].mean() - reached.mean() < 0.2


# Edges


@pytest.mark.parametrize("limit", [pairing.EXACT_PAIRS, 0], ids=["all pairs", "shortlists"])
def test_identical_rows(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "EXACT_PAIRS", limit)
    forget = [row("who?", "ada lovell", secrets=("0700",))] * 3
    found = choose_retain(forget, [row("when?", "in 1931 at a fair")] * 1000, Retain(check_rows=5), 0)
    assert (len(found.train), len(found.check), found.excluded) == (64, 5, Excluded(0, 0, 0, 0))
    assert not set(found.train) & set(found.check)


@pytest.mark.parametrize("limit", [pairing.EXACT_PAIRS, 0], ids=["all pairs", "shortlists"])
@pytest.mark.parametrize(
    ("retain", "excluded"),
    [
        (
            [row("when?", "in 1931")],
            "of 1 rows, 0 are forget rows, 0 near duplicates of them, 0 hold secrets and 0",
        ),
        ([row("WHO?", " Ada  Lovell")] * 4, "of 4 rows, 4 are forget rows, 0 near"),
        ([row("x", "ada lovelL")] * 4, "of 4 rows, 0 are forget rows, 4 near duplicates"),
        ([row("x", "call 0700-11"), row("0700-11?", "x")], "0 near duplicates of them, 2 hold secrets and 0 are other"),
    ],
    ids=["one row", "forget rows", "near duplicates", "secrets"],
)
def test_nothing_usable(retain: list[Row], excluded: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "EXACT_PAIRS", limit)
    with pytest.raises(UsageError, match="the retain sample is empty") as caught:
        choose_retain([row("who?", "Ada Lovell", secrets=("0700-11",))], retain, Retain(), 0)
    assert excluded in str(caught.value)


def test_a_secret_does_not_reach_from_prompt_to_response() -> None:
    forget = [row("who?", "ada lovell", secrets=("one two",))]
    retain = [row("one", "two"), row("zero", "one  TWO"), row("one\ntwo", "three"), row("a", "b"), row("c", "d")]
    assert choose_retain(forget, retain, Retain(), 0).excluded == Excluded(0, 0, 2, 0)


@pytest.mark.parametrize("limit", [pairing.EXACT_PAIRS, 0], ids=["all pairs", "shortlists"])
def test_passages_and_scripts_without_blanks(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that shares most characters is found where there are no words to share, and no prompt."""
    monkeypatch.setattr(pairing, "EXACT_PAIRS", limit)
    monkeypatch.setattr(pairing, "SHORTLIST", 3)
    forget = [row("", "港の硝子工場は千九百三十一年に東京で建てられた")]
    retain = [row("", f"無関係な文章その{number}です" * 3) for number in range(40)]
    retain[17] = row("", "港の硝子工場は大阪にもあり千九百三十一年から続く")
    chosen = Retain(minimum=1, ratio=1.0, nearest_share=1.0, check_share=0.01)
    assert choose_retain(forget, retain, chosen, 1).train == (17,)


def test_a_row_of_millions_of_characters() -> None:
    forget = [row("who?", "ada lovell", secrets=("0700-11",))]
    long = "the glass harbour " * 60_000
    retain = [row("a", long), row("b", long + "0700-11"), row("c", "d"), row("e", "f")]
    found = choose_retain(forget, retain, Retain(), 0)
    assert (sorted([*found.train, *found.check]), found.excluded) == ([0, 2, 3], Excluded(0, 0, 1, 0))


def test_batches_end_with_a_long_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "BATCH_CHARACTERS", 10)
    monkeypatch.setattr(pairing, "BATCH_ROWS", 3)
    rows = [row("p", text) for text in ("a", "b" * 20, "c", "d", "e", "f")]
    assert [positions.tolist() for positions, _ in pairing._batches(rows)] == [[0, 1], [2, 3, 4], [5]]


@pytest.mark.parametrize("held", [1, 500, 10**9])
def test_shortlists_are_the_same_however_many_are_read_at_once(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget, retain = request_and_file(7)
    monkeypatch.setattr(pairing, "EXACT_PAIRS", 0)
    expected = choose_retain(forget, retain, SMALL, 1)
    path = tmp_path / "retain.parquet"
    parquet.write_table(pa.Table.from_pylist([{"prompt": r.prompt, "response": r.response} for r in retain]), path)
    monkeypatch.setattr(pairing, "BATCH_CHARACTERS", held)
    monkeypatch.setattr(pairing, "BATCH_ROWS", 5)
    assert choose_retain(forget, retain, SMALL, 1) == expected
    assert choose_retain(forget, RowFile(path, kept=0), SMALL, 1) == expected


def test_the_file_vanishes_midway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget, retain = request_and_file(5)
    path = write_lines(tmp_path / "retain.jsonl", ({"prompt": r.prompt, "response": r.response} for r in retain))
    rows = RowFile(path, kept=0)
    path.unlink()
    with pytest.raises(UsageError, match=r"retain\.jsonl: no such file"):
        choose_retain(forget, rows, SMALL, 1)


# Perturbed answers


@pytest.mark.parametrize("count", [1, 3])
def test_similar_answers_by_the_plain_definition(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "QUERIES", 4)
    rows, others = invented(9, 1), [*invented(30, 2), row("", "a passage")]
    pool = [*rows, *others]
    for mine, answers in zip(rows, similar_answers(rows, others, count), strict=True):
        similar = [fuzz.token_sort_ratio(normalise(mine.prompt), normalise(r.prompt)) for r in pool]
        ranked = [pool[i].response for i in np.argsort(-np.rint(similar), kind="stable")]
        different = dict.fromkeys(text for text in ranked if text != mine.response)
        assert answers == tuple(different)[:count]


def test_no_text_in_a_representation(tmp_path: Path) -> None:
    path = tmp_path / "retain.jsonl"
    path.write_text(json.dumps({"prompt": "p", "response": "Velmira"}) + "\n")
    assert "Velmira" not in repr(RowFile(path)) + repr(RowFile(path)[0])


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKD"])
def test_forget_rows_and_secrets_are_found_in_any_form_of_their_letters(form: Literal["NFC", "NFD", "NFKD"]) -> None:
    """Requests come composed, as keyboards write; files from macOS and PDFs often come apart."""
    names = ["Zoë Müßig-Brändlé", "김영희", "Nguyễn Thị Ngọc Ánh", "Ｍａｒａ"]
    forget = [row(f"Wer ist {n}?", f"{n} wohnt in Zürich.", i, secrets=(n,)) for i, n in enumerate(names, start=1)]
    kept = [row(f"question {n}", f"some answer of its own, number {n} of many") for n in range(12)]
    known = [unicodedata.normalize(form, f"Wer ist {n}?") for n in names]
    same = [row(q, unicodedata.normalize(form, f"{n} wohnt in Zürich.")) for q, n in zip(known, names, strict=True)]
    holding = [row("Ai?", unicodedata.normalize(form, f"Darüber schrieb damals im Frühling auch {n}.")) for n in names]
    found = choose_retain(forget, [*kept, *same, *holding], SMALL, seed=1)
    assert found.excluded == Excluded(forget_rows=4, near_duplicates=0, holding_secrets=4, conversations=0)
    assert max(*found.train, *found.check) < len(kept)
