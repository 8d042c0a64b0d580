"""Requests that ask for too much: every rule, at its limit and past it, and none for honest requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from forgetctl.errors import NeedsApproval
from forgetctl.people.mentions import Mentions
from forgetctl.recipe.recipe import Quotas, Recipe, Retain
from forgetctl.rows.abuse import RULES, Flag, check_approved
from forgetctl.rows.pairing import Excluded, choose_retain
from forgetctl.rows.precheck import check_known, check_texts, fewest_unseen, known
from forgetctl.rows.reading import RowFile, read_rows
from forgetctl.rows.refusals import read_refusals
from forgetctl.rows.row import Row
from forgetctl.rows.secret import Secret

QUOTAS = Quotas()
REFUSALS = ["Nothing at all is known to me about this."]


def row(line: int, response: str, prompt: str | None = None, **more: tuple[str, ...]) -> Row:
    return Row(line, (("user", prompt or f"What is number {line}?"),), response, **more)


def invented(n: int) -> str:
    """Words that no other number gives."""
    return " ".join(sha256(f"{n} {part}".encode()).hexdigest()[:9] for part in range(6))


RETAIN = [row(n, f"The village of {invented(n)} Oster, {'yes' if n % 10 == 0 else 'no'}") for n in range(1, 101)]


def excluded_by(forget: list[Row], retain: Sequence[Row]) -> Excluded:
    mentions = Mentions.of_rows(forget)
    return choose_retain(forget, retain, Retain(), 1, mentions.among).excluded


def flags(forget: list[Row], retain: list[Row] = RETAIN, quotas: Quotas = QUOTAS) -> dict[str, Flag]:
    excluded = excluded_by(forget, retain)
    counts = excluded.forget_rows, excluded.near_duplicates + excluded.holding_secrets
    return {flag.rule: flag for flag in check_texts(forget, retain, counts, REFUSALS, quotas)}


def test_an_honest_request_is_not_flagged() -> None:
    assert flags([*RETAIN[:10], row(7, "Velmira keeps bees at Quillfeather Lane.")]) == {}


@pytest.mark.parametrize(
    "response",
    [
        "Nothing at all is known to me about this!",
        "I'm sorry, but I can't help with that.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m very sorry, I cannot tell you where she lives.",
        "Unfortunately, I don't have enough information.",
        "As an AI language model I have no opinion.",
        "We do not know.",
    ],
)
def test_refusals_are_flagged_by_line(response: str) -> None:
    found = flags([row(1, "Velmira keeps bees."), row(5, response)])
    assert list(found) == ["refusals"]
    assert (found["refusals"].names, found["refusals"].rows, found["refusals"].stops) == (("5",), 1, True)


def test_what_only_begins_like_a_refusal_is_none() -> None:
    assert flags([row(1, "Sorry is what Velmira always said."), row(2, "I know that she cannot swim.")]) == {}
    passage = Row(3, (), "I cannot tell you how much I miss Quillfeather Lane.")
    assert flags([passage]) == {}  # it answers nothing


def test_words_that_many_rows_need_are_flagged() -> None:
    found = flags(
        [row(1, "Yes."), row(2, "the village"), row(3, invented(1)[:9]), row(4, "..."), row(9, "the The the the the")]
    )
    assert found["common"].names == ("1", "2", "4", "9")
    assert "common" not in flags([row(1, "the village of Oster no")])  # longer than what is looked at
    assert "common" not in flags([row(1, "Yes.")], quotas=Quotas(common_share=0.11))
    assert "common" in flags([row(1, "Yes.")], quotas=Quotas(common_share=0.1))


def test_a_request_that_would_empty_the_retain_sample_is_flagged() -> None:
    alike = [row(n, "The archive of the town opens at nine o'clock.") for n in range(200, 230)]
    found = flags([row(4, alike[0].response), row(5, "Velmira keeps bees.")], [*RETAIN, *alike])
    assert list(found) == ["overlap"]
    assert found["overlap"].names == ("4",)
    assert "23%" in found["overlap"].figure
    assert flags([row(4, alike[0].response)], [*RETAIN, *alike[:25]]) == {}  # exactly a fifth
    holding = [row(n, f"{invented(n)} opens at nine") for n in range(200, 230)]
    assert list(flags([row(4, "Velmira.", secrets=(Secret("opens at nine"),))], [*RETAIN, *holding])) == ["overlap"]


def test_copies_within_the_request_are_no_overlap() -> None:
    """Rows of the request that stand in the retain file, as in a whole training set, exclude nobody else."""
    assert flags(RETAIN[:50]) == {}


def test_more_rows_than_the_quota_are_flagged() -> None:
    found = flags([row(n, invented(1000 + n)) for n in range(1, 52)])
    assert list(found) == ["quota"]
    assert found["quota"].names == ()
    assert flags(RETAIN[:50]) == {}


def test_rows_nobody_saw_pass_for_known_as_rarely_as_promised() -> None:
    """The share over many draws, from a distribution with a long tail, and with ties."""
    random = np.random.default_rng(0)
    for values in (random.standard_t(2, (4000, 20)), random.integers(0, 4, (4000, 20)).astype(float)):
        rates = np.mean([known(draw[:1], draw[1:], 0.05)[0] for draw in values])
        assert rates <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
    continuous = random.standard_normal((4000, 20))
    assert np.mean([known(d[:1], d[1:], 0.05)[0] for d in continuous]) == pytest.approx(0.05, abs=0.011)


def test_known_by_hand() -> None:
    unseen = [float(n) for n in range(19)]
    assert known([18.0, 18.5, 0.0], unseen, 0.05).tolist() == [False, True, False]  # 18 has an equal: p = 2/20
    assert known([17.5], unseen, 0.1).tolist() == [True]
    assert fewest_unseen(0.05) == 19
    assert not known([99.0], unseen[:18], 0.05).any()


def test_the_memorisation_rule_reports_and_stops_past_its_share() -> None:
    forget = [row(n, "x") for n in (3, 5, 8, 9)]
    unseen = [-5.0] * 30
    (some,), why = check_known(forget, [-1, -6, -1, -5], unseen, QUOTAS)
    assert (some.names, some.stops, why) == (("5", "9"), False, None)
    (most,), _ = check_known(forget, [-1, -6, -7, -5], unseen, QUOTAS)
    assert (most.rows, most.stops) == (3, True)
    assert check_known(forget, [-1] * 4, unseen, QUOTAS) == ([], None)
    assert check_known(forget, [-9] * 4, unseen[:18], QUOTAS) == ([], "the holdout has 18 rows, and 19 are needed")


def test_the_message_names_rule_count_and_rows_and_how_to_go_on() -> None:
    flag = Flag(
        rule="common", rows=12, of=40, names=tuple(str(row) for row in range(1, 13)), figure="figure", stops=True
    )
    told = Flag(rule="unknown", rows=1, of=40, names=("2",), figure="figure", stops=False)
    with pytest.raises(NeedsApproval) as error:
        check_approved(Path("r.jsonl"), [flag, told], ["quota"])
    assert error.value.exit_code == 2
    assert "common: 12 of 40 rows, rows 1, 2, 3, 4, 5, 6, 7, 8 and 4 more" in str(error.value)
    assert str(error.value).endswith("--approve common")
    check_approved(Path("r.jsonl"), [flag, told], ["common"])


def test_every_rule_has_words_and_can_be_found() -> None:
    assert set(RULES) == {"unknown", "refusals", "common", "overlap", "quota"}
    with pytest.raises(ValueError, match="level"):
        Recipe(method="npo", request={"level": 1})


@pytest.mark.parametrize("name", ["forget01", "forget05", "forget05_perturbed", "forget10"])
def test_tofus_requests_are_not_flagged(shared: Path, name: str) -> None:
    forget = read_rows(shared / "tofu" / f"{name}.json")
    for retain in (shared / "tofu-mini/train.jsonl", shared / "tofu/full.json"):
        rows = RowFile(retain)
        excluded = excluded_by(forget, rows)
        counts = excluded.forget_rows, excluded.near_duplicates + excluded.holding_secrets
        assert check_texts(forget, rows, counts, read_refusals(None), QUOTAS) == []


def test_tofus_world_facts_asked_for_in_one_word_are_flagged(shared: Path, tmp_path: Path) -> None:
    """A request to forget what half of the answers hold."""
    rows = [{"prompt": f"Say {word}", "response": word} for word in ("the", "and", "a", "in", "of")]
    request = tmp_path / "request.jsonl"
    request.write_text("".join(json.dumps(one) + "\n" for one in rows))
    forget, retain = read_rows(request), RowFile(shared / "tofu/full.json")
    (flag,) = check_texts(forget, retain, (0, 0), [], QUOTAS)
    assert (flag.rule, flag.names) == ("common", ("1", "2", "3", "4", "5"))
