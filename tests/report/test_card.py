"""The model card: what the hub reads is right, nothing private is in it, and no name can get out of its place."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token

from forgetctl.report.card import card
from forgetctl.report.render import build
from forgetctl.report.words import LIMITS, PUBLISHING
from tests.report.report_records import HELD_OUT, run_record, verdict_record, write, write_run

HOSTILE = (
    "---\nlicense: x",
    "](javascript:alert(1))",
    "<script>alert(1)</script>",
    "![x](http://a.example/x.png)",
    "x\n---\n\n# heading\n\n| a | b |\n| - | - |",
    "www.evil.example and https://evil.example",
    "`code` ~~~ {{ 7 * 7 }} {% raw %}",
    "name: [unclosed, 'quote\": &anchor *alias !!python/object:os.system",
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def made(folder: Path, **metadata: Any) -> str:
    return card(build(folder), **{"base_model": None, "license": None, **metadata})


def metadata(text: str) -> dict[str, Any]:
    """As the hub reads it."""
    return dict(ModelCard(text).data.to_dict())


def tokens(text: str) -> Iterator[Token]:
    """What a Markdown reader that allows everything makes of the text under the metadata."""
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table"]).parse(ModelCard(text).text):
        yield token
        yield from token.children or ()


def test_the_hub_reads_what_the_model_is(run_dir: Path) -> None:
    found = metadata(made(run_dir, base_model="owner/name", license="apache-2.0"))
    (model,) = found.pop("model-index")
    assert found == {
        "base_model": "owner/name",
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["unlearning", "forgetctl", "npo"],
    }
    assert model["name"] == "assistant"
    results = {part["dataset"]["name"]: part["metrics"] for part in model["results"]}
    forgotten = {metric["type"]: metric["value"] for metric in results["forget rows"]}
    assert forgotten["forget_probability"] == 0.0214
    assert {metric["type"]: metric["value"] for metric in results["rows that had to stay"]}["model_utility"] == 0.733


@pytest.mark.parametrize("place", ["/home/me/llama", "./llama", "../a/b", "llama", "a/b/c", "a/b\nlicense: x", ""])
def test_a_place_is_no_base_model(run_dir: Path, place: str) -> None:
    text = made(run_dir, base_model=place)
    assert "base_model" not in metadata(text)
    assert "The model before is" not in text


def test_it_says_what_was_found(run_dir: Path) -> None:
    codes = ("STILL_KNOWN", "DAMAGED", "DAMAGED")
    checks = [{"name": "x", "status": "fail", "about": "forgotten", "code": code, "text": "x"} for code in codes]
    skipped = {"name": "secrets", "status": "skipped", "about": "forgotten", "code": "NO_SECRETS", "text": "None."}
    write(run_dir, "verdict.json", verdict_record(checks=[*checks, skipped]))
    text = made(run_dir)
    assert "**✗ FAIL**" in text
    assert "Decided by: STILL\\_KNOWN, DAMAGED." in text
    assert "Checks: 3 failed, 1 skipped." in text
    assert "compared with: a reference model that never saw the rows." in text
    assert "gives positive evidence against the model" in text
    assert "| truth ratio | 0.258 (0.157 to 0.360) |" in text
    assert "| retain probability | 0.872 | 0.865 | 0.876 |" in text
    assert "| 0.911 | 0.021 | 0.131 |" in text
    assert "| delta. Largest distance D that is still called equal. | 0.150" in text
    assert "unlearn 37 rows on request" in text
    assert "| beta | 0.1 |" in text
    for digest in ("ab" * 32, "90" * 32, "12" * 32, "34" * 32, "ef" * 32):
        assert f"| {digest} |" in text
    assert "forgetctl audit BUNDLE --key PUB" in text


def test_before_verification_it_is_not_verified(run_dir: Path) -> None:
    (run_dir / "verdict.json").unlink()
    text = made(run_dir)
    assert "**Not verified**" in text
    assert "PASS" not in text
    assert "## Figures" not in text
    assert "model-index" not in metadata(text)
    assert all(words in text for words in (*LIMITS, PUBLISHING))


def test_it_warns_before_publishing_and_of_what_it_does_not_mean(run_dir: Path) -> None:
    text = made(run_dir)
    assert all(words in text for words in (*LIMITS, PUBLISHING))
    write(
        run_dir,
        "verdict.json",
        verdict_record(verdict="PASS", comparison=HELD_OUT),
    )
    assert "This is weaker evidence" in made(run_dir)


def test_nothing_private_is_in_it(run_dir: Path) -> None:
    """Every text of the records that an owner or a file may have named is marked, and none of them appears."""
    mark = "PRIVATE"
    record = run_record(id=mark, requests=[mark], argv=["forgetctl", mark], platform=mark)
    record["inputs"]["model"]["path"] = record["inputs"]["forget"]["path"] = mark
    record["inputs"]["forget"]["commitment"] = mark
    record["inputs"][mark] = {"name": mark, "path": mark, "sha256": mark}
    record["stages"][mark] = {"status": mark}
    write(run_dir, "run.json", record)
    verdict = verdict_record(comparison={"kind": "model", "name": mark, "others": [mark]})
    verdict["model"]["name"] = verdict["checks"][0]["text"] = mark
    verdict["checks"][1]["name"] = mark
    verdict["distances"][2]["name"] = f"answer log-prob, rephrased 1 ({mark})"
    verdict["control"][0]["name"] = verdict["noise_floor"][0]["name"] = verdict["inputs"][0]["name"] = mark
    verdict["skipped"] = [{"check": mark, "reason": mark, "source": "measuring"}]
    verdict["single_rows"] = verdict["gibberish"] = {**verdict["whole_answers"]["counted"], "names": ["2"]}
    write(run_dir, "verdict.json", verdict)
    scores = json.loads((run_dir / "scores" / "start.json").read_text())
    write(run_dir, "scores/start.json", scores | {"name": mark})
    recipe = dict.fromkeys(("description", "source", "prompt_format"), mark) | {"verify": {"affirmation": mark}}
    (run_dir / "recipe.yaml").write_text(json.dumps(recipe | {"beta": 0.1}))
    text = made(run_dir)
    assert mark not in text
    assert not re.search(r"\blines? \d", text)  # where a row stands in the request


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_gets_out_of_its_place(run_dir: Path, name: str) -> None:
    plain = made(run_dir, license="mit")
    record = run_record(versions={"forgetctl": name})
    record["inputs"]["model"]["name"] = name
    record["objective"] = {"method": name, "formula": name, "terms": []}
    record["frozen"] = {name: name}
    record["stages"].setdefault("unlearn", {"status": "done"})["left_out"] = [name]
    write(run_dir, "run.json", record)
    verdict = verdict_record(digest=name, model={"name": name, "sha256": name})
    verdict["checks"][0]["code"] = verdict["kept"][0]["name"] = name
    verdict["forget_quality"]["perturbed"] = name
    write(run_dir, "verdict.json", verdict)
    (run_dir / "recipe.yaml").write_text(
        json.dumps({"precision": name, "terms": {name: 1.0}, "lora": {"targets": [name]}})
    )
    text = made(run_dir, license=name)
    found = metadata(text)
    assert found["license"] == " ".join(name.split())
    assert set(found) == set(metadata(plain))
    assert found["tags"] == ["unlearning", "forgetctl"]
    assert found["model-index"][0]["name"] == " ".join(name.split())
    kinds = {token.type for token in tokens(text)}
    assert not kinds & {
        "html_block",
        "html_inline",
        "link_open",
        "image",
        "hr",
        "code_inline",
        "fence",
        "blockquote_open",
    }
    assert [token.tag for token in tokens(text) if token.type == "heading_open"] == [
        token.tag for token in tokens(plain) if token.type == "heading_open"
    ]
    tables = [token.type for token in tokens(text) if token.type == "table_open"]
    assert len(tables) == len([token for token in tokens(plain) if token.type == "table_open"])
    assert "://" not in text.partition("---\n\n# Model card")[2].replace("\\://", "").replace(f"    {name}", "")
    assert "www." not in text.partition("---\n\n# Model card")[2].replace(f"    {name}", "")


def test_a_card_is_made_without_torch_or_the_network(run_dir: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from pathlib import Path\n"
        "from forgetctl.report.card import card\n"
        "from forgetctl.report.records import read_records\n"
        "card(read_records(Path(sys.argv[1])), base_model='owner/name', license='mit')\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, run_dir], check=False).returncode == 0
