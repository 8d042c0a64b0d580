"""What `purge` destroys, what it leaves alone, and what still works afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from forgetctl.cli.main import cli
from forgetctl.errors import RunError
from forgetctl.report.report import run_report
from forgetctl.runs.events import read_chain
from forgetctl.runs.run import Run
from forgetctl.seal.audit import AuditOptions, exit_code, run_audit
from forgetctl.seal.purge import Purge, PurgeOptions, plan_purge, run_purge
from forgetctl.seal.seal import SealOptions, run_seal
from forgetctl.train.unlearn import resume_unlearn
from tests.seal.conftest import Evidence
from tests.seal.verified import verified_run, verify_again


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return verified_run(tmp_path)


def purge(options: PurgeOptions) -> Purge:
    return run_purge(plan_purge(options))


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_checkpoints_and_start_scores_go_and_nothing_else(run: Run) -> None:
    own = run.checkpoints.parent / "notes.txt"
    own.write_text("the owner's own")
    before = names(run.path.parent.parent)
    planned = plan_purge(PurgeOptions(run.path))
    assert names(run.path.parent.parent) == before
    assert purge(PurgeOptions(run.path)).targets == planned.targets == (run.checkpoints, run.start_file)
    gone = before - names(run.path.parent.parent)
    assert gone == {"runs/one/checkpoints/checkpoint-1/optimizer.pt", "runs/one/start.json"}
    assert own.read_text() == "the owner's own"


def test_the_purge_is_recorded_and_can_be_repeated(run: Run) -> None:
    purge(PurgeOptions(run.path))
    purge(PurgeOptions(run.path, keys=True))
    assert plan_purge(PurgeOptions(run.path, keys=True)).targets == ()
    everything = ["checkpoints", "start.json", "one.key", "one.keys/request-1.key", "one.keys/request-2.key"]
    events = [event.facts for event in read_chain(run.events_file.read_bytes()) if event.event == "purge"]
    assert [facts["status"] for facts in events] == ["running", "done"] * 2
    assert [facts["targets"] for facts in events[::2]] == [everything[:2], everything[2:]]
    assert [facts["removed"] for facts in events[1::2]] == [everything[:2], everything]
    assert not run.row_keys.exists()
    assert Run.open(run.path).record["stages"]["purge"]["removed"] == everything


def test_report_and_audit_work_afterwards(run: Run, sealed: Evidence) -> None:
    public = (sealed.public(sealed.officer),)
    before = run_seal(SealOptions(path=run.path, key=sealed.officer))
    purge(PurgeOptions(run.path, keys=True))
    assert exit_code(run_audit(AuditOptions(bundle=before, keys=public))) == 0
    assert "INCONCLUSIVE" in run_report(run.path, "html")[1]
    after = run_seal(SealOptions(path=run.path, key=sealed.officer, out=run.path.parent / "after"))
    assert exit_code(run_audit(AuditOptions(bundle=after, keys=public))) == 0


def test_a_verdict_whose_scores_were_purged_is_policy_unmet(run: Run, sealed: Evidence) -> None:
    purge(PurgeOptions(run.path, scores=True))
    assert not run.score_files()
    bundle = run_seal(SealOptions(path=run.path, key=sealed.officer))
    found = run_audit(AuditOptions(bundle=bundle, keys=(sealed.public(sealed.officer),)))
    assert exit_code(found) == 3
    assert "were purged" in next(finding.text for finding in found if finding.status == "policy")


def test_scores_that_vanished_without_a_purge_are_broken(run: Run, sealed: Evidence) -> None:
    run.scores_file("reference").unlink()
    with pytest.raises(RunError, match=r"scores/reference\.json belongs to such a run"):
        run_seal(SealOptions(path=run.path, key=sealed.officer))


def test_links_are_never_followed(run: Run, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    (run.checkpoints / "link").symlink_to(outside, target_is_directory=True)
    run.start_file.unlink()
    run.start_file.symlink_to(outside / "file")
    draft = run.path / ".model.draft-x6"
    draft.symlink_to(outside, target_is_directory=True)
    planned = plan_purge(PurgeOptions(run.path))
    assert planned.targets == (run.checkpoints,)
    listed = dict(planned.remaining)
    assert str(outside / "file") in listed[str(run.start_file)]
    assert str(outside) in listed[str(draft)]
    run_purge(planned)
    assert (outside / "file").read_text() == "kept"
    assert not run.checkpoints.exists()


@pytest.mark.parametrize("folder", ["scores", "tracked", "checkpoints", "keys"])
def test_a_folder_that_is_a_link_is_not_ours(run: Run, tmp_path: Path, folder: str) -> None:
    place = run.row_keys if folder == "keys" else run.path / folder
    moved = place.rename(tmp_path / "moved")
    place.symlink_to(moved, target_is_directory=True)
    before = names(moved)
    options = PurgeOptions(run.path, keys=True, scores=folder in ("scores", "tracked"))
    if folder in ("scores", "tracked"):
        with pytest.raises(RunError, match="is a link"):
            purge(options)
    else:
        purge(options)
    assert names(moved) == before
    assert place.is_symlink()


def test_files_in_our_folders_that_are_not_ours_stay(run: Run, sealed: Evidence) -> None:
    mine = run.scores_file("mine")
    mine.write_text('{"text": "Velmira"}')
    bundle = run_seal(SealOptions(path=run.path, key=sealed.officer))
    assert not (bundle / "scores" / "mine.json").exists()
    verify_again(run)
    purge(PurgeOptions(run.path, scores=True))
    assert names(mine.parent) == {"mine.json"}


def test_what_crashes_left_goes_too(run: Run) -> None:
    left = [
        run.path / ".start.json.draft-x1",
        run.path / "scores" / ".unlearned.json.draft-x2",
        run.row_keys / ".request-7.key.draft-x3",
        run.path.parent / ".one.key.draft-x4",
        run.path.parent / ".one.bundle.draft-x5" / "scores.json",
        run.path / ".model.draft-x6" / "model.safetensors",
        run.path / ".adapter-draft" / "adapter_model.safetensors",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("left")
    purge(PurgeOptions(run.path, keys=True, scores=True))
    assert not [path for path in left if path.exists()]


def test_what_cannot_be_destroyed_is_not_said_to_be_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    planned = plan_purge(PurgeOptions(run.path))
    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(PermissionError):
        run_purge(planned)
    last = read_chain(run.events_file.read_bytes())[-1]
    assert (last.event, last.facts["status"], "removed" in last.facts) == ("purge", "running", False)


def test_no_more_is_destroyed_than_was_planned(run: Run) -> None:
    planned = plan_purge(PurgeOptions(run.path))
    draft = run.path / ".model.draft-x6"
    draft.mkdir()
    run_purge(planned)
    assert draft.is_dir()


def test_what_another_command_recorded_meanwhile_is_kept(run: Run) -> None:
    planned = plan_purge(PurgeOptions(run.path))
    Run.open(run.path).stage("verify", "done", verdict="later")
    run_purge(planned)
    assert Run.open(run.path).record["stages"]["verify"]["verdict"] == "later"


def test_an_unfinished_run_is_purged_only_on_demand(run: Run) -> None:
    run.stage("unlearn", "interrupted")
    with pytest.raises(RunError, match="not finished"):
        plan_purge(PurgeOptions(run.path))
    assert run.checkpoints.is_dir()
    purge(PurgeOptions(run.path, abandon=True))
    assert not run.checkpoints.exists()
    with pytest.raises(RunError, match="abandoned"):
        resume_unlearn(run.path)


def test_what_the_owner_must_delete_is_listed(run: Run, sealed: Evidence) -> None:
    run_seal(SealOptions(path=run.path, key=sealed.officer))
    listed = dict(plan_purge(PurgeOptions(run.path)).remaining)
    inputs = run.record["inputs"]
    assert {inputs["forget"]["path"], inputs["model"]["path"], inputs["retain"]["path"]} < set(listed)
    assert {"one.bundle", "a.jsonl", str(run.row_keys)} < set(listed)
    assert any("backups" in what for what in listed)
    assert str(run.row_keys) not in dict(plan_purge(PurgeOptions(run.path, keys=True)).remaining)


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
