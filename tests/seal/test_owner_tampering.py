"""What an owner who holds the key might try: the files are changed and sealed again, as they should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetctl import __version__
from forgetctl.files.canonical import canonical, sha256
from forgetctl.files.entries import entries
from forgetctl.files.writing import write_bytes
from forgetctl.runs.events import FIRST
from forgetctl.seal.bundle import MANIFEST, SEAL, seal_draft
from forgetctl.seal.keys import load_signer
from forgetctl.seal.manifest import Manifest
from tests.seal.conftest import Evidence

Copy = Callable[[Path], Path]


def seal_again(sealed: Evidence, bundle: Path, predicate: dict[str, Any] | None = None, **changes: str) -> None:
    """Seal with the officer's key, as `forgetctl seal` would, but whatever is there."""
    old = Manifest.from_bytes((sealed.bundle / MANIFEST).read_bytes())
    files = [path for path in bundle.rglob("*") if path.is_file() and path.name not in (MANIFEST, SEAL)]
    values = {"run": old.run, "created": old.created, "forgetctl": old.forgetctl, **changes}
    manifest = Manifest(**values, files=entries(bundle, files), model=old.model)
    verdict = json.loads((sealed.bundle / "verdict.json").read_text())["verdict"]
    said = {"run": values["run"], "verdict": verdict, "forgetctl": values["forgetctl"]}
    write_bytes(bundle / MANIFEST, manifest.to_bytes())
    seal_draft(bundle, manifest, said if predicate is None else predicate, load_signer(sealed.officer))


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
    """Let the events and run.json name the verdict as it now is."""
    digest = sha256((bundle / "verdict.json").read_bytes())
    stages = json.loads((bundle / "run.json").read_text()).get("stages")
    if isinstance(stages, dict) and isinstance(stage := stages.get("verify"), dict):
        rewrite(bundle / "run.json", lambda r: r["stages"].update(verify={**stage, "verdict_sha256": digest}))
    chained(
        bundle / "events.jsonl",
        lambda e: [x["facts"].update(verdict_sha256=digest) for x in e if "verdict_sha256" in x["facts"]],
    )


def flip_verdict(bundle: Path) -> None:
    now = json.loads((bundle / "verdict.json").read_text())["verdict"]
    rewrite(bundle / "verdict.json", lambda v: v.update(verdict="FAIL" if now != "FAIL" else "PASS"))
    follow(bundle)


def better_figure(bundle: Path) -> None:
    def change(verdict: dict[str, Any]) -> None:
        verdict["models"]["unlearned"]["forget_probability"] *= 0.999

    rewrite(bundle / "verdict.json", change)
    follow(bundle)


def better_distance(bundle: Path) -> None:
    rewrite(bundle / "verdict.json", lambda v: v["distances"][0]["distance"].update(upper=0.001))
    follow(bundle)


def weaker_comparison(bundle: Path) -> None:
    """Told as evidence from other rows, though the scores of a reference are there."""
    rewrite(bundle / "verdict.json", lambda v: v["comparison"].update(kind="holdout"))
    follow(bundle)


def another_excuse(bundle: Path) -> None:
    """For what no score shows, so that the verdict cannot contradict it."""

    def excuse(verdict: dict[str, Any]) -> None:
        next(one for one in verdict["skipped"] if one["source"] == "measuring").update(reason="nobody could know")

    rewrite(bundle / "verdict.json", excuse)
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


def better_rank(bundle: Path) -> None:
    rewrite(bundle / "verdict.json", lambda v: v["exposure"]["secrets"][0].update(rank=99))
    follow(bundle)


def better_place_named(bundle: Path) -> None:
    """A secret that stands lower than it did, and the digest of that."""
    file = bundle / "scores" / "unlearned.json"
    rewrite(file, lambda s: s["sets"]["forget"]["exposure"]["rows"][0][0].update(secret=-1.0))
    digest = sha256(file.read_bytes())
    rewrite(bundle / "verdict.json", lambda v: v["basis"]["scores"].update(unlearned=digest))
    follow(bundle)


def quieter_samples(bundle: Path) -> None:
    """A count of answers that leak is altered, and named as it then is."""
    file = bundle / "scores" / "unlearned.json"
    rewrite(file, lambda s: s["sets"]["forget"]["elicited"]["sampled"]["leaked"].__setitem__(0, 3))
    digest = sha256(file.read_bytes())
    rewrite(bundle / "verdict.json", lambda v: v["basis"]["scores"].update(unlearned=digest))
    follow(bundle)


