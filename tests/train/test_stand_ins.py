"""Which answers forget prompts are given, and what stays out."""

from __future__ import annotations

from pathlib import Path

from forgetctl.model.encoding import Encoder, encode_rows
from forgetctl.recipe.recipe import Passages
from forgetctl.rows.row import Row
from forgetctl.train.stand_ins import NEAREST, RoleRows, make_stand_ins


def asked(prompt: str, response: str) -> Row:
    return Row(line=1, context=(("user", prompt),), response=response)


UNSEEN = [
    asked("Where was Ida born?", "In Oslo."),
    asked("What does Ida write?", "Poems."),
    Row(line=3, context=(), response="Ida writes poems, and Bo writes plays that nobody has ever put on a stage."),
    asked("What does Bo write?", "Plays."),
    asked("Who taught Bo?", "Nobody."),
]


def made(encoder: Encoder, *forget: Row, context: int | None = None, window: int = 8) -> RoleRows:
    """The passage of `UNSEEN` is several windows."""
    sources, _ = encode_rows(encoder, UNSEEN, Path("unseen"), context, None, Passages(window=window))
    assert len(sources) > len(UNSEEN)
    return make_stand_ins(forget, UNSEEN, sources, encoder, (None, context))


def test_a_forget_prompt_gets_the_answers_to_the_most_similar_unseen_prompts(encoder: Encoder) -> None:
    eva = asked("What does Eva write?", "Operas.")
    found = made(encoder, eva)
    expected = [eva.answering("Poems."), eva.answering("Plays.")]
    assert list(found.rows[len(found.sources) :]) == [encoder.encode(row) for row in expected]


def test_every_row_has_the_answer_of_its_source(encoder: Encoder) -> None:
    found = made(encoder, asked("Who is Eva?", "E."), asked("Where is Eva?", "F."))
    assert len(found.rows) == len(found.source_of) == len(found.sources) + 2 * NEAREST
    for row, place in zip(found.rows, found.source_of, strict=True):
        source = found.sources[place]
        assert row.ids[row.start :] == source.ids[source.start :]


def test_unseen_rows_stand_for_themselves(encoder: Encoder) -> None:
    found = made(encoder, asked("Who is Eva?", "E."))
    assert list(found.rows[: len(found.sources)]) == list(found.sources)
    assert list(found.source_of[: len(found.sources)]) == list(range(len(found.sources)))


def test_a_passage_has_no_prompt_to_answer(encoder: Encoder) -> None:
    found = made(encoder, Row(line=1, context=(), response="Eva writes operas."))
    assert found.rows == [*found.sources]


def test_a_row_that_is_too_long_for_the_model_stays_out(encoder: Encoder) -> None:
    eva = asked("What does Eva write? " * 3, "Operas.")
    room = max(len(encoder.encode(eva.answering(answer)).ids) for answer in ("Poems.", "Plays."))
    assert len(made(encoder, eva, context=room).rows) == len(made(encoder).rows) + NEAREST
    assert len(made(encoder, eva, context=room - 1).rows) < len(made(encoder).rows) + NEAREST


def test_an_answer_that_was_cut_stays_out(encoder: Encoder) -> None:
    sources = [encoder.encode(row) for row in UNSEEN]
    cut = [type(row)(row.ids[:-1], row.start) for row in sources]
    found = make_stand_ins([asked("Who is Eva?", "E.")], UNSEEN, cut, encoder, ())
    assert found.rows == cut


def test_a_holdout_of_passages_stands_for_itself_only(encoder: Encoder) -> None:
    passages = [row for row in UNSEEN if not row.context]
    sources = [encoder.encode(row) for row in passages]
    assert make_stand_ins([asked("Who is Eva?", "E.")], passages, sources, encoder, ()).rows == sources
