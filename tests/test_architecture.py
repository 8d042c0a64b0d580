"""The design's directions, read off the imports: cli -> jobs -> stages -> engine -> maths."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "forgetctl"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What a place may import of ours, besides itself. `errors` is for everybody.
SHARED = {
    "disk",
    "errors",
    "files",
    "layout",
    "outside",
    "strict_json",
    "rows",
    "recipe",
    "recipe_parts",
    "progress",
    "maths",
    "abuse",
    "plain_text",
}
READING = {"outside", "strict_json"}
MAY = {
    "maths": set(),
    "errors": set(),
    "abuse": set(),
    "crash": set(),
    "plain_text": set(),
    "outside": set(),
    "strict_json": {"outside"},
    "disk": set(),
    "files": {"disk", *READING},
    "layout": set(),
    "rows": {"maths"},
    "register": {"disk", "files", *READING},
    "seal": {"files", "rows", *READING},
    "progress": set(),
    "plain_yaml": set(),
    "settings": set(),
    "recipe": {"maths", "outside", "plain_yaml", "recipe_parts", "settings"},
    "recipe_parts": {"maths", "settings"},
    "run": {"disk", "files", "layout", "plain_text", "rows", "seal", *READING},
    "scores": {"maths", "tofu_logs", *READING},
    "tofu_logs": {"maths", "scores"},
    "evidence": {"maths", "scores"},
    "engine": {"disk", "files", "rows", "recipe", "maths", "scores", *READING},
    "document": {"abuse", "plain_text", "files", "layout", "maths", "recipe", "scores", *READING},
    "stages": {*SHARED, "engine", "run", "scores", "document", "evidence"},
    "demo": {"engine", "progress", "rows"},
    # The study of TOFU trains and scores language models; the others need maths alone.
    "studies": {
        "maths",
        "recipe",
        "progress",
        "engine",
        "evidence",
        "disk",
        "files",
        "layout",
        "rows",
        "run",
        "scores",
        "stages",
    },
    "jobs": {
        *SHARED,
        "__init__",
        "engine",
        "run",
        "scores",
        "stages",
        "demo",
        "console",
        "plain_text",
        "evidence",
        "document",
        "register",
        "seal",
    },
    "console": {"files", "plain_text", "progress"},
    "requests_console": {"console", "register"},
    "options": {"abuse", "console", "crash", "disk", "files", "plain_text", "recipe", "stages", "startup"},
    "startup": set(),
    "requests_cli": {"options", "console", "requests_console", "register"},
    "seal_cli": {"options", "console", "plain_text", "jobs", "stages", "seal"},
    "study_cli": {"options", "plain_text", "console", "recipe", "studies"},
    "reference_cli": {"options", "plain_text", "console", "jobs", "stages"},
    "tune_cli": {"options", "plain_text", "console", "jobs", "stages"},
    "unlearn_cli": {"options", "console", "plain_text", "startup", "recipe", "jobs", "stages"},
    "verify_cli": {"options", "console", "startup", "jobs", "stages"},
    "cli": {
        "__init__",
        "reference_cli",
        "tune_cli",
        "unlearn_cli",
        "study_cli",
        "verify_cli",
        "requests_cli",
        "seal_cli",
        "options",
        "startup",
        "plain_text",
        "console",
        "recipe",
        "jobs",
        "document",
        "stages",
        "maths",
    },
    "__init__": {"jobs", "recipe", "register", "run"},
    "__main__": {"cli"},
}


def place(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> Iterator[str]:
    """Places of ours that a module imports, also inside functions."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else ["__init__" if n.name[0] == "_" else n.name for n in node.names]
            yield from (name.split(".")[0] for name in names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "forgetctl":
            yield [*node.module.split("."), "__init__"][1]


def foreign(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_design(path: Path) -> None:
    here = place(path)
    assert here in MAY, f"{here} has no place in the design"
    assert set(imports(path)) <= MAY[here] | {"errors", here}


def test_stages_do_not_import_each_other() -> None:
    for path in (PACKAGE / "stages").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level == 1), path


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("peft", {"model/adapters.py"}),
        (
            "torch",
            {
                "engine",
                "maths",
                "jobs",
                "train/training.py",
                "verify/measuring.py",
                "train/retrain.py",
                "demo",
                "studies",
            },
        ),
        (
            "click",
            {
                "cli.py",
                "study_cli.py",
                "tune_cli.py",
                "unlearn_cli.py",
                "verify_cli.py",
                "requests_cli.py",
                "seal_cli.py",
                "options.py",
                "reference_cli.py",
            },
        ),
        ("rich", {"console.py", "requests_console.py"}),
        ("sqlite3", {"register"}),
        ("cryptography", {"seal"}),
        ("securesystemslib", {"seal"}),
        ("rfc8785", {"seal"}),
        ("jinja2", {"document", "model/templates.py", "studies/tofu/page.py"}),
        ("matplotlib", {"document", "studies/figures.py", "studies/outcome.py", "studies/tofu/figures.py"}),
        ("rapidfuzz", {"rows/likeness.py"}),
        ("yaml", {"plain_yaml.py", "recipe.py", "report/write_card.py", "report/records.py", "studies/settings.py"}),
    ],
)
def test_a_library_has_one_home(package: str, homes: set[str]) -> None:
    users = {path.relative_to(PACKAGE).as_posix() for path in MODULES if package in foreign(path)}
    assert users
    assert {user for user in users if not any(user == home or user.startswith(f"{home}/") for home in homes)} == set()
