"""Which answers forget prompts are given, and what stays out."""

from __future__ import annotations

from collections.abc import Sequence

from forgetctl.engine.encoding import Encoded
from forgetctl.engine.stand_ins import NEAREST, make_stand_ins
from forgetctl.rows import Row


def asked(prompt: str, response: str) -> Row:
    return Row(line=1, context=(("user", prompt),), response=response)


def encode(rows: Sequence[Row]) -> list[Encoded]:
    """A letter is a token."""
    texts = [(row.prompt, row.response) for row in rows]
    return [Encoded(tuple(map(ord, prompt + answer)), len(prompt)) for prompt, answer in texts]


UNSEEN = [
    asked("Where was Ida born?", "In Oslo."),
    asked("What does Ida write?", "Poems."),
    asked("What does Bo write?", "Plays."),
    asked("Who taught Bo?", "Nobody."),
]


def text(row: Encoded) -> str:
    return "".join(map(chr, row.ids))


def test_a_forget_prompt_gets_the_answers_to_the_most_similar_unseen_prompts() -> None:
    made = make_stand_ins([asked("What does Eva write?", "Operas.")], UNSEEN, encode)
    assert [text(row) for row in made.rows[len(UNSEEN) :]] == [
        "What does Eva write?Poems.",
        "What does Eva write?Plays.",
    ]
    assert list(made.source_of) == [0, 1, 2, 3, 1, 2]


def test_every_row_has_the_answer_of_its_source() -> None:
    made = make_stand_ins([asked("Who is Eva?", "E."), asked("Where is Eva?", "F.")], UNSEEN, encode)
    assert len(made.rows) == len(UNSEEN) + 2 * NEAREST
    for row, place in zip(made.rows, made.source_of, strict=True):
        source = made.sources[place]
        assert row.ids[row.start :] == source.ids[source.start :]


def test_a_passage_has_no_prompt_to_answer() -> None:
    passage = Row(line=1, context=(), response="Eva writes operas.")
    assert list(make_stand_ins([passage], UNSEEN, encode).source_of) == [0, 1, 2, 3]


def test_an_answer_that_becomes_other_tokens_stays_out() -> None:
    def merging(rows: Sequence[Row]) -> list[Encoded]:
        """A tokenizer that joins the first letter of an answer with a question mark, but not with a full stop."""
        return [
            Encoded((*row.ids[: row.start], 1, *row.ids[row.start + 1 :]), row.start)
            if chr(row.ids[row.start - 1]) == "?"
            else row
            for row in encode(rows)
        ]

    made = make_stand_ins([asked("What does Eva write.", "Operas.")], UNSEEN, merging)
    assert list(made.source_of) == [0, 1, 2, 3]
