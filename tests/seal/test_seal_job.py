"""Sealing and its conditions: keys, two signatures, what the auditor demands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from forgetctl.errors import ForgetctlError, InputError, RunError, UsageError
from forgetctl.files.writing import read_json, write_json
from forgetctl.runs.events import read_chain
from forgetctl.runs.run import Run
from forgetctl.seal.keys import generate_key, load_public, load_signer
from forgetctl.seal.seal import SealOptions, run_seal
from forgetctl.seal.weights import generate_weights_key
from tests.seal.conftest import Evidence
from tests.seal.verified import write_model

Copy = Callable[[Path], Path]
PASSPHRASE = "Quillfeather"  # noqa: S105


@pytest.fixture
def own(sealed: Evidence, copy_of: Copy) -> Run:
    """A copy of the run, not sealed, with its keys beside it."""
    run = copy_of(sealed.run.path)
    for path in sealed.run.path.parent.iterdir():
        if path.name.endswith((".key", ".keys")):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, run.parent / path.name)
    return Run.open(run)


# Two signatures


def test_officer_and_engineer_sign_the_same_bundle(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    both = (sealed.public(sealed.officer), sealed.public(sealed.engineer))
    code, found = sealed.audit(bundle, keys=both, threshold=2)
    assert code == 3
    assert {"verdict", "report"} <= {finding.check for finding in found if finding.status == "ok"}
    assert run_seal(SealOptions(path=bundle, key=sealed.engineer)) == bundle
    code, found = sealed.audit(bundle, keys=both, threshold=2)
    assert code == 0
    assert sum(finding.check == "signatures" for finding in found) == 2
    assert sealed.audit(bundle)[0] == 0
    with pytest.raises(UsageError, match="signed with this key already"):
        run_seal(SealOptions(path=bundle, key=sealed.engineer))


def test_one_key_given_twice_is_one_signature(sealed: Evidence) -> None:
    key = sealed.public(sealed.officer)
    assert sealed.audit(keys=(key, key), threshold=2)[0] == 3


def test_nobody_signs_a_broken_bundle(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    before = (bundle / "seal.json").read_bytes()
    (bundle / "plan.json").write_text("{}")
    with pytest.raises(RunError, match=r"plan\.json has 2 bytes"):
        run_seal(SealOptions(path=bundle, key=sealed.engineer))
    assert (bundle / "seal.json").read_bytes() == before


def test_a_key_inside_the_bundle_proves_nothing(sealed: Evidence, copy_of: Copy, tmp_path: Path) -> None:
    bundle = copy_of(sealed.bundle)
    inside = bundle / "officer.pub"
    shutil.copy(sealed.public(sealed.officer), inside)
    link = tmp_path / "link.pub"
    link.symlink_to(inside)
    own = sealed.public(sealed.officer)
    for options in ({"keys": (inside,)}, {"keys": (own, link)}, {"tsa_root": inside}, {"weights_key": link}):
        code, found = sealed.audit(bundle, **options)
        assert code == 3
        assert "inside the bundle" in found[0].text


# What can be sealed


def test_the_seal_is_the_last_event_and_names_the_key(sealed: Evidence) -> None:
    events = read_chain((sealed.bundle / "events.jsonl").read_bytes())
    assert [event.event for event in events] == [
        *("created", "precheck", "frozen", "bound", "pairing", "unlearn", "unlearn", "verify", "verify", "seal")
    ]
    keyid = load_public(sealed.public(sealed.officer)).keyid
    assert events[-1].facts == {"status": "begun", "bundle": "one.bundle", "key": keyid}


def test_a_run_that_was_not_verified_is_not_sealed(own: Run, sealed: Evidence) -> None:
    own.record["stages"]["verify"]["status"] = "running"
    own.save_record()
    with pytest.raises(RunError, match="not verified"):
        run_seal(SealOptions(path=own.path, key=sealed.officer))


def test_a_run_of_before_evidence_was_kept_is_not_sealed(own: Run, sealed: Evidence) -> None:
    own.commitments_file.unlink()
    with pytest.raises(RunError, match="earlier forgetctl"):
        run_seal(SealOptions(path=own.path, key=sealed.officer))


def test_a_model_changed_after_its_verification_is_not_sealed(own: Run, sealed: Evidence) -> None:
    write_model(own.model_dir, "other weights")
    with pytest.raises(RunError, match="about another model"):
        run_seal(SealOptions(path=own.path, key=sealed.officer))
    assert not own.bundle.exists()


def test_a_tokenizer_changed_after_the_verification_is_noticed(own: Run, sealed: Evidence) -> None:
    (own.model_dir / "tokenizer.json").write_text('{"other": 1}')
    with pytest.raises(RunError, match="files of the model have changed since it was verified"):
        run_seal(SealOptions(path=own.path, key=sealed.officer))


def test_a_verdict_that_does_not_follow_is_not_sealed(own: Run, sealed: Evidence) -> None:
    verdict = read_json(own.verdict_file)
    write_json(own.verdict_file, {**verdict, "verdict": "PASS"})
    with pytest.raises(RunError, match="not the verdict that was reached last"):
        run_seal(SealOptions(path=own.path, key=sealed.officer))
    assert not own.bundle.exists()


def test_a_verdict_of_another_version_is_not_sealed(own: Run, sealed: Evidence) -> None:
    verdict = read_json(own.verdict_file)
    write_json(own.verdict_file, {**verdict, "schema": 2})
    with pytest.raises(RunError, match=rf"schema 2, this one reads 4\); verify again: forgetctl verify {own.path}"):
        run_seal(SealOptions(path=own.path, key=sealed.officer))
    assert not own.bundle.exists()


def test_what_is_not_of_the_run_stays_out(own: Run, sealed: Evidence) -> None:
    (own.path / "notes.txt").write_text("Velmira")
    (own.path / "start.json.bak").write_text("{}")
    bundle = run_seal(SealOptions(path=own.path, key=sealed.officer))
    there = {path.name for path in bundle.rglob("*")}
    assert not there & {"notes.txt", "start.json.bak", "checkpoints", "model.safetensors", ".lock", "optimizer.pt"}
    assert "start.json" not in {path.name for path in bundle.iterdir()}
    assert {path.stat().st_mode & 0o777 for path in bundle.rglob("*") if path.is_file()} == {0o600}
    with pytest.raises(UsageError, match="never overwritten"):
        run_seal(SealOptions(path=own.path, key=sealed.officer))
    again = run_seal(SealOptions(path=own.path, key=sealed.officer, out=own.path.parent / "second"))
    assert sealed.audit(again)[0] == 0


def test_a_seal_that_failed_leaves_nothing(own: Run, sealed: Evidence) -> None:
    before = {path.name for path in own.path.parent.iterdir()}
    with pytest.raises(ForgetctlError, match="no time stamp"):
        run_seal(SealOptions(path=own.path, key=sealed.officer, timestamp="http://127.0.0.1:9/"))
    assert {path.name for path in own.path.parent.iterdir()} == before


def test_two_people_may_sign_at_once(sealed: Evidence, copy_of: Copy, tmp_path: Path) -> None:
    bundle = copy_of(sealed.bundle)
    keys = [tmp_path / f"key-{number}" for number in range(4)]
    publics = [generate_key(key)[0] for key in keys]
    command = [sys.executable, "-m", "forgetctl", "seal", str(bundle), "--key"]
    signers = [subprocess.Popen([*command, str(key)], stdout=subprocess.DEVNULL) for key in keys]
    assert [signer.wait() for signer in signers] == [0] * 4
    assert sealed.audit(bundle, keys=tuple(publics), threshold=4)[0] == 0


# The model


def test_the_audit_compares_the_model(sealed: Evidence, tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_model(model, "one")
    assert sealed.audit(model=model)[0] == 0
    (model / "README.md").write_text("another card")
    assert sealed.audit(model=model)[0] == 0
    (model / "more.safetensors").write_text("")
    code, found = sealed.audit(model=model)
    assert (code, found[-1].text) == (1, "model/more.safetensors is not in the manifest")
    (model / "more.safetensors").unlink()
    for name in ("modeling_x.py", "pytorch_model.bin", "sub/model.safetensors"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("")
        assert sealed.audit(model=model)[1][-1].text == f"model/{name} is not in the manifest"
        (model / name).unlink()
    os.mkfifo(model / "pipe.json")
    with pytest.raises(InputError, match="no regular file"):
        sealed.audit(model=model)
    (model / "pipe.json").unlink()
    with pytest.raises(InputError, match="no such model directory"):
        sealed.audit(model=tmp_path / "nowhere")
    write_model(model, "two")
    assert sealed.audit(model=model)[1][-1].text == "model/model.safetensors differs"
    (model / "model.safetensors").unlink()
    assert sealed.audit(model=model)[1][-1].text == "model/model.safetensors is missing"


def test_signed_weights(own: Run, sealed: Evidence, tmp_path: Path) -> None:
    pytest.importorskip("model_signing", reason="needs the extra model-signing")
    key = tmp_path / "weights"
    public = generate_weights_key(key, PASSPHRASE)
    other = generate_weights_key(tmp_path / "other")
    bundle = run_seal(SealOptions(path=own.path, key=sealed.officer, weights_key=key, weights_passphrase=PASSPHRASE))
    assert sealed.audit(bundle)[0] == 0
    assert sealed.audit(bundle, model=own.model_dir, weights_key=public)[0] == 0
    assert sealed.audit(bundle, model=own.model_dir, weights_key=other)[0] == 1
    own.card_file.write_text("a card that was written later")
    assert sealed.audit(bundle, model=own.model_dir, weights_key=public)[0] == 0
    write_model(own.model_dir, "two")
    found = sealed.audit(bundle, model=own.model_dir, weights_key=public)[1]
    assert {finding.check for finding in found if finding.status == "broken"} == {"model", "weights"}
    assert sealed.audit(model=own.model_dir, weights_key=public)[0] == 1  # this bundle's weights are not signed
    with pytest.raises(InputError, match="P-256"):
        run_seal(SealOptions(path=own.path, key=sealed.officer, out=tmp_path / "b", weights_key=sealed.engineer))


# Keys


def test_keys_are_private_new_and_of_the_right_kind(tmp_path: Path) -> None:
    key = tmp_path / "key"
    public, keyid = generate_key(key, PASSPHRASE)
    assert key.stat().st_mode & 0o777 == 0o600
    assert load_public(public).keyid == keyid == load_signer(key, PASSPHRASE).public_key.keyid
    with pytest.raises(InputError, match="needs its passphrase"):
        load_signer(key)
    with pytest.raises(InputError, match="passphrase is wrong"):
        load_signer(key, "other")
    with pytest.raises(UsageError, match="not overwritten"):
        generate_key(key)
    plain = generate_key(tmp_path / "plain")[0].with_suffix("")
    assert load_signer(plain, PASSPHRASE).public_key.keyid != keyid  # a passphrase that is not needed does no harm
    for load, file in ((load_public, key), (load_public, plain), (load_signer, public)):
        with pytest.raises(InputError, match="key"):
            load(file)
    with pytest.raises(InputError, match="no such file"):
        load_public(tmp_path / "nowhere")
    rsa = tmp_path / "rsa"
    made = generate_private_key(65537, 2048)
    rsa.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(InputError, match="no Ed25519 key"):
        load_signer(rsa)


def test_an_audit_needs_neither_torch_nor_transformers(sealed: Evidence) -> None:
    code = (
        "import sys\nfrom forgetctl.cli.main import cli\n"
        "try:\n    cli(sys.argv[1:])\nexcept SystemExit as end:\n    code = end.code\n"
        "loaded = {'torch', 'transformers', 'peft'} & set(sys.modules)\nassert not loaded, loaded\nsys.exit(code)"
    )
    arguments = ["audit", str(sealed.bundle), "--key", str(sealed.public(sealed.officer)), "--json"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exit_code"] == 0


def test_a_bundle_without_scores_says_what_cannot_be_reached_again(sealed: Evidence, copy_of: Copy) -> None:
    run = Run(copy_of(sealed.run.path))
    bundle = run_seal(SealOptions(path=run.path, key=sealed.officer, without_scores=True))
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert not [name for name in names if name.startswith(("scores/", "tracked/"))]
    assert "verdict.json" in names
    code, found = sealed.audit(bundle)
    told = [(one.check, one.text) for one in found if one.status not in ("ok", "note")]
    count = len(run.score_files()) + len(run.tracked_files())
    why = f"it cannot be reached again, so take its figures on trust: {count} score files were left out when this was"
    assert (code, told) == (3, [("verdict", f"{why} sealed")])
    assert ("report", "ok") in {(one.check, one.status) for one in found}  # which shows no distributions either
    assert not any(read_json(bundle / "report.json")["distributions"].values())


def test_a_later_bundle_holds_the_scores_again(sealed: Evidence, copy_of: Copy) -> None:
    run = Run(copy_of(sealed.run.path))
    run_seal(SealOptions(path=run.path, key=sealed.officer, without_scores=True, out=run.path.parent / "first"))
    again = run_seal(SealOptions(path=run.path, key=sealed.officer))
    assert (sealed.audit(again)[0], (again / "scores" / "unlearned.json").is_file()) == (0, True)
