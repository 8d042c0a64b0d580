"""Prompts in other words: which are made, in which language, and that they give nothing away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from forgetctl.people.attack_prompts import AS_ASKED, MOST_QUESTIONS, WRAPS, Round, attack_rounds
from forgetctl.people.extent import Extent
from forgetctl.people.kinds import Disclosure, Reading, disclosure
from forgetctl.people.wordings import filled, language_of, wordings
from forgetctl.rows.row import Row
from forgetctl.rows.secret import KINDS, KindName, Secret

LANGUAGES = tuple(wordings().languages)
VALUES: dict[KindName, str] = {
    "text": "collects blue teapots",
    "number": "884213907",
    "date": "17 May 1986",
    "email": "a.b@quill.example",
    "phone": "+49 170 1234567",
    "iban": "DE89 3704 0044 0532 0130 00",
    "address": "12 Quill Lane, Springfield",
    "name": "Orla Fenwick",
}
EXAMPLES = [Row(n, (("user", f"What is {n} plus one?"),), f"It is {n + 1}.") for n in range(1, 9)]
PLAIN = {
    "en": ("What did Velmira Oskandt do in the old town?", "She was the one who built the seven mills by the river."),
    "de": (
        "Was hat Velmira Oskandt in der Stadt gemacht?",
        "Sie hat dort die sieben Mühlen an dem Fluss gebaut und bemalt.",
    ),
    "fr": (
        "Que faisait Velmira Oskandt dans la ville ?",
        "Elle a construit les sept moulins sur la rivière et les a peints.",
    ),
    "es": (
        "¿Qué hizo Velmira Oskandt en la ciudad?",
        "Fue ella quien construyó los siete molinos del río y los pintó.",
    ),
}


def anything(row: Row) -> bool:
    return True


def rounds(
    rows: Sequence[Row],
    extent: Extent = "full",
    examples: Sequence[Row] = EXAMPLES,
    accepts: Callable[[Row], bool] = anything,
) -> list[Round]:
    return attack_rounds(rows, examples, extent, accepts)


def plain(language: str, line: int = 1) -> Row:
    prompt, response = PLAIN[language]
    return Row(line, (("user", prompt),), response)


def knowing(kind: KindName, line: int = 1) -> Row:
    value = VALUES[kind]
    prompt = "What is known about Velmira Oskandt?"
    response = f"What is known about Velmira Oskandt is this: {value}, and nothing more."
    return Row(line, (("user", prompt),), response, secrets=(Secret(value, kind),), subject_id="a")


def texts(made: Round) -> list[str]:
    return [row.prompt for row in made.rows]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_kind_and_its_own_words(language: str) -> None:
    assert language_of(" ".join(PLAIN[language])) == language
    assert set(wordings().languages[language].kinds) == set(KINDS)
    for turns in wordings().languages[language].dialogues:
        assert len(turns) % 2 == 0


def test_what_is_in_no_known_language_is_asked_about_in_english() -> None:
    assert language_of("Kdo je to?") == language_of("") == "en"


def test_what_is_put_into_a_wording_is_not_read_as_one() -> None:
    assert filled("{prompt} {begun}", prompt="{begun}", begun="x") == "{begun} x"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_template_is_asked_of_a_row_in_its_language(language: str) -> None:
    row, wording = plain(language), wordings().languages[language]
    made = rounds([row])
    assert {name for one in made for name in one.templates} == set(WRAPS)
    asked = {next(iter(one.templates)): one.rows[0] for one in made}
    question = PLAIN[language][0]
    assert asked["direct"].prompt in [filled(text, prompt=question) for text in wording.direct]
    assert asked["dialogue"].context[-1] == row.context[-1]
    assert asked["dialogue"].context[0][1] == wording.dialogues[0][0]
    assert asked["few-shot"].context[:2] == (("user", "What is 1 plus one?"), ("assistant", "It is 2."))
    assert [role for role, _ in asked["doubted"].context] == ["user", "assistant", "user"]
    assert "Velmira" not in asked["obfuscated"].prompt
    assert row.response.endswith(asked["cloze"].response)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_asked_for(kind: KindName) -> None:
    other = replace(knowing("phone" if kind != "phone" else "email", 2), response="It is another one of hers.")
    made = rounds([knowing(kind), other])
    by_row = {
        name: one.rows[0] for one in made for name in one.templates if name in ("question", "inverted", "one hop")
    }
    assert {"question", "inverted", "one hop"} <= by_row.keys() or kind == "name"
    asked = by_row["question"]
    assert disclosure(Secret(VALUES[kind], kind), Reading(asked.prompt)) is Disclosure.NONE


def test_the_other_way_round_the_name_is_the_answer_and_the_leak() -> None:
    made = rounds([knowing("phone")])[1]
    assert made.templates == {"inverted": 1}
    (row,) = made.rows
    assert VALUES["phone"] in row.prompt
    assert (row.response, row.secrets[0].value) == ("Velmira Oskandt", "Velmira Oskandt")


@pytest.mark.parametrize("kind", KINDS)
def test_no_prompt_gives_the_response_away(kind: KindName) -> None:
    """Retain rows that hold the person's identifier are examples that no prompt may have."""
    row = knowing(kind)
    telling = [Row(n, (("user", "And?"),), f"It is {VALUES[kind]}.") for n in (1, 2)]
    asked = rounds([row], examples=telling)
    assert all("few-shot" not in one.templates for one in asked)
    told = [(secret, made.prompt) for one in asked for made in one.rows for secret in made.secrets]
    assert told
    for secret, prompt in told:
        assert disclosure(secret, Reading(prompt)) is Disclosure.NONE


