"""Ways to deceive those who read a bundle, by its signer or by somebody with the files: refused, or told by `audit`."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from forgetctl.cli.main import cli
from forgetctl.errors import InputError, RunError, UsageError
from forgetctl.files.canonical import canonical
from forgetctl.files.entries import model_entries
from forgetctl.files.writing import ModelFiles, model_digest
from forgetctl.runs.run import Run
from forgetctl.seal.bundle import SEAL
from forgetctl.seal.keys import generate_key, load_signer
from forgetctl.seal.seal import SealOptions, run_seal
from forgetctl.tune.tune import run_tune
from tests.seal.conftest import Evidence
from tests.seal.test_owner_tampering import follow, rewrite, seal_again
from tests.seal.verified import verified_run
from tests.world import untrained_model

Copy = Callable[[Path], Path]
PATHS = '<path d="M 0 0 L 9 9" style="fill: none"/>'


def page(change: Callable[[str], str], name: str = "report.html") -> Callable[[Path], None]:
    def tamper(bundle: Path) -> None:
        file = bundle / name
        before = file.read_bytes().decode()
        after = change(before)
        assert after != before, "the page no longer has what is to be changed"
        file.write_bytes(after.encode())

    return tamper


def swapped(text: str) -> str:
    """The first two plots in each other's places."""
    first, second = text.split("<svg ")[1].split("</svg>")[0], text.split("<svg ")[2].split("</svg>")[0]
    return text.replace(first, "\0").replace(second, first).replace("\0", second)


def without_first(text: str) -> str:
    begin, end = text.index("<svg "), text.index("</svg>") + len("</svg>")
    return text[:begin] + text[end:]


