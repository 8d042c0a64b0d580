"""One record edited between verifying and sealing, or in a sealed bundle: refused, and named by the audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgetctl.errors import RunError
from forgetctl.files.writing import file_digest
from forgetctl.runs.commitments import Part, commit_parts
from forgetctl.runs.run import Run, given_digest
from forgetctl.seal.seal import SealOptions, run_seal
from tests.seal.conftest import Evidence
from tests.seal.test_owner_tampering import chained, rewrite, seal_again
from tests.seal.verified import request_rows

Copy = Callable[[Path], Path]
OWN_KEY = bytes(32)


def run_says(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder / "run.json", change)


def pairs_say(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder / "pairs.json", change)


def other_rows(folder: Path) -> None:
    """Commitments to as many rows that were in no request, under a key of the owner's own."""
    rows = [row.answering("Somebody else lives there.") for row in request_rows()]
    content = commit_parts([Part("R-0", tuple(rows[1::2])), Part("R-1", tuple(rows[::2]))], [OWN_KEY, OWN_KEY])
    (folder / "commitments.json").write_text(json.dumps(content))


def swapped_requests(folder: Path) -> None:
    def swap(content: dict[str, Any]) -> None:
        first, second = content["requests"]
        first["rows"], second["rows"] = second["rows"], first["rows"]

    rewrite(folder / "commitments.json", swap)


def kinder_log(folder: Path) -> None:
    (folder / "log.jsonl").write_text('{"step": 1, "loss": 0.5}\n')


GIVEN = "run.json is not what the events fixed before the work began (something other than its stages)"
EDITS: list[tuple[Callable[[Path], None], str]] = [
    (other_rows, "commitments.json is not what the events fixed before the work began"),
    (swapped_requests, "commitments.json is not what the events fixed before the work began"),
    (pairs_say(lambda p: p.update(check=p["train"])), "pairs.json is not what the events fixed before the work began"),
    (kinder_log, "log.jsonl is not the log of the training that the events tell of"),
    (run_says(lambda r: r.update(requests=["R-9"])), GIVEN),
    (run_says(lambda r: r.update(created="2020-01-01T00:00:00+00:00")), GIVEN),
    (run_says(lambda r: r.update(argv=["forgetctl"])), GIVEN),
    (run_says(lambda r: r.update(seed=7)), GIVEN),
    (run_says(lambda r: r["inputs"]["forget"].update(rows=41)), GIVEN),
    (run_says(lambda r: r["inputs"]["forget"].update(commitment="hmac-sha256:" + "00" * 32)), GIVEN),
    (run_says(lambda r: r["inputs"]["retain"].update(sha256="00" * 32)), GIVEN),
    (run_says(lambda r: r["objective"]["terms"][0].update(formula="forgets all of it")), GIVEN),
    (run_says(lambda r: r["objective"]["terms"][0].update(source="a better paper")), GIVEN),
    (run_says(lambda r: r["objective"].update(formula="1 * npo")), GIVEN),
    (run_says(lambda r: r["stages"]["unlearn"].update(steps=3)), "run.json says otherwise of unlearn.steps"),
    (run_says(lambda r: r["stages"]["unlearn"].update(seconds=1)), "run.json says otherwise of unlearn.seconds"),
    (run_says(lambda r: r["stages"]["unlearn"].pop("epochs")), "run.json says otherwise of unlearn.epochs"),
    (run_says(lambda r: r["stages"]["pairing"].update(check_rows=7)), "run.json says otherwise of pairing.check_rows"),
    (run_says(lambda r: r["stages"]["verify"].update(done_at="2020")), "run.json says otherwise of verify.done_at"),
]


@pytest.mark.parametrize(("edit", "told"), EDITS)
def test_one_edited_record_is_not_sealed(
    sealed: Evidence, copy_of: Copy, edit: Callable[[Path], None], told: str
) -> None:
    run = copy_of(sealed.run.path)
    edit(run)
    with pytest.raises(RunError) as refused:
        run_seal(SealOptions(path=run, key=sealed.officer))
    assert told in str(refused.value)
    assert not Run(run).bundle.exists()


@pytest.mark.parametrize(("edit", "told"), EDITS)
def test_nor_sound_once_it_is_sealed(sealed: Evidence, copy_of: Copy, edit: Callable[[Path], None], told: str) -> None:
    bundle = copy_of(sealed.bundle)
    edit(bundle)
    seal_again(sealed, bundle)
    code, found = sealed.audit(bundle)
    assert code == 1
    assert any(told in one.text for one in found if (one.check, one.status) == ("record", "broken"))


def bind_again(bundle: Path) -> None:
    """Let the events name run.json as it now is."""
    digest = given_digest(json.loads((bundle / "run.json").read_text()))
    chained(
        bundle / "events.jsonl",
        lambda e: [x["facts"].update({"run.json": digest}) for x in e if x["event"] == "bound"],
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r["inputs"]["forget"].update(rows=41), "run.json and the commitments count different forget rows"),
        (lambda r: r.update(requests=["R-9"]), "run.json and the commitments name different requests"),
        (lambda r: r.update(seed=7), "run.json has another seed than the recipe"),
        (lambda r: r["objective"].update(method="ga"), "run.json has another method than the recipe"),
    ],
)
def test_figures_contradict_each_other_even_where_the_events_follow(
    sealed: Evidence, copy_of: Copy, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    bundle = copy_of(sealed.bundle)
    rewrite(bundle / "run.json", change)
    bind_again(bundle)
    seal_again(sealed, bundle)
    code, found = sealed.audit(bundle)
    assert (code, told in {one.text for one in found}) == (1, True)


def test_a_run_whose_events_fix_nothing_is_not_sound(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    chained(bundle / "events.jsonl", lambda e: e.remove(next(x for x in e if x["event"] == "bound")))
    seal_again(sealed, bundle)
    code, found = sealed.audit(bundle)
    assert code == 1  # the pages were drawn from the events as they were
    assert ("record", "policy") in {(one.check, one.status) for one in found}


def test_what_an_interrupted_command_could_not_write_is_no_contradiction(sealed: Evidence, copy_of: Copy) -> None:
    """A crash after the event and before run.json: the event tells more than the record, which stays sound."""
    run = Run.open(copy_of(sealed.run.path))
    before = run.record_file.read_bytes()
    run.stage("verify", "interrupted", row=3)
    run.record_file.write_bytes(before)
    done = json.loads(before)["stages"]["verify"]
    run.load_record()
    run.stage("verify", "running")
    verdict = json.loads(run.verdict_file.read_text())
    verdict["created"] = run.record["stages"]["verify"]["running_at"]
    run.verdict_file.write_text(json.dumps(verdict))
    run.stage("verify", "done", verdict=done["verdict"], verdict_sha256=file_digest(run.verdict_file))
    assert sealed.audit(run_seal(SealOptions(path=run.path, key=sealed.officer)))[0] == 0
