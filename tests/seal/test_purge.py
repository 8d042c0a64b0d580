"""What `purge` destroys, what it leaves alone, and what still works afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from forgetctl.cli import cli
from forgetctl.errors import RunError
from forgetctl.jobs.audit import AuditOptions, exit_code, run_audit
from forgetctl.jobs.purge import PurgeOptions, plan_purge, run_purge
from forgetctl.jobs.report import run_report
from forgetctl.jobs.seal import SealOptions, run_seal
from forgetctl.jobs.unlearn import resume_unlearn
from forgetctl.run import Run
from forgetctl.seal.events import read_chain
from tests.seal.conftest import Evidence
from tests.seal.verified import verified_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return verified_run(tmp_path)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_checkpoints_and_start_scores_go_and_nothing_else(run: Run) -> None:
    own = run.checkpoints.parent / "notes.txt"
    own.write_text("the owner's own")
    before = names(run.path.parent.parent)
    planned = plan_purge(PurgeOptions(run.path))
    assert names(run.path.parent.parent) == before
    assert run_purge(PurgeOptions(run.path)).targets == planned.targets == (run.checkpoints, run.start_file)
    gone = before - names(run.path.parent.parent)
    assert gone == {"runs/one/checkpoints/checkpoint-1/optimizer.pt", "runs/one/start.json"}
    assert own.read_text() == "the owner's own"


def test_the_purge_is_recorded_and_can_be_repeated(run: Run) -> None:
    run_purge(PurgeOptions(run.path))
    run_purge(PurgeOptions(run.path, keys=True))
    assert plan_purge(PurgeOptions(run.path, keys=True)).targets == ()
    everything = ["checkpoints", "start.json", "one.key", "one.keys/request-1.key", "one.keys/request-2.key"]
    events = [event for event in read_chain(run.events_file.read_bytes()) if event.event == "purge"]
    assert [event.facts["removed"] for event in events] == [everything[:2], everything]
    assert Run.open(run.path).record["stages"]["purge"]["removed"] == everything


def test_report_and_audit_work_afterwards(run: Run, sealed: Evidence) -> None:
    public = (sealed.public(sealed.officer),)
    before = run_seal(SealOptions(run.path, sealed.officer))
    run_purge(PurgeOptions(run.path, keys=True))
    assert exit_code(run_audit(AuditOptions(before, public))) == 0
    assert "INCONCLUSIVE" in run_report(run.path, "html")[1]
    after = run_seal(SealOptions(run.path, sealed.officer, out=run.path.parent / "after"))
    assert exit_code(run_audit(AuditOptions(after, public))) == 0


def test_a_verdict_whose_scores_were_purged_is_policy_unmet(run: Run, sealed: Evidence) -> None:
    run_purge(PurgeOptions(run.path, scores=True))
    assert not run.score_files()
    bundle = run_seal(SealOptions(run.path, sealed.officer))
    found = run_audit(AuditOptions(bundle, (sealed.public(sealed.officer),)))
    assert exit_code(found) == 3
    assert "were purged" in next(finding.text for finding in found if finding.status == "policy")


def test_scores_that_vanished_without_a_purge_are_broken(run: Run, sealed: Evidence) -> None:
    run.scores_file("reference").unlink()
    with pytest.raises(RunError, match=r"scores/reference\.json is not what the verdict rests on"):
        run_seal(SealOptions(run.path, sealed.officer))


def test_links_are_removed_and_never_followed(run: Run, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    (run.checkpoints / "link").symlink_to(outside, target_is_directory=True)
    run.start_file.unlink()
    run.start_file.symlink_to(outside / "file")
    run.model_draft.symlink_to(outside, target_is_directory=True)
    run_purge(PurgeOptions(run.path))
    assert (outside / "file").read_text() == "kept"
    assert not run.start_file.is_symlink()
    assert not run.model_draft.is_symlink()


def test_an_unfinished_run_is_purged_only_on_demand(run: Run) -> None:
    run.stage("unlearn", "interrupted")
    with pytest.raises(RunError, match="not finished"):
        plan_purge(PurgeOptions(run.path))
    assert run.checkpoints.is_dir()
    run_purge(PurgeOptions(run.path, abandon=True))
    assert not run.checkpoints.exists()
    with pytest.raises(RunError, match="abandoned"):
        resume_unlearn(run.path)


def test_what_the_owner_must_delete_is_listed(run: Run) -> None:
    listed = dict(plan_purge(PurgeOptions(run.path)).remaining)
    inputs = run.record["inputs"]
    assert {inputs["forget"]["path"], inputs["model"]["path"], inputs["retain"]["path"]} < set(listed)
    assert any("backups" in what for what in listed)


def invoke(*arguments: object, **options: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments], **options)
    return done.exit_code, done.output


def test_the_command_asks_first(run: Run) -> None:
    code, output = invoke("purge", run.path, input="n\n")
    assert code == 1
    assert str(run.checkpoints) in output
    assert run.checkpoints.is_dir()
    code, output = invoke("purge", run.path, "--dry-run")
    assert (code, run.checkpoints.is_dir()) == (0, True)
    assert "Would be destroyed" in output
    code, output = invoke("purge", run.path, "--yes", "--json")
    told = json.loads(output)
    assert told["destroyed"] == [str(run.checkpoints), str(run.start_file)]
    assert {"what", "why"} == set(told["remaining"][0])
    assert not run.checkpoints.exists()
    assert "Nothing was left" in invoke("purge", run.path, "--yes")[1]
