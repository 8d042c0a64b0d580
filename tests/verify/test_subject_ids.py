"""Who the people of a verdict are: read from the request, and shown to whoever has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgetctl.model.row_scorer import _subjects
from forgetctl.model.scores import ScoreSet
from forgetctl.rows.formats import Fields
from forgetctl.rows.reading import read_rows
from forgetctl.verify.checks._views import People
from forgetctl.verify.options import VerifyOptions
from forgetctl.verify.reading import GivenFiles
from forgetctl.verify.record import Verdict
from forgetctl.verify.subject_ids import content_with_ids, subject_ids
from tests.report.report_records import verdict_record
from tests.world import write_lines


@pytest.mark.parametrize(
    ("named", "ids"),
    [
        (["b", "a", "b"], ("b", "a")),
        (["b", None, "a", None, "b"], ("b", None, "a")),
        ([None, None, None], (None,)),
    ],
)
def test_ids_stand_in_the_order_of_the_numbers(named: list[str | None], ids: tuple[str | None], tmp_path: Path) -> None:
    lines = [{"prompt": f"{n}?", "response": f"{n}."} for n in range(len(named))]
    file = write_lines(
        tmp_path / "r.jsonl",
        [line | ({"subject_id": name} if name is not None else {}) for line, name in zip(lines, named, strict=True)],
    )
    assert subject_ids(VerifyOptions(model="m", forget=file, fields=Fields()), GivenFiles()) == ids
    rows = read_rows(file)
    scored = ScoreSet(
        names=[row.record_name for row in rows],
        answer_logp=[-1.0] * len(rows),
        answer_tokens=[1] * len(rows),
        subjects=_subjects(rows),
    )
    people = People.of(scored)
    assert people.count == len(ids)
    for person, name in enumerate(ids):
        assert {rows[people.rows[place]].subject_id or None for place in people.positions(person)} == {name}
        assert (person == people.unnamed) == (name is None)


def test_scores_bring_no_ids(tmp_path: Path) -> None:
    assert subject_ids(VerifyOptions(scores=tmp_path / "s.json"), GivenFiles()) == ()
    verdict = Verdict.model_validate(verdict_record())
    assert [one["subject_id"] for one in content_with_ids(verdict, ())["subjects"]] == [None, None]
    shown = content_with_ids(verdict, ("u-17", None))["subjects"]
    assert [list(one)[:2] for one in shown] == [["subject", "subject_id"]] * 2
    assert [one["subject_id"] for one in shown] == ["u-17", None]
    assert "subject_id" not in str(verdict.content())
