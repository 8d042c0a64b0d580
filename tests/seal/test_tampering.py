"""A table of tampers: whatever is done to a sealed bundle, the audit notices."""

from __future__ import annotations

import base64
import json
import os
import shutil
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetctl.files import write_bytes
from forgetctl.seal.bundle import MANIFEST, SEAL, seal_draft
from forgetctl.seal.canonical import canonical, parse_object, sha256
from forgetctl.seal.events import FIRST
from forgetctl.seal.keys import load_signer
from forgetctl.seal.manifest import Manifest, entries
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


def test_the_untouched_bundle_is_sound(sealed: Evidence) -> None:
    code, found = sealed.audit()
    assert code == 0
    assert {finding.status for finding in found} == {"ok"}
    assert {finding.check for finding in found} == {
        *("files", "statement", "signatures", "events", "plan", "verdict", "report")
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
    file.write_bytes(original)
    assert sealed.audit(bundle)[0] == 0


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
    if (bundle / name).read_bytes() == (other / name).read_bytes():
        assert name.startswith(("scores/", "tracked/", "pairs", "recipe", "log"))  # alike in both, so nothing to swap
        return
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
        (lambda text: "[" * 100_000, "not JSON"),
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


# What an owner who holds the key might try: the files are changed and sealed again, as they should be


def seal_again(sealed: Evidence, bundle: Path) -> None:
    old = Manifest.from_bytes((bundle / MANIFEST).read_bytes())
    files = [path for path in bundle.rglob("*") if path.is_file() and path.name not in (MANIFEST, SEAL)]
    manifest = Manifest(old.run, old.created, old.forgetctl, entries(bundle, files), old.model)
    predicate = payload(bundle)["predicate"]
    write_bytes(bundle / MANIFEST, manifest.to_bytes())
    seal_draft(bundle, manifest, predicate, load_signer(sealed.officer))


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def chained(file: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Rewrite events and mend their chain."""
    events = [json.loads(line) for line in file.read_text().splitlines()]
    change(events)
    previous, lines = FIRST, []
    for number, event in enumerate(events, 1):
        lines.append(canonical({**event, "n": number, "previous": previous}))
        previous = sha256(lines[-1])
    file.write_bytes(b"".join(line + b"\n" for line in lines))


def follow(bundle: Path) -> None:
    """Let the events name the verdict as it now is."""
    digest = sha256((bundle / "verdict.json").read_bytes())
    chained(
        bundle / "events.jsonl",
        lambda e: [x["facts"].update(verdict_sha256=digest) for x in e if "verdict_sha256" in x["facts"]],
    )


def flip_verdict(bundle: Path) -> None:
    now = json.loads((bundle / "verdict.json").read_text())["verdict"]
    rewrite(bundle / "verdict.json", lambda v: v.update(verdict="FAIL" if now != "FAIL" else "PASS"))
    follow(bundle)


def better_figure(bundle: Path) -> None:
    rewrite(bundle / "verdict.json", lambda v: v.update(forget_probability=v["forget_probability"] * 0.999))
    follow(bundle)


def drop_check(bundle: Path) -> None:
    rewrite(bundle / "verdict.json", lambda v: v["checks"].pop())
    follow(bundle)


def better_scores(bundle: Path) -> None:
    rewrite(bundle / "scores" / "unlearned.json", lambda s: s["sets"]["forget"]["answer_logp"].__setitem__(0, -9.0))


def better_scores_named(bundle: Path) -> None:
    better_scores(bundle)
    digest = sha256((bundle / "scores" / "unlearned.json").read_bytes())
    rewrite(bundle / "verdict.json", lambda v: v["basis"]["scores"].update(unlearned=digest))
    follow(bundle)


def drop_reference(bundle: Path) -> None:
    (bundle / "scores" / "reference.json").unlink()


def loosen_plan(bundle: Path) -> None:
    rewrite(bundle / "plan.json", lambda p: p["bounds"].update(delta=0.2))


def loosen_plan_and_record(bundle: Path) -> None:
    loosen_plan(bundle)
    digest = sha256((bundle / "plan.json").read_bytes())
    rewrite(bundle / "run.json", lambda r: r["frozen"].update({"plan.json": digest}))


def loosen_plan_everywhere(bundle: Path) -> None:
    """Also in the events: only the verdict, which used the old bounds, gives it away."""
    loosen_plan_and_record(bundle)
    digest = sha256((bundle / "plan.json").read_bytes())
    chained(
        bundle / "events.jsonl",
        lambda e: [x["facts"].update({"plan.json": digest}) for x in e if x["event"] == "frozen"],
    )


def freeze_late(bundle: Path) -> None:
    chained(
        bundle / "events.jsonl", lambda e: e.append(e.pop(next(i for i, x in enumerate(e) if x["event"] == "frozen")))
    )


def freeze_twice(bundle: Path) -> None:
    chained(bundle / "events.jsonl", lambda e: e.append(next(x for x in e if x["event"] == "frozen")))


def drop_event(bundle: Path) -> None:
    lines = (bundle / "events.jsonl").read_bytes().splitlines(keepends=True)
    (bundle / "events.jsonl").write_bytes(b"".join([*lines[:2], *lines[3:]]))


def drop_last_verification(bundle: Path) -> None:
    chained(
        bundle / "events.jsonl", lambda e: e.pop(next(i for i, x in enumerate(e) if "verdict_sha256" in x["facts"]))
    )


def other_model(bundle: Path) -> None:
    rewrite(bundle / "verdict.json", lambda v: v["model"].update(sha256="00" * 32))
    follow(bundle)


def kinder_report(bundle: Path) -> None:
    rewrite(bundle / "report.json", lambda r: r["verdict"].update(verdict="PASS", checks=[]))


def kinder_page(bundle: Path) -> None:
    page = bundle / "report.html"
    page.write_text(page.read_text().replace("INCONCLUSIVE", "PASS"))


def kinder_ticket(bundle: Path) -> None:
    page = bundle / "report.md"
    page.write_text(page.read_text().replace("INCONCLUSIVE", "PASS"))


def drop_page(bundle: Path) -> None:
    (bundle / "report.html").unlink()


def other_run_id(bundle: Path) -> None:
    rewrite(bundle / "run.json", lambda r: r.update(id="another"))


def twice_in_verdict(bundle: Path) -> None:
    file = bundle / "verdict.json"
    file.write_text(file.read_text().rstrip()[:-1] + ',"verdict":"PASS","verdict":"PASS"}')
    follow(bundle)


@pytest.mark.parametrize(
    ("tamper", "check", "code"),
    [
        (flip_verdict, "verdict", 1),
        (better_figure, "verdict", 1),
        (drop_check, "verdict", 1),
        (better_scores, "verdict", 1),
        (better_scores_named, "verdict", 1),
        (drop_reference, "verdict", 1),
        (loosen_plan, "plan", 1),
        (loosen_plan_and_record, "plan", 1),
        (loosen_plan_everywhere, "verdict", 1),
        (freeze_late, "plan", 1),
        (freeze_twice, "plan", 1),
        (drop_event, "events", 1),
        (drop_last_verification, "verdict", 1),
        (other_model, "verdict", 1),
        (kinder_report, "report", 1),
        (kinder_page, "report", 1),
        (kinder_ticket, "report", 1),
        (drop_page, "report", 1),
        (other_run_id, "events", 1),
        (twice_in_verdict, "files", 2),
    ],
)
def test_an_owner_with_the_key_cannot_change_the_outcome(
    sealed: Evidence, copy_of: Copy, tamper: Callable[[Path], None], check: str, code: int
) -> None:
    bundle = copy_of(sealed.bundle)
    tamper(bundle)
    seal_again(sealed, bundle)
    got, found = sealed.audit(bundle)
    assert got == code
    assert check in {finding.check for finding in found if finding.status not in ("ok", "note")}


def test_sealing_again_changes_nothing_by_itself(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    seal_again(sealed, bundle)
    assert sealed.audit(bundle)[0] == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9**19) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
RECORDS = (
    "run.json",
    "verdict.json",
    "plan.json",
    "commitments.json",
    "scores/unlearned.json",
    "scores/reference.json",
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value; of a list its first item stands for all."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_stands_in_a_record_the_audit_ends_with_a_finding(
    sealed: Evidence, tmp_path: Path, data: st.DataObject
) -> None:
    bundle = tmp_path / "fuzzed"
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(sealed.bundle, bundle)
    file = bundle / data.draw(st.sampled_from(RECORDS))
    content = json.loads(file.read_text())
    path = data.draw(st.sampled_from(list(places(content))[1:]))
    value = data.draw(JSON)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    unchanged = json.dumps(inner[path[-1]]) == json.dumps(value)
    inner[path[-1]] = value
    file.write_text(json.dumps(content))
    follow(bundle)
    seal_again(sealed, bundle)
    code, found = sealed.audit(bundle)
    assert code in ((0,) if unchanged else (0, 1, 2, 3))
    assert found