def last_plot(more: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        place = text.rindex("</svg>")
        return text[:place] + more + text[place:]

    return change


@pytest.mark.parametrize(
    "tamper",
    [
        page(lambda t: t.replace("<meta http", '<svg><script>document.title="PASS"</script></svg><meta http', 1)),
        page(lambda t: "<svg></svg>" + t),
        page(lambda t: t + "<svg></svg>"),
        page(lambda t: t.replace("<main", f'<svg viewBox="0 0 1 1">{PATHS}</svg><main', 1)),
        page(lambda t: t.replace("</main>", "<svg></svg></main>")),
        page(lambda t: t.replace("</figcaption>", "</figcaption><svg></svg>", 1)),
        page(lambda t: t.replace("<svg ", "<svg><p>PASS</p></svg><svg ", 1)),
        page(last_plot("<foreignObject><p>PASS</p></foreignObject>")),
        page(last_plot("<script>document.title='PASS'</script>")),
        page(last_plot('<image href="https://example.org/pass.svg"/>')),
        page(last_plot("<text>PASS</text>")),
        page(last_plot("<svg></svg>")),
        page(last_plot("</svg><p>PASS</p><svg>")),
        page(last_plot("<!-- --!><p>PASS</p><!-- -->")),
        page(lambda t: t.replace("<svg ", '<svg onload="x()" ', 1)),
        page(lambda t: t.replace("<svg ", '<svg style="position:fixed;inset:0" ', 1)),
        page(lambda t: t.replace("</svg>", "", 1)),
        page(swapped),
        page(without_first),
        page(lambda t: t.replace("\n", "\r\n")),
        page(lambda t: "\N{ZERO WIDTH NO-BREAK SPACE}" + t),
        page(lambda t: "<svg>\n\n**Verdict: PASS**\n\n</svg>\n" + t, "report.md"),
        page(lambda t: t + "\n<svg></svg>\n", "report.md"),
        page(lambda t: t.replace("## 2", "<svg><text>PASS</text></svg>\n\n## 2", 1), "report.md"),
        page(lambda t: t.rstrip("\n"), "report.md"),
    ],
)
def test_a_page_is_whole_what_the_records_give(sealed: Evidence, copy_of: Copy, tamper: Callable[[Path], None]) -> None:
    bundle = copy_of(sealed.bundle)
    tamper(bundle)
    seal_again(sealed, bundle)
    code, found = sealed.audit(bundle)
    assert code == 1
    assert {finding.check for finding in found if finding.status == "broken"} == {"report"}


def test_a_plot_that_another_version_drew_is_told_and_no_fault(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    page(last_plot(PATHS))(bundle)
    seal_again(sealed, bundle)
    code, found = sealed.audit(bundle)
    assert code == 0
    (told,) = [finding for finding in found if finding.check == "report"]
    assert told.status == "note"
    assert "their lines were not" in told.text


TEMPLATE = "{{ messages[0].content }}"


@pytest.fixture
def model(tmp_path: Path, sealed: Evidence) -> Path:
    """The sealed model, elsewhere."""
    return Path(shutil.copytree(sealed.run.model_dir, tmp_path / "elsewhere" / "model"))


def hidden_file(model: Path) -> str:
    (model / ".chat_template.jinja").write_text(TEMPLATE)
    return ".chat_template.jinja"


def hidden_folder(model: Path) -> str:
    (model / ".t").mkdir()
    (model / ".t" / "x.jinja").write_text(TEMPLATE)
    return ".t/x.jinja"


def linked_folder_within(model: Path) -> str:
    hidden_folder(model)
    (model / "additional_chat_templates").symlink_to(".t")
    return "additional_chat_templates/x.jinja"


def linked_folder_outside(model: Path) -> str:
    outside = model.parent / "outside" / "deeper"
    outside.mkdir(parents=True)
    (outside / "x.jinja").write_text(TEMPLATE)
    (model / "additional_chat_templates").symlink_to(outside.parent, target_is_directory=True)
    return "additional_chat_templates/deeper/x.jinja"


def linked_file(model: Path) -> str:
    (model.parent / "template").write_text(TEMPLATE)
    (model / "chat_template.jinja").symlink_to(model.parent / "template")
    return "chat_template.jinja"


@pytest.mark.parametrize("add", [hidden_file, hidden_folder, linked_folder_within, linked_folder_outside, linked_file])
def test_links_and_hidden_files_are_files_of_a_model(sealed: Evidence, model: Path, add: Callable[[Path], str]) -> None:
    before = sealed.audit(model=model)
    assert before[0] == 0
    name = add(model)
    code, found = sealed.audit(model=model)
    assert code == 1
    assert f"model/{name} is not in the manifest" in {finding.text for finding in found if finding.check == "model"}


def test_what_a_link_leads_to_is_sealed_and_a_change_of_it_is_named(tmp_path: Path) -> None:
    run = verified_run(tmp_path)
    key = tmp_path / "key"
    generate_key(key)
    template = tmp_path / "outside" / "x.jinja"
    template.parent.mkdir()
    template.write_text(TEMPLATE)
    (run.model_dir / "additional_chat_templates").symlink_to(template.parent)
    with pytest.raises(RunError, match="files of the model have changed since it was verified"):
        run_seal(SealOptions(path=run.path, key=key))
    digest = model_digest(run.model_dir)
    (run.model_dir / "additional_chat_templates").unlink()
    bundle = run_seal(SealOptions(path=run.path, key=key))
    assert model_digest(run.model_dir) == digest  # of weights and config, as runs have recorded it ever since
    assert Evidence(tmp_path, run, bundle, key, key).audit(model=run.model_dir)[0] == 0


def test_a_snapshot_of_the_hubs_cache_is_the_model_it_links_to(sealed: Evidence, model: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "1"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.copyfile(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert sealed.audit(model=snapshot)[0] == 0
    assert model_entries(snapshot) == model_entries(model)
    assert model_digest(snapshot) == model_digest(model)
    (snapshot / "config.json").resolve().write_text("{ }")
    _, found = sealed.audit(model=snapshot)
    assert "model/config.json differs" in {finding.text for finding in found}


@pytest.mark.parametrize("place", ["self", "sub/above", "sub/further/above"])
def test_links_in_a_circle_are_refused(model: Path, place: str) -> None:
    (model / place).parent.mkdir(parents=True, exist_ok=True)
    (model / place).symlink_to(model, target_is_directory=True)
    with pytest.raises(InputError, match="is a link to a folder that it lies in"):
        model_entries(model)


def test_links_cannot_make_any_number_of_files_out_of_a_few(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forgetctl.files.writing.MOST_FILES", 1000)
    folders = [model / f"level{number}" for number in range(16)]
    for folder in folders:
        folder.mkdir()
    for folder, deeper in pairwise(folders):
        for name in ("a", "b"):
            (folder / name).symlink_to(deeper, target_is_directory=True)
    (folders[-1] / "file").write_text("x")
    with pytest.raises(InputError, match="holds more than 1000 files"):
        model_entries(model)


def test_folders_in_one_another_have_a_limit(model: Path) -> None:
    (model / "/".join("d" * 40)).mkdir(parents=True)
    with pytest.raises(InputError, match="folders deep"):
        model_entries(model)


def test_a_link_to_nothing_and_a_name_that_nobody_sees_are_refused(model: Path) -> None:
    (model / "gone.json").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"gone\.json: is no regular file"):
        model_entries(model)
    (model / "gone.json").unlink()
    (model / "a\nb.json").write_text("{}")
    with pytest.raises(InputError, match="has a name that no record can hold"):
        model_entries(model)


def swap_by_renaming(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(file.read_bytes()[::-1])
    shutil.copystat(file, other)
    other.replace(file)


def swap_and_swap_back(file: Path) -> None:
    aside = file.rename(file.with_name("aside"))
    file.write_bytes(b"x")
    aside.replace(file)


def write_in_place(file: Path) -> None:
    status = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"!")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def link_instead(file: Path) -> None:
    file.symlink_to(file.rename(file.parents[1] / "kept"))


@pytest.mark.parametrize("change", [swap_by_renaming, swap_and_swap_back, write_in_place, link_instead, Path.unlink])
def test_any_change_of_a_file_shows_without_reading_it(change: Callable[[Path], object], model: Path) -> None:
    for file in model.iterdir():
        os.utime(file, ns=(10**18, 10**18))
    files = ModelFiles.of(model)
    files.check()
    time.sleep(0.02)  # the clock of a file system ticks every few milliseconds
    change(model / "model.safetensors")
    with pytest.raises(RunError, match=r"model\.safetensors was changed while the model was in use"):
        files.check()


def test_an_added_file_shows_and_the_card_does_not(model: Path) -> None:
    files = ModelFiles.of(model)
    (model / "README.md").write_text("another verdict")
    files.check()
    hidden_folder(model)
    with pytest.raises(RunError, match=r"\.t/x\.jinja was changed"):
        files.check()


def test_a_file_is_read_once_for_as_long_as_it_stays(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forgetctl.files import writing as files

    file, read = model / "model.safetensors", []
    plain = files.file_digest
    monkeypatch.setattr(files, "file_digest", lambda path: read.append(path) or plain(path))
    monkeypatch.setattr(files, "SETTLED", -1.0)
    first = model_digest(model)
    assert model_digest(model) == first
    assert read.count(file) == 1
    swap_by_renaming(file)
    assert model_digest(model) != first
    assert read.count(file) == 2


def test_a_file_that_was_just_written_is_read_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes within a tick of the file system's clock have the same time."""
    from forgetctl.files import writing as files

    read: list[Path] = []
    plain = files.file_digest
    monkeypatch.setattr(files, "file_digest", lambda path: read.append(path) or plain(path))
    (model / "config.json").write_text("{}")
    model_digest(model)
    model_digest(model)
    assert read.count(model / "config.json") == 2


def test_run_and_verdict_must_name_one_model(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    rewrite(bundle / "run.json", lambda r: r["stages"]["unlearn"].update(model_sha256="11" * 32))
    seal_again(sealed, bundle)
    _, found = sealed.audit(bundle)
    assert "it is about another model than the one that run.json names" in {finding.text for finding in found}


def test_nor_may_a_verification_name_another(sealed: Evidence, copy_of: Copy) -> None:
    def verified_only(record: dict[str, Any], digest: str) -> None:
        record["kind"] = "verify"
        record["inputs"]["model"]["sha256"] = digest
        record["stages"].pop("unlearn")

    judged = json.loads((sealed.bundle / "verdict.json").read_text())["model"]["sha256"]
    for digest, told in ((judged, False), ("11" * 32, True)):
        bundle = copy_of(sealed.bundle)
        rewrite(bundle / "run.json", lambda r, d=digest: verified_only(r, d))
        follow(bundle)
        seal_again(sealed, bundle)
        _, found = sealed.audit(bundle)
        assert told == ("it is about another model than the one that run.json names" in {one.text for one in found})
        shutil.rmtree(bundle)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_is_never_taken_for_a_run_nor_written_in(sealed: Evidence, copy_of: Copy, tmp_path: Path) -> None:
    bundle, request = copy_of(sealed.bundle), sealed.folder / "request.jsonl"
    link = tmp_path / "link"
    link.symlink_to(bundle)
    before, model = content(bundle), untrained_model(tmp_path / "model")
    for command in (
        ("purge", bundle, "--scores", "--keys", "--yes"),
        ("purge", bundle, "--dry-run"),
        ("unlearn", "--resume", bundle),
        ("unlearn", "--resume", f"{bundle}/."),
        ("unlearn", "--resume", link),
        ("unlearn", "--model", bundle, "--forget", request),
        ("unlearn", "--model", model, "--forget", request, "--out", bundle / "run"),
        ("verify", bundle),
        ("verify", bundle, "--force", "--reference", model),
        ("verify", "--model", model, "--forget", request, "--also", bundle),
        ("verify", "--model", model, "--forget", request, "--out", bundle),
        ("verify", "--model", model, "--forget", request, "--out", bundle / "scores" / "run"),
        ("report", bundle),
        ("report", bundle, "--md"),
        ("seal", sealed.run.path, "--key", sealed.officer, "--out", bundle / "again"),
        ("seal", sealed.run.path, "--key", sealed.officer, "--out", link / "again"),
        ("keygen", "--out", bundle / "key"),
        ("reference", "--base", model, "--retain", request, "--out", bundle),
        ("merge", "--base", model, "--adapter", model, "--out", bundle / "merged"),
        ("study", "theorem2", "--out", bundle),
        ("demo", "--out", bundle / "demo"),
        ("requests", "add", "--register", bundle / "register.sqlite", "R-1", "--jurisdiction", "gdpr"),
    ):
        ended = CliRunner().invoke(cli, [str(part) for part in command])
        assert ended.exit_code == 2, command
        assert "is a sealed bundle" in ended.output, command
        assert content(bundle) == before, command
    assert sealed.audit(bundle)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([bundle.name, "link", "model"])


@pytest.mark.parametrize("missing", ["seal.json", "manifest.json"])
def test_nor_is_one_that_lost_its_seal(sealed: Evidence, copy_of: Copy, missing: str) -> None:
    bundle = copy_of(sealed.bundle)
    (bundle / missing).unlink()
    with pytest.raises(UsageError, match="is a sealed bundle, not a run"):
        Run.open(bundle)


def test_tune_writes_in_no_bundle(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    with pytest.raises(UsageError, match="in which nothing may be written"):
        run_tune(None, None, None, bundle / "trials")  # type: ignore[arg-type]  # refused before it looks at them


def test_a_run_beside_other_peoples_manifests_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    assert Run.create(tmp_path / "runs" / "one", {"kind": "unlearn"}).record["id"] == "one"


def with_signature(bundle: Path, *entries: dict[str, str]) -> None:
    value = json.loads((bundle / SEAL).read_text())
    names = {entry["keyid"] for entry in entries}
    value["signatures"] = [one for one in value["signatures"] if one["keyid"] not in names] + list(entries)
    (bundle / SEAL).write_bytes(canonical(value))


def forged_by(key: Path) -> dict[str, str]:
    """A signature in somebody's name, without the key."""
    return {"keyid": load_signer(key).public_key.keyid, "sig": base64.b64encode(b"0" * 64).decode()}


def test_a_signature_that_nobody_verified_is_called_so(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    with_signature(bundle, forged_by(sealed.engineer))
    code, found = sealed.audit(bundle)
    assert code == 0
    told = [finding for finding in found if finding.check == "signatures" and finding.status != "ok"]
    keyid = forged_by(sealed.engineer)["keyid"][:16]
    why = "you did not give that key, so it cannot be verified and counts for nothing"
    expected = [("note", f"an unverified signature in the name of key {keyid}: {why}")]
    assert [(one.status, one.text) for one in told] == expected
    both = (sealed.public(sealed.officer), sealed.public(sealed.engineer))
    assert sealed.audit(bundle, keys=both)[0] == 1
    assert sealed.audit(bundle, keys=both[1:])[0] == 1


def test_a_forged_signature_keeps_nobody_from_signing(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    with_signature(bundle, forged_by(sealed.engineer))
    run_seal(SealOptions(path=bundle, key=sealed.engineer))
    both = (sealed.public(sealed.officer), sealed.public(sealed.engineer))
    code, found = sealed.audit(bundle, keys=both, threshold=2)
    assert code == 0
    assert len([one for one in found if one.check == "signatures" and one.status == "ok"]) == 2
    with pytest.raises(UsageError, match="is signed with this key already"):
        run_seal(SealOptions(path=bundle, key=sealed.engineer))


@pytest.mark.parametrize("keyid", ["", "a\nBundle: sound", "\x1b[2K", "\u202e", "x" * 129])
def test_the_id_of_a_key_is_plain_text(sealed: Evidence, copy_of: Copy, keyid: str) -> None:
    bundle = copy_of(sealed.bundle)
    with_signature(bundle, {"keyid": keyid, "sig": "AAAA"})
    assert sealed.audit(bundle)[0] == 2


def der(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of the values that stand one after another, by X.690 8.1."""
    while data:
        tag, size, begin = data[0], data[1], 2
        if size & 0x80:
            begin += size & 0x7F
            size = int.from_bytes(data[2:begin], "big")
        yield tag, data[begin : begin + size]
        data = data[begin + size :]


@pytest.mark.parametrize("weights", [False, True])
def test_a_passphrase_costs_as_much_as_it_should(tmp_path: Path, weights: bool) -> None:
    from forgetctl.seal.weights import generate_weights_key

    key = tmp_path / "key"
    (generate_weights_key if weights else generate_key)(key, "correct horse")
    body = b"".join(key.read_bytes().splitlines()[1:-1])
    ((_, whole),) = der(base64.b64decode(body))
    (_, algorithm), _ = der(whole)
    (_, scheme), (_, parameters) = der(algorithm)
    assert scheme.hex() == "2a864886f70d01050d"  # 1.2.840.113549.1.5.13, PBES2
    (_, derivation), (_, cipher) = der(parameters)
    (_, function), (_, costs) = der(derivation)
    assert function.hex() == "2b06010401da47040b"  # 1.3.6.1.4.1.11591.4.11, scrypt
    (_, salt), *numbers = der(costs)
    assert len(salt) >= 16
    n, r, p = (int.from_bytes(number, "big") for _, number in numbers)
    assert n * r * p >= 2**14 * 8 * 5  # OWASP's least
    assert next(der(cipher))[1].hex() == "60864801650304012a"  # 2.16.840.1.101.3.4.1.42, AES-256 in CBC


def test_an_encrypted_key_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    key = tmp_path / "key"
    _, keyid = generate_key(key, "pässword")
    assert load_signer(key, "pässword").public_key.keyid == keyid
    for wrong in ("password", None):
        with pytest.raises(InputError):
            load_signer(key, wrong)


def test_keys_that_were_encrypted_before_still_open(tmp_path: Path) -> None:
    key = tmp_path / "old"
    private = Ed25519PrivateKey.generate()
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"old")))
    assert load_signer(key, "old").public_key.keyid


def test_weights_in_the_hubs_cache_can_be_signed(tmp_path: Path, model: Path) -> None:
    pytest.importorskip("model_signing", reason="needs the extra model-signing")
    from forgetctl.seal.weights import check_weights, generate_weights_key, sign_weights

    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for file in model.iterdir():
        (snapshot / file.name).symlink_to(file)
    public = generate_weights_key(tmp_path / "key")
    sign_weights(snapshot, tmp_path / "signature", tmp_path / "key")
    assert check_weights(snapshot, tmp_path / "signature", public)
    assert check_weights(model, tmp_path / "signature", public)
    (model / "model.safetensors").write_text("other")
    assert not check_weights(snapshot, tmp_path / "signature", public)
