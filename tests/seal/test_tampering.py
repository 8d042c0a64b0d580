"""A table of tampers: whatever is done to a sealed bundle, the audit notices."""

from __future__ import annotations

import base64
import os
import shutil
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forgetctl.files.canonical import canonical, parse_object
from forgetctl.seal.bundle import MANIFEST, SEAL, seal_draft
from forgetctl.seal.keys import load_signer
from forgetctl.seal.manifest import Manifest
from tests.seal.conftest import Evidence

FILES = (
    "commitments.json events.jsonl log.jsonl manifest.json pairs.json plan.json recipe.yaml report.html report.json "
    "report.md run.json scores/start.json scores/unlearned.json scores/reference.json seal.json "
    "tracked/step-000001.json verdict.json"
).split()
CLASSES = {
    "letter": string.ascii_letters.encode(),
    "digit": string.digits.encode(),
    "blank": b" \n\t",
    "mark": b'{}[]":,.<>-=#',
}
Copy = Callable[[Path], Path]


def test_the_table_names_every_file(sealed: Evidence) -> None:
    there = {path.relative_to(sealed.bundle).as_posix() for path in sealed.bundle.rglob("*") if path.is_file()}
    assert set(FILES) <= there
    assert all(name in FILES or name.startswith(("scores/", "tracked/")) for name in there)


CHECKED = ("files", "statement", "signatures", "events", "record", "plan", "verdict", "report")


def test_the_untouched_bundle_is_sound(sealed: Evidence) -> None:
    code, found = sealed.audit()
    assert code == 0
    # The request asks for a common answer, which its owner approved.
    assert {(finding.check, finding.status) for finding in found} == {
        *(
            (name, "ok")
            for name in ("files", "statement", "signatures", "events", "record", "plan", "verdict", "report")
        ),
        ("request", "note"),
    }


def flips(data: bytes) -> Iterator[tuple[str, int]]:
    """One place of each class of bytes, the first and the last byte."""
    for name, members in CLASSES.items():
        places = [place for place, byte in enumerate(data) if byte in members]
        if places:
            yield name, places[len(places) // 2]
    yield "first", 0
    yield "last", len(data) - 1


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_byte_goes_unnoticed(sealed: Evidence, copy_of: Copy, name: str) -> None:
    bundle = copy_of(sealed.bundle)
    file = bundle / name
    original = file.read_bytes()
    for kind, place in flips(original):
        file.write_bytes(original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :])
        code, found = sealed.audit(bundle)
        assert code in (1, 2), (kind, place)
        named = name if name not in (MANIFEST, SEAL) else ""
        assert any(named in finding.text for finding in found if finding.status in ("broken", "malformed")), kind


@pytest.mark.parametrize("name", FILES)
def test_no_truncation_addition_or_loss_goes_unnoticed(sealed: Evidence, copy_of: Copy, name: str) -> None:
    bundle = copy_of(sealed.bundle)
    file = bundle / name
    original = file.read_bytes()
    half = len(original) // 2
    for changed in (b"", original[:-1], original[:half], original + b"\n", original + b"0", original * 2):
        file.write_bytes(changed)
        assert sealed.audit(bundle)[0] in (1, 2), len(changed)
    lines = original.splitlines(keepends=True)
    if len(lines) > 1:
        file.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
        assert sealed.audit(bundle)[0] in (1, 2)
    file.unlink()
    assert sealed.audit(bundle)[0] in (1, 2)


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_place_of_a_file_is_refused(sealed: Evidence, copy_of: Copy, name: str) -> None:
    bundle = copy_of(sealed.bundle)
    (bundle / name).unlink()
    (bundle / name).symlink_to(sealed.bundle / name)  # the very same bytes
    assert sealed.audit(bundle)[0] in (1, 2)


