"""README and docs/: links lead somewhere, and every command, module, recipe key and snippet that they show is there."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import runpy
import shlex
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import click
import pytest

import forgetctl
from forgetctl.cli.main import cli
from forgetctl.recipe.recipe import load_recipe, shipped_recipes
from forgetctl.rows.reading import read_rows

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
MOST_BYTES = 7 * 1024
"""Of the README, which is read in two minutes."""
OLD_WORDS = re.compile(r"\b(bystanders?|gates?|told)\b", re.IGNORECASE)
"""House words of 0.1 for which the field has a word."""


GENERATED = {"methods.md", "commands.md"}
"""Pages made from the code."""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=named)


@cache
def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(page: Path) -> frozenset[str]:
    """What `page#...` may name: headings as code hosts and MyST spell them."""
    headings = re.findall(r"^#{1,4} +(.+?) *#*$", prose(page), flags=re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return frozenset(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain)


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        found = re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        yield from ((page, textwrap.dedent(block)) for block in found)


def broken_links(page: Path) -> Iterator[str]:
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page))):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            yield link


def commands() -> list[str]:
    """Every line that starts forgetctl in a block of shell commands."""
    text = "\n".join(block for _, block in blocks("(?:sh|console)")).replace("\\\n", " ")
    lines = (line.strip().removeprefix("$ ") for line in text.splitlines())
    return sorted({line for line in lines if line.startswith("forgetctl ")})


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len(README.read_bytes()) <= MOST_BYTES


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_a_broken_link_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page = tmp_path / "page.md"
    links = "[a](#a-heading-here) [b](#there) [c](none.md) [d](../x.md)"
    page.write_text(f"# A `heading`, here\n\n{links}\n```\n[e](x)\n```\n")
    assert list(broken_links(page)) == ["#there", "none.md", "../x.md"]


def test_every_page_is_reached_from_the_first_one_and_from_the_navigation() -> None:
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    source = ast.parse((DOCS / "conf.py").read_text())
    parts = next(
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PARTS"
    )
    assert sorted(name for part in parts.values() for name in part) == sorted(pages)
    assert set(re.findall(r"\]\(([a-z-]+)\.md", (DOCS / "index.md").read_text())) == pages
    assert set(re.findall(r"\]\(docs/([a-z-]+)\.md", README.read_text())) == pages


def test_the_readme_shows_the_main_commands() -> None:
    shown = set(re.findall(r"^forgetctl ([a-z]+)", README.read_text(), flags=re.MULTILINE))
    assert {"unlearn", "verify", "report", "seal", "audit"} <= shown


@pytest.mark.parametrize("line", commands())
def test_commands_exist(line: str) -> None:
    """Each command parses: names, options and their values; recipe keys are checked as a recipe checks them."""
    name, *arguments = shlex.split(line, comments=True)[1:]
    command = cli.commands[name]
    if isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.commands[name]
    overrides = [after for option, after in pairwise(arguments) if option == "--set"]
    context = command.make_context(name, arguments, resilient_parsing=False)
    load_recipe(method=context.params.get("method"), overrides=overrides)


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE)) <= targets


@each_page
def test_files_exist(page: Path) -> None:
    """Files of the checkout that a page names in code: `forgetctl/...`, `tests/...`, `recipes/...`."""
    if page.name == "CHANGELOG.md":
        return  # it is about the past
    places = re.findall(r"`((?:forgetctl|tests|recipes|docs)/[\w./-]*)", prose(page))
    assert [place for place in places if not (ROOT / place).exists()] == []


@each_page
def test_chosen_tests_exist(page: Path) -> None:
    """`tests/... -k words`: each word stands in the name of a test, or of a case, of that place."""
    for place, words in re.findall(r"`(tests/[\w./]+) -k \"?([\w ]+)", prose(page)):
        files = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).glob("*.py"))
        text = "".join(file.read_text() for file in files)
        assert [word for word in words.replace(" or ", " ").split() if word not in text] == [], place


@each_page
def test_modules_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return
    for name in re.findall(r"`(forgetctl(?:\.\w+)+)", prose(page)):
        if (ROOT / name).exists() or re.fullmatch(r"forgetctl\.\w*key", name):  # a file, such as forgetctl.key
            continue
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name
    for name in re.findall(r"`python -m (tests[\w.]*)", prose(page)):
        assert importlib.util.find_spec(name), name


@each_page
def test_recipe_keys_exist(page: Path) -> None:
    """Keys of the recipe's sections, such as `verify.delta`."""
    values = load_recipe(method="npo-rt", overrides=["lora.rank=16", "calibration.share=0.5"]).model_dump()
    sections = {name: set(value) for name, value in values.items() if isinstance(value, dict)}
    written = re.findall(r"`(?:--set )?([a-z]+)\.([a-z_]+)(?==|`)", prose(page))
    keys = {(section, key) for section, key in written if section in sections and key not in ("md", "py", "json")}
    assert [f"{section}.{key}" for section, key in sorted(keys) if key not in sections[section]] == []


