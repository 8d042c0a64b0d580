"""The design's directions, read off the imports: what may import what, and no circle of files; and its names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "forgetctl"
MODULES = sorted(PACKAGE.rglob("*.py"))
LOOSE = {"__init__", "__main__", "errors", "progress"}

LEAVES = {"errors", "progress", "files", "losses", "verify.statistics"}
SCORES = {*LEAVES, "recipe", "rows", "people", "model", "runs"}
EVERYTHING = {*SCORES, "train", "verify", "report", "tune", "seal", "register"}
MAY: dict[str, set[str]] = {
    "errors": set(),
    "progress": set(),
    "losses": set(),
    "verify.statistics": set(),
    "files": {"errors"},
    "register": {"errors", "files"},
    "recipe": LEAVES,
    "rows": {*LEAVES, "recipe"},
    "people": {*LEAVES, "rows"},
    "model": {*LEAVES, "recipe", "rows", "people"},
    "runs": {*LEAVES, "recipe", "rows"},
    "train": SCORES,
    "verify": {*SCORES, "train"},
    "report": {*SCORES, "train", "verify"},
    "tune": {*SCORES, "train", "verify", "report"},
    "seal": {*SCORES, "train", "verify", "report"},
    "studies": EVERYTHING,
    "demo": EVERYTHING,
    "cli": {*EVERYTHING, "studies", "demo", "__init__"},
    "__init__": {*EVERYTHING, "cli"},
    "__main__": {"cli"},
}
"""What a room may import of ours, besides itself."""

HOMES = {
    "peft": {"model/adapters.py"},
    "torch": {"losses", "model", "train", "verify", "tune", "demo", "studies", "cli"},
    "click": {"cli"},
    "rich": {"cli"},
    "sqlite3": {"register"},
    "cryptography": {"seal"},
    "securesystemslib": {"seal"},
    "rfc8785": {"files/canonical.py"},
    "jinja2": {"report", "model/templates.py", "studies/tofu/page.py"},
    "matplotlib": {"report", "studies"},
    "phonenumbers": {"people"},
    "pyarrow": {"rows", "files/decompression.py"},
    "datasets": {"rows/_hub_process.py"},
    "rapidfuzz": {"rows"},
    "yaml": {"files/plain_yaml.py", "recipe", "report", "studies/_settings.py"},
}
"""Where a library may be imported."""


HOUSE_WORDS = frozenset(
    (
        "bystander bystanders fit fits found gate gates lean lesson lessons load loads sheet sheets tell telling tells "
        "told way ways worth"
    ).split()
)
"""No names: the field has a term for each of them, or the thing has a name of its own."""
VERBS = {"load"}
"""Which a function may begin with."""
TERMS = {("model/fast/fused_layers.py", "gate")}
"""Where such a word is the field's own: SwiGLU's gate."""
BY_POSITION = {"Row"}
"""Made by the hundred, from line, context and response; its other fields take keywords alone."""
MOST_BY_POSITION = 4


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


NAMES = {name_of(path): path for path in MODULES}


@cache
def parsed(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def room(name: str) -> str:
    return "verify.statistics" if name.startswith("verify.statistics") else name.split(".")[0]


def imports(name: str) -> Iterator[str]:
    """Modules of ours that a module imports, also inside functions."""
    path = NAMES[name]
    package = path.relative_to(PACKAGE).parent.parts
    for node in parsed(path):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
        elif (node.module or "").split(".")[0] == "forgetctl":
            base = (node.module or "").split(".")[1:]
        else:
            continue
        parent = ".".join(part for part in base if part)
        for alias in node.names:
            whole = f"{parent}.{alias.name}" if parent else alias.name
            if parent or whole in NAMES:  # and not the version, which is everybody's
                yield whole if whole in NAMES else parent


def foreign(path: Path) -> set[str]:
    names = set()
    for node in parsed(path):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_only_these_modules_are_loose() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == LOOSE


@pytest.mark.parametrize("name", NAMES)
def test_imports_follow_the_design(name: str) -> None:
    assert room(name) in MAY, f"{name} is in no room of the design"
    wrong = {f"{name} -> {other}" for other in imports(name) if room(other) not in MAY[room(name)] | {room(name)}}
    assert wrong == set()


def test_private_modules_are_used_by_their_own_room_alone() -> None:
    outside = {
        (name, other)
        for name in NAMES
        for other in imports(name)
        if other.rpartition(".")[2].startswith("_") and room(name) != room(other)
    }
    assert outside == set()


def test_no_circle_of_files() -> None:
    arrows = {name: {other for other in imports(name) if other != name} for name in NAMES}
    TopologicalSorter(arrows).prepare()


@pytest.mark.parametrize(("package", "homes"), HOMES.items())
def test_a_library_has_one_home(package: str, homes: set[str]) -> None:
    users = {path.relative_to(PACKAGE).as_posix() for path in MODULES if package in foreign(path)}
    assert users
    assert {user for user in users if not any(user == home or user.startswith(f"{home}/") for home in homes)} == set()


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES} - {PACKAGE}), ids=lambda path: path.name)
def test_every_room_says_what_belongs_in_it(folder: Path) -> None:
    notes = (folder / "__init__.py").read_text()
    assert ast.get_docstring(ast.parse(notes))


def test_reports_are_made_without_torch() -> None:
    modules = [f"forgetctl.{name}" for name in NAMES if room(name) == "report"]
    script = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def is_field(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and not any(
        word in ast.unparse(node.annotation) for word in ("ClassVar", "KW_ONLY")
    )


def wide_by_position(tree: list[ast.AST]) -> set[str]:
    """Dataclasses with more fields than anybody can keep in order, their own and those of bases in the same module."""
    classes = {node.name: node for node in tree if isinstance(node, ast.ClassDef)}

    def fields(node: ast.ClassDef) -> int:
        bases = [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
        return sum(map(is_field, node.body)) + sum(map(fields, bases))

    return {
        name
        for name, node in classes.items()
        for decorator in map(ast.unparse, node.decorator_list)
        if decorator.startswith("dataclass") and "kw_only=True" not in decorator and fields(node) > MOST_BY_POSITION
    }


def declared(tree: list[ast.AST]) -> Iterator[tuple[str, set[str]]]:
    """Names of functions, classes, parameters and attributes, and those of a module itself, each in its words."""
    for node in tree:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, words(node.name) - VERBS
        elif isinstance(node, ast.arg):
            yield node.arg, words(node.arg)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, words(node.attr)
        if isinstance(node, ast.ClassDef):
            yield node.name, words(node.name)
        if isinstance(node, ast.ClassDef | ast.Module):
            for statement in node.body:
                targets = (
                    statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
                )
                for target in targets:
                    if isinstance(target, ast.Name):
                        yield target.id, words(target.id)


def words(name: str) -> set[str]:
    return set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_"))


def house_words(tree: list[ast.AST]) -> set[str]:
    return {name for name, parts in declared(tree) if parts & HOUSE_WORDS}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_names_are_words_of_the_field_and_wide_dataclasses_take_keywords(path: Path) -> None:
    terms = {name for file, name in TERMS if file == path.relative_to(PACKAGE).as_posix()}
    assert house_words(parsed(path)) == terms
    assert wide_by_position(parsed(path)) <= BY_POSITION


SEEN = """
_told = 1

@dataclass(frozen=True)
class Narrow:
    a: int
    b: int
    c: int
    none: ClassVar[int]

@dataclass(frozen=True)
class WorthSheet(Narrow):
    lean: int
    e: int

@dataclass(frozen=True, kw_only=True)
class Keywords(WorthSheet):
    f: int

def load_model(found, *, way_back): ...

def tell(self):
    self.gate = turned
"""


def test_the_scan_sees_what_it_looks_for() -> None:
    tree = list(ast.walk(ast.parse(SEEN)))
    assert house_words(tree) == {"_told", "WorthSheet", "lean", "found", "way_back", "tell", "gate"}
    assert wide_by_position(tree) == {"WorthSheet"}
