"""keygen, seal, audit and prove at the command line: exit codes, passphrases, what is printed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from forgetctl.cli.main import cli
from tests.seal.conftest import Evidence
from tests.seal.verified import request_rows, write_request

Copy = Callable[[Path], Path]
VARIABLE = "FORGETCTL_PASSPHRASE"


def forgetctl(*arguments: object, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_sound_bundle_line_by_line(sealed: Evidence) -> None:
    done = forgetctl("audit", sealed.bundle, "--key", sealed.public(sealed.officer))
    assert done.exit_code == 0
    for check in ("files", "statement", "signatures", "events", "plan", "verdict", "report"):
        assert any(line.split()[:2] == [check, "ok"] for line in done.stdout.splitlines()), check
    assert done.stdout.rstrip().endswith("Bundle: sound")


def test_every_end_has_its_exit_code(sealed: Evidence, copy_of: Copy) -> None:
    bundle, key = copy_of(sealed.bundle), sealed.public(sealed.officer)
    unmet = forgetctl("audit", bundle, "--key", sealed.public(sealed.engineer))
    assert (unmet.exit_code, unmet.stdout.rstrip().endswith("policy unmet")) == (3, True)
    plan = bundle / "plan.json"
    plan.write_text(plan.read_text().replace("0.15", "0.20"))
    broken = forgetctl("audit", bundle, "--key", key)
    assert broken.exit_code == 1
    assert "plan.json has another digest" in " ".join(broken.stdout.split())
    (bundle / "seal.json").write_text("{}")
    assert forgetctl("audit", bundle, "--key", key).exit_code == 2
    assert forgetctl("audit", bundle.parent / "nowhere", "--key", key).exit_code == 2
    assert forgetctl("audit", bundle).exit_code == 2
    assert forgetctl("audit", bundle, "--key", sealed.officer).exit_code == 2  # a private key


def test_json_of_an_audit(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    (bundle / "log.jsonl").unlink()
    done = forgetctl("audit", bundle, "--key", sealed.public(sealed.officer), "--json")
    told = json.loads(done.stdout)
    assert told["exit_code"] == done.exit_code == 1
    assert {"check": "files", "status": "broken", "text": "log.jsonl is missing"} in told["findings"]


def test_names_from_a_bundle_cannot_move_the_cursor(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    (bundle / "\x1b[2Jwiped [red]").write_text("")
    done = forgetctl("audit", bundle, "--key", sealed.public(sealed.officer))
    assert done.exit_code == 1
    assert "\x1b" not in done.stdout
    assert "[red]" in done.stdout


def test_encrypted_keys(sealed: Evidence, tmp_path: Path, copy_of: Copy) -> None:
    key = tmp_path / "key"
    made = forgetctl("keygen", "--out", key, "--encrypt", "--json", **{VARIABLE: "Quillfeather"})
    told = json.loads(made.stdout)
    assert (told["private"], told["public"], len(told["keyid"])) == (str(key), f"{key}.pub", 64)
    assert b"ENCRYPTED" in key.read_bytes()
    bundle = copy_of(sealed.bundle)
    without = forgetctl("seal", bundle, "--key", key)
    assert (without.exit_code, "needs its passphrase" in without.stderr) == (2, True)
    wrong = forgetctl("seal", bundle, "--key", key, **{VARIABLE: "other"})
    assert (wrong.exit_code, "passphrase is wrong" in wrong.stderr) == (2, True)
    assert "other" not in wrong.stderr
    assert forgetctl("seal", bundle, "--key", key, **{VARIABLE: "Quillfeather"}).exit_code == 0
    both = ("--key", sealed.public(sealed.officer), "--key", f"{key}.pub", "--threshold", 2)
    assert forgetctl("audit", bundle, *both).exit_code == 0
    assert forgetctl("keygen", "--out", tmp_path / "empty", "--encrypt", **{VARIABLE: ""}).exit_code == 2
    assert forgetctl("keygen", "--out", key).exit_code == 2


def test_a_key_for_weights(tmp_path: Path) -> None:
    told = json.loads(forgetctl("keygen", "--out", tmp_path / "w", "--weights", "--json").stdout)
    assert told["keyid"] is None
    refused = forgetctl("seal", tmp_path, "--key", tmp_path / "w")
    assert (refused.exit_code, "no Ed25519 key" in refused.stderr) == (2, True)


def test_prove(sealed: Evidence, tmp_path: Path) -> None:
    row = write_request(tmp_path / "row.jsonl", request_rows(1))
    arguments = ("prove", sealed.bundle, "--row", row, "--commit-key")
    done = forgetctl(*arguments, sealed.run.row_key_file(2))
    assert (done.exit_code, done.stdout) == (0, f"{row}:1: was in the request: row 1 of request R-1\n")
    other = forgetctl(*arguments, sealed.run.row_key_file(1))
    assert (other.exit_code, "was not in the request of this key" in other.stdout) == (1, True)
    assert json.loads(forgetctl(*arguments, sealed.run.row_key_file(1), "--json").stdout) == [
        {"row": "1", "found": False, "request": None, "request_row": None, "subject": None}
    ]
    for file in (sealed.officer, tmp_path / "nowhere"):
        assert forgetctl(*arguments, file).exit_code == 2
    for word in ("Velmira", "Who is"):
        assert word not in done.output + other.output


@pytest.mark.parametrize("out", ["run", "file", "inside"])
def test_a_bundle_never_overwrites(sealed: Evidence, tmp_path: Path, copy_of: Copy, out: str) -> None:
    run = copy_of(sealed.run.path)
    shutil.copytree(sealed.run.row_keys, tmp_path / f"{run.name}.keys")
    inside, file = "inside the run", tmp_path / "file"
    places = {"run": (run, inside), "inside": (run / "bundle", inside), "file": (file, "never overwritten")}
    file.write_text("kept")
    place, why = places[out]
    done = forgetctl("seal", run, "--key", sealed.officer, "--out", place)
    assert (done.exit_code, why in done.stderr) == (2, True)
    assert file.read_text() == "kept"