def test_recipes_exist() -> None:
    named_recipes = {name for page in PAGES for name in re.findall(r"`(npo-rt-[a-z]+|paper/[a-z0-9-]+)`", prose(page))}
    assert named_recipes
    assert named_recipes <= set(shipped_recipes())


def test_architectures_are_those_that_are_compared() -> None:
    from tests.architectures.shapes import ALL
    from tests.architectures.test_sweep import MASKED, NO_TRAINING, UNBUILT

    text = (DOCS / "models.md").read_text()
    listed = text.partition("## Equal architectures")[2].strip().rstrip(".").split(", ")
    assert set(listed) == set(ALL) - {*MASKED, *NO_TRAINING, *UNBUILT}
    assert f"| equal | {len(listed)};" in text
    assert [name for name in (*MASKED, *UNBUILT) if name not in text.partition("## Templates")[0]] == []


def test_rows_are_rows(tmp_path: Path) -> None:
    shown = [block for page, block in blocks("json") if page.name == "requests.md"]
    assert shown
    for block in shown:
        file = tmp_path / "rows.jsonl"
        file.write_text(block)
        assert len(read_rows(file)) == len(block.splitlines())


@pytest.mark.parametrize(("page", "block"), list(blocks("python")), ids=lambda value: getattr(value, "name", ""))
def test_snippets_import_what_is_there(page: Path, block: str) -> None:
    for node in ast.parse(block).body:
        if isinstance(node, ast.ImportFrom):
            assert node.module
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize(("page", "block"), list(blocks("python")), ids=lambda value: getattr(value, "name", ""))
def test_snippets_call_what_takes_such_arguments(page: Path, block: str) -> None:
    """The package's own tour among them, which is the first snippet of library.md."""
    tour = textwrap.dedent((forgetctl.__doc__ or "").partition("work:")[2].partition("Words:")[0])
    for node in [*ast.walk(ast.parse(block)), *ast.walk(ast.parse(tour))]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in forgetctl.__all__:
            taken = inspect.signature(getattr(forgetctl, node.func.id))
            taken.bind(*node.args, **{str(keyword.arg): None for keyword in node.keywords})


def test_the_snippet_of_the_readme_runs(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, but for one epoch in place of ten at another rate."""
    places = {"llama": "model", "retrained": "reference", "train.jsonl": "remaining.jsonl"}
    for here, there in (*places.items(), ("requests.jsonl", "requests.jsonl")):
        (tmp_path / here).symlink_to(world / there)
    ((_, block),) = (pair for pair in blocks("python") if pair[0] == README)
    (tmp_path / "snippet.py").write_text(block.replace("learning_rate=1e-4", "epochs=1"))
    monkeypatch.chdir(tmp_path)
    done = runpy.run_path("snippet.py")
    assert done["page"].read_text().startswith("<!doctype html>")
    assert done["verdict"]["verdict"] in ("PASS", "FAIL", "INCONCLUSIVE")


def test_the_snippet_of_losses_runs(tmp_path: Path) -> None:
    (block,) = (block for page, block in blocks("python") if page.name == "library.md" and "backward" in block)
    (tmp_path / "snippet.py").write_text(block)
    gradient = runpy.run_path(str(tmp_path / "snippet.py"))["logp"].grad
    assert gradient.shape == (2,)
    assert (gradient > 0).all(), "descending lowers the forget rows' likelihood"


def test_schemas_are_the_code_s() -> None:
    from forgetctl.verify.record import SCHEMA

    said = {number for page in PAGES[2:] for number in re.findall(r"`verdict\.json`[^.]*\(schema (\d)\)", prose(page))}
    assert said == {str(SCHEMA)}


def test_old_words_are_gone() -> None:
    found = {
        (named(page), word)
        for page in PAGES
        if page.name not in {"CHANGELOG.md", *GENERATED}
        for word in OLD_WORDS.findall(prose(page))
    }
    assert found == set()


def test_the_changelog_begins_with_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", changelog, flags=re.MULTILINE)
    assert versions[0][0] == forgetctl.__version__
    assert [date for _, date in versions] == sorted((date for _, date in versions), reverse=True)