def fewer_facts(bundle: Path) -> None:
    """The same of the fact tokens that are first choices."""
    file = bundle / "scores" / "unlearned.json"
    rewrite(file, lambda s: s["sets"]["forget"]["facts"]["first_choices"].__setitem__(0, 0.1))
    digest = sha256(file.read_bytes())
    rewrite(bundle / "verdict.json", lambda v: v["basis"]["scores"].update(unlearned=digest))
    follow(bundle)


def smaller_leaks(bundle: Path) -> None:
    rewrite(bundle / "verdict.json", lambda v: v["leak_at_k"][0]["unlearned"]["chances"][0].update(worst=0.001))
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


def forget_the_flag(bundle: Path) -> None:
    rewrite(bundle / "run.json", lambda r: r["stages"]["precheck"].update(flags=[]))


def forget_to_have_looked(bundle: Path) -> None:
    rewrite(bundle / "run.json", lambda r: r["stages"].pop("precheck"))


def never_approved(bundle: Path) -> None:
    rewrite(bundle / "run.json", lambda r: r["stages"]["precheck"].update(approved=[]))
    chained(
        bundle / "events.jsonl",
        lambda e: [x["facts"].update(approved=[]) for x in e if x["event"] == "precheck"],
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
        (better_distance, "verdict", 1),
        (weaker_comparison, "verdict", 1),
        (another_excuse, "report", 1),
        (drop_check, "verdict", 1),
        (better_scores, "verdict", 1),
        (better_scores_named, "verdict", 1),
        (better_rank, "verdict", 1),
        (better_place_named, "verdict", 1),
        (quieter_samples, "verdict", 1),
        (fewer_facts, "verdict", 1),
        (smaller_leaks, "verdict", 1),
        (drop_reference, "verdict", 1),
        (loosen_plan, "plan", 1),
        (loosen_plan_and_record, "plan", 1),
        (loosen_plan_everywhere, "verdict", 1),
        (freeze_late, "plan", 1),
        (freeze_twice, "plan", 1),
        (drop_event, "events", 1),
        (drop_last_verification, "verdict", 1),
        (forget_the_flag, "request", 1),
        (forget_to_have_looked, "request", 1),
        (never_approved, "request", 1),
        (other_model, "verdict", 1),
        (kinder_report, "report", 1),
        (kinder_page, "report", 1),
        (kinder_ticket, "report", 1),
        (drop_page, "files", 1),
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
    # Where something is broken, nothing that rests on it is called fine.
    assert "report" not in {finding.check for finding in found if finding.status == "ok"}


def test_sealing_again_changes_nothing_by_itself(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    seal_again(sealed, bundle)
    assert sealed.audit(bundle)[0] == 0


def test_what_the_owner_approved_is_told(sealed: Evidence) -> None:
    told = [finding.text for finding in sealed.audit(sealed.bundle)[1] if finding.check == "request"]
    assert told == ["flagged: common, 1 of 40 rows; the owner approved it"]


# Contents that contradict each other, though every digest is right


def predicate(**changes: Any) -> Callable[[Evidence, Path], None]:
    def tamper(sealed: Evidence, bundle: Path) -> None:
        verdict = json.loads((bundle / "verdict.json").read_text())["verdict"]
        said = {"run": "one", "verdict": verdict, "forgetctl": __version__, **changes}
        seal_again(sealed, bundle, said)

    return tamper


def text(name: str, change: Callable[[str], str]) -> Callable[[Evidence, Path], None]:
    def tamper(sealed: Evidence, bundle: Path) -> None:
        file = bundle / name
        file.write_text(change(file.read_text()))
        seal_again(sealed, bundle)

    return tamper


def record(name: str, change: Callable[[Any], object]) -> Callable[[Evidence, Path], None]:
    def tamper(sealed: Evidence, bundle: Path) -> None:
        rewrite(bundle / name, change)
        if name == "verdict.json":
            follow(bundle)
        seal_again(sealed, bundle)

    return tamper


def happened(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Evidence, Path], None]:
    def tamper(sealed: Evidence, bundle: Path) -> None:
        chained(bundle / "events.jsonl", change)
        seal_again(sealed, bundle)

    return tamper


def added(name: str) -> Callable[[Evidence, Path], None]:
    def tamper(sealed: Evidence, bundle: Path) -> None:
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text("{}")
        seal_again(sealed, bundle)

    return tamper


def removed(name: str) -> Callable[[Evidence, Path], None]:
    def tamper(sealed: Evidence, bundle: Path) -> None:
        (bundle / name).unlink()
        seal_again(sealed, bundle)

    return tamper


def drop_precision(sealed: Evidence, bundle: Path) -> None:
    """A check at another precision vanishes with its scores left behind."""

    def change(verdict: dict[str, Any]) -> None:
        for role in ("start", "unlearned", "reference"):
            del verdict["basis"]["scores"][f"{role}-nf4"]

    record("verdict.json", change)(sealed, bundle)


def of(events: list[dict[str, Any]], name: str, status: str | None = None) -> dict[str, Any]:
    found = [event for event in events if event["event"] == name and status in (None, event["facts"].get("status"))]
    return found[-1]


@pytest.mark.parametrize(
    "tamper",
    [
        predicate(verdict="PASS"),
        predicate(forgetctl="9.9"),
        predicate(run="two"),
        predicate(certified=True),
        happened(lambda e: of(e, "frozen").update(facts={})),
        happened(lambda e: of(e, "frozen")["facts"].pop("recipe.yaml")),
        happened(lambda e: of(e, "verify", "done")["facts"].update(verdict="PASS")),
        happened(lambda e: of(e, "unlearn", "done")["facts"].update(status="interrupted")),
        happened(lambda e: [e.remove(event) for event in list(e) if event["event"] == "unlearn"]),
        happened(lambda e: e.pop(0)),
        happened(lambda e: of(e, "unlearn", "done")["facts"].update(model_sha256="00" * 32)),
        happened(lambda e: e[0].update(time="yesterday")),
        text("recipe.yaml", lambda t: t.replace("delta: 0.15", "delta: 0.2")),
        text("recipe.yaml", lambda t: "a: &a [x]\nb: *a\n"),
        text("recipe.yaml", lambda t: t + "seed: 1\n"),
        text("log.jsonl", lambda t: t.replace('{"step"', '{"step": 1, "step"')),
        text("scores/unlearned.json", lambda t: t.replace('"name"', '"name": "x", "name"', 1)),
        text("commitments.json", lambda t: t.replace('"request"', '"request": null, "request"', 1)),
        record("run.json", lambda r: r["stages"]["verify"].update(verdict="PASS")),
        record("run.json", lambda r: r["inputs"]["model"].update(sha256="11" * 32)),
        record("run.json", lambda r: r.update(frozen={})),
        record("run.json", lambda r: r["stages"].pop("unlearn")),
        record("verdict.json", lambda v: v["inputs"][1].update(sha256="11" * 32)),
        record("verdict.json", lambda v: v["basis"]["tracked"].pop("2")),
        record("verdict.json", lambda v: v["basis"].update(model=None)),
        record("verdict.json", lambda v: v["subjects"][3].update(verdict="NOT_KNOWN")),
        record("verdict.json", lambda v: v["subjects"][3]["share_left"].update(high=0.01)),
        record("verdict.json", lambda v: v["subjects"][3]["views"][0]["left"].update(share=0.01)),
        record("verdict.json", lambda v: v["subjects"].pop()),
        record("commitments.json", lambda c: c["requests"][0].update(request="Velmira Oskandt")),
        record("commitments.json", lambda c: c["requests"][0]["rows"][0].update(text="Velmira")),
        record("commitments.json", lambda c: c["requests"][0]["rows"][0].update(hmac="short")),
        record("pairs.json", lambda p: p.update(train=["Velmira"])),
        drop_precision,
        *map(added, ("notes.txt", "start.json", "officer.pub", "scores/mine.json", "checkpoints/optimizer.pt")),
        *map(removed, ("commitments.json", "recipe.yaml", "pairs.json", "log.jsonl", "tracked/step-000002.json")),
    ],
)
def test_contents_that_contradict_each_other(
    sealed: Evidence, copy_of: Copy, tamper: Callable[[Evidence, Path], None]
) -> None:
    bundle = copy_of(sealed.bundle)
    tamper(sealed, bundle)
    assert sealed.audit(bundle)[0] in (1, 2)


OTHER_START = "the run began with another model than run first made"


@pytest.mark.parametrize(("made", "told"), [(("11", "ab"), False), (("ab", "11"), True), (("ab", None), True)], ids=str)
def test_a_run_begins_where_the_last_of_its_lineage_ended(
    made: tuple[str | None, ...], told: bool, sealed: Evidence, copy_of: Copy
) -> None:
    bundle = copy_of(sealed.bundle)
    lineage = [{"run": "first", **({"model_sha256": digest} if digest else {})} for digest in made]
    record("run.json", lambda r: r.update(lineage=lineage))(sealed, bundle)
    _, found = sealed.audit(bundle)
    assert (OTHER_START in {finding.text for finding in found}) == told


def test_pages_of_another_version_are_not_taken_on_trust(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    kinder_page(bundle)
    seal_again(sealed, bundle, forgetctl="0.0.9")
    assert sealed.audit(bundle)[0] == 3
    code, found = sealed.audit(bundle, other_version=True)
    assert code == 0
    assert "0.0.9" in next(finding.text for finding in found if finding.check == "report")


def test_the_clock_may_go_back_and_is_told(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    happened(lambda e: e[0].update(time="2999-01-01T00:00:00+00:00"))(sealed, bundle)
    (bundle / "report.html").write_bytes((bundle / "report.html").read_bytes())
    found = sealed.audit(bundle)[1]
    assert any(finding.status == "note" and "clock" in finding.text for finding in found)


@pytest.mark.parametrize(
    "tamper",
    [
        record("scores/unlearned.json", lambda s: s.update(sets={})),
        record("scores/unlearned.json", lambda s: s["sets"].pop("forget")),
        record("scores/unlearned.json", lambda s: s["sets"]["forget"]["answer_tokens"].__setitem__(0, 10**40)),
        text("scores/unlearned.json", lambda t: t.replace("-", "-1e999", 1)),
        record("run.json", lambda r: r["stages"]["unlearn"].update(steps=0)),
        record("run.json", lambda r: r.update(stages=5)),
        record("run.json", lambda r: r.update(inputs=[])),
        record("run.json", lambda r: r["stages"]["unlearn"].update(more=deep(400))),
        record("verdict.json", lambda v: v["basis"]["scores"].pop("unlearned-nf4")),
        record("verdict.json", lambda v: v["basis"]["scores"].pop("unlearned")),
        record("verdict.json", lambda v: v["basis"]["scores"].update({"x" * 5000: "00"})),
        record("verdict.json", lambda v: v["basis"]["scores"].update({"reference-/../../../outside": "00"})),
        record("verdict.json", lambda v: v.update(basis=None)),
        record("verdict.json", lambda v: v.update(kl=[])),
        record("verdict.json", lambda v: v.update(secrets=[])),
        record("verdict.json", lambda v: v["basis"].pop("rephrased")),
        record("verdict.json", lambda v: v["inputs"][0].update(rows=True)),
        text("verdict.json", lambda t: t.rstrip()[:-1] + ', "more": ' + "[" * 5000 + "]" * 5000 + "}"),
        record("plan.json", lambda p: p["bounds"].update(delta="0.15")),
        record("plan.json", lambda p: p["bounds"].update(delta=5e-324)),
        record("plan.json", lambda p: p.update(bounds={"other": 1})),
        record("commitments.json", lambda c: c["requests"][0]["rows"][0].update(line=1e300)),
        *(text("recipe.yaml", lambda t, tag=tag: f"seed: {tag}") for tag in ("!!bool x", '!!int ""', "!!timestamp x")),
        text("recipe.yaml", lambda t: "a: [" + "x, " * 300_000 + "]"),
        text("recipe.yaml", lambda t: "[" * 100_000),
    ],
)
def test_hostile_contents_end_with_a_finding(
    sealed: Evidence, copy_of: Copy, tamper: Callable[[Evidence, Path], None]
) -> None:
    bundle = copy_of(sealed.bundle)
    tamper(sealed, bundle)
    assert sealed.audit(bundle)[0] in (1, 2)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("schema", [1, 2, 3, 5])
def test_a_bundle_of_another_version_must_be_verified_again(schema: int, sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    record("verdict.json", lambda v: v.update(schema=schema))(sealed, bundle)
    code, found = sealed.audit(bundle)
    assert code == 2
    (told,) = [finding.text for finding in found if finding.status == "malformed"]
    assert told == (
        f"verdict.json: was written by another version of forgetctl (schema {schema}, this one reads 4); "
        "verify the run again, and seal it again"
    )


def test_contents_that_nobody_trusted_signed_are_not_read(sealed: Evidence, copy_of: Copy) -> None:
    bundle = copy_of(sealed.bundle)
    record("verdict.json", lambda v: v.update(basis=None))(sealed, bundle)
    code, found = sealed.audit(bundle, keys=(sealed.public(sealed.engineer),))
    assert code == 3
    assert not [finding for finding in found if finding.status in ("broken", "malformed")]
    assert {finding.check for finding in found if "not checked" in finding.text} == {
        "events",
        "record",
        "plan",
        "verdict",
        "report",
    }


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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    inner[path[-1]] = value
    file.write_text(json.dumps(content))
    follow(bundle)
    now, before = (json.loads((folder / file.relative_to(bundle)).read_text()) for folder in (bundle, sealed.bundle))
    unchanged = json.dumps(now) == json.dumps(before)
    seal_again(sealed, bundle)
    code, found = sealed.audit(bundle)
    free = file.name == "commitments.json"  # other commitments of the right shape contradict nothing
    assert code in ((0,) if unchanged else (0, 1, 2) if free else (1, 2))
    assert found