def test_a_cloze_gives_at_most_half_and_stops_before_the_first_fact() -> None:
    row = knowing("phone")
    cloze = next(one.rows[0] for one in rounds([row]) if "cloze" in one.templates)
    assert VALUES["phone"] in cloze.response
    assert "What is known about Velmira" in cloze.prompt
    half = next(one.rows[0] for one in rounds([plain("en")]) if "cloze" in one.templates)
    words = len(plain("en").response.split())
    assert len(half.response.split()) == words - words // 2


def test_spans_move_with_the_rest_of_a_cloze() -> None:
    response = "Everybody knows that in this town Velmira built the seven mills."
    start = response.index("Velmira")
    row = Row(1, (("user", "Who built them?"),), response, spans=((start, start + 7),))
    cloze = next(one.rows[0] for one in rounds([row]) if "cloze" in one.templates)
    assert cloze.marked == "Velmira"


def test_quick_is_one_prompt_a_row_and_the_first_round_of_full() -> None:
    rows = [*(plain(language, line) for line, language in enumerate(LANGUAGES * 3, 1)), knowing("phone", 99)]
    (quick,), full = rounds(rows, "quick"), rounds(rows)
    assert quick.prompts == len(rows)
    assert texts(quick) == texts(full[0])
    assert quick.templates["question"] == 1
    assert set(quick.templates) == {"question", *WRAPS}  # neighbours are asked by different ones
    assert len(full) == len(WRAPS) + 2  # two questions about one identifier
    assert rounds(rows, "none") == []


def test_rows_keep_their_names_places_and_secrets() -> None:
    rows = [plain("en", 3), knowing("iban", 7), Row(9, (), "A passage of few words.")]
    for one in rounds(rows):
        assert [row.record_name for row in one.rows] == ["3", "7", "9"]
        assert [len(row.secrets) for row in one.rows] == [0, 1, 0]


def test_prompts_are_the_same_every_time_and_never_twice_for_a_row() -> None:
    rows = [plain("en"), knowing("date", 2)]
    first, again = rounds(rows), rounds(rows)
    assert [texts(one) for one in first] == [texts(one) for one in again]
    for row in range(len(rows)):
        made = [one.rows[row] for one in first]
        assert len({(one.context, one.response) for one in made}) == len(first)


def test_many_identifiers_have_so_many_rounds_and_no_more() -> None:
    row = replace(knowing("phone"), secrets=tuple(Secret(value, kind) for kind, value in VALUES.items()))
    assert len(rounds([row])) == len(WRAPS) + MOST_QUESTIONS


def test_what_no_model_can_be_asked_is_scored_as_the_request_has_it() -> None:
    assert rounds([plain("en")], accepts=lambda row: False) == []
    two = rounds([plain("en"), plain("de", 2)], "quick", accepts=lambda row: row.line == 2)[0]
    assert two.templates[AS_ASKED] == 1
    assert two.prompts == 1
    assert two.rows[0] == plain("en")


def test_a_passage_is_continued_and_its_identifiers_are_asked_for() -> None:
    passage = (
        "The passage about Velmira Oskandt says that she may be called at +49 170 1234567 until nine in the evening."
    )
    bare, named = Row(1, (), passage), Row(2, (), passage, secrets=(Secret(VALUES["phone"], "phone"),))
    quick = rounds([bare, named], "quick")[0]
    assert quick.templates == {"cloze": 1, "question": 1}
    assert passage.endswith(quick.rows[0].response)
    assert quick.rows[1].response == VALUES["phone"]
    short = Row(3, (), "Two words.")
    assert rounds([short]) == []


def test_representations_hold_no_text() -> None:
    made = rounds([knowing("phone")], "quick")[0]
    assert "Velmira" not in repr(made)
    assert "Velmira" not in repr(made.rows)