def test_nothing_can_be_added(sealed: Evidence, copy_of: Copy, tmp_path: Path) -> None:
    bundle = copy_of(sealed.bundle)
    for name in ("officer.pub", ".hidden", "scores/more.json", "timestamp.tsr", "weights.sig"):
        (bundle / name).write_bytes(b"x")
        assert sealed.audit(bundle)[0] == 1, name
        (bundle / name).unlink()
    (bundle / "empty").mkdir()
    assert sealed.audit(bundle)[0] == 1
    (bundle / "empty").rmdir()
    (bundle / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    assert sealed.audit(bundle)[0] == 1
    (bundle / "elsewhere").unlink()
    os.mkfifo(bundle / "pipe")
    assert sealed.audit(bundle)[0] == 1


@pytest.mark.parametrize("name", FILES)
def test_files_of_another_run_are_noticed(sealed: Evidence, other: Path, copy_of: Copy, name: str) -> None:
    bundle = copy_of(sealed.bundle)
    assert (bundle / name).read_bytes() != (other / name).read_bytes()
    shutil.copyfile(other / name, bundle / name)
    assert sealed.audit(bundle)[0] in (1, 2)


def test_manifest_and_seal_of_another_run_together_are_noticed(sealed: Evidence, other: Path, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    for name in (MANIFEST, SEAL):
        shutil.copyfile(other / name, bundle / name)
    assert sealed.audit(bundle)[0] == 1


# The statement and its signatures


def envelope(bundle: Path) -> dict[str, Any]:
    return parse_object((bundle / SEAL).read_bytes())


def payload(bundle: Path) -> dict[str, Any]:
    return parse_object(base64.b64decode(envelope(bundle)["payload"]))


def encoded(value: dict[str, Any]) -> str:
    return base64.b64encode(canonical(value)).decode()


def test_another_key_is_no_signature(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    manifest = Manifest.from_bytes((bundle / MANIFEST).read_bytes())
    seal_draft(bundle, manifest, payload(bundle)["predicate"], load_signer(sealed.engineer))
    code, found = sealed.audit(bundle)
    assert code == 3
    assert any("you did not give" in finding.text for finding in found)
    stolen = envelope(bundle)
    stolen["signatures"][0]["keyid"] = envelope(sealed.bundle)["signatures"][0]["keyid"]  # claims to be the officer's
    (bundle / SEAL).write_bytes(canonical(stolen))
    assert sealed.audit(bundle)[0] == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda e, p: e.update(payloadType="application/json"), 2),
        (lambda e, p: e.update(signatures=[]), 2),
        (lambda e, p: e.update(more=1), 2),
        (lambda e, p: e["signatures"][0].update(more=1), 2),
        (lambda e, p: e["signatures"].append(e["signatures"][0]), 2),
        (lambda e, p: e.update(payload=e["payload"] + "===="), 2),
        (lambda e, p: e.update(payload=e["payload"][:8] + "\n" + e["payload"][8:]), 2),
        (lambda e, p: e.update(payload=encoded({**p, "_type": "https://in-toto.io/Statement/v0.1"})), 2),
        (lambda e, p: e.update(payload=encoded({**p, "predicateType": "urn:other"})), 2),
        (lambda e, p: e.update(payload=encoded({**p, "subject": [*p["subject"], p["subject"][0]]})), 2),
        (lambda e, p: e.update(payload=encoded({**p, "predicate": {**p["predicate"], "run": "other"}})), 1),
        (lambda e, p: e.update(payload=encoded({**p, "predicate": {**p["predicate"], "verdict": "FAIL"}})), 1),
        (lambda e, p: e.update(payload=encoded({**p, "subject": p["subject"][1:]})), 1),
    ],
)
def test_changed_envelopes(sealed: Evidence, copy_of: Copy, change: Any, code: int) -> None:
    bundle = copy_of(sealed.bundle)
    value = envelope(bundle)
    change(value, payload(bundle))
    (bundle / SEAL).write_bytes(canonical(value))
    assert sealed.audit(bundle)[0] == code


@pytest.mark.parametrize("name", [MANIFEST, SEAL])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text[:-1] + ',"schema":1,"payloadType":"x","payloadType":"y"}', "key twice"),
        (lambda text: text[:-1] + ',"x":NaN}', "NaN"),
        (lambda text: text.replace(",", ", ", 1), "canonical"),
        (lambda text: "[" + text + "]", "not a JSON object"),
        (lambda text: "[" * 100_000, "nested too deeply"),
        (lambda text: text + "\ud800", "UTF-8"),
    ],
)
def test_json_of_another_spelling_is_malformed(
    sealed: Evidence, copy_of: Copy, name: str, change: Callable[[str], str], why: str
) -> None:
    bundle = copy_of(sealed.bundle)
    text = (bundle / name).read_text()
    (bundle / name).write_bytes(change(text).encode("utf-8", "surrogatepass"))
    code, found = sealed.audit(bundle)
    assert code == 2
    assert why in found[0].text
    assert found[0].text.startswith(name)


@pytest.mark.parametrize(
    "path", ["../run.json", "/etc/passwd", "a/../run.json", "a//b", "a\\b", "a\nb", "", ".", "run.json\x00"]
)
def test_a_manifest_cannot_name_files_elsewhere(sealed: Evidence, copy_of: Copy, path: str) -> None:
    bundle = copy_of(sealed.bundle)
    value = parse_object((bundle / MANIFEST).read_bytes())
    value["files"][0]["path"] = path
    (bundle / MANIFEST).write_bytes(canonical({**value, "files": sorted(value["files"], key=lambda e: e["path"])}))
    assert sealed.audit(bundle)[0] == 2
