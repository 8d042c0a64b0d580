"""What each objective does, in its own docstring's words, without torch: reports are made where there is none.

What a run says of its loss is text that whoever signs it could change; these are the words of the code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def summaries() -> dict[str, str]:
    """The first paragraph of the docstring of every function that `batch.objective` registers, by its name."""
    return {
        function.name: first_paragraph(ast.get_docstring(function) or "")
        for path in sorted(Path(__file__).parent.glob("*.py"))
        for function in _objectives(ast.parse(path.read_text(encoding="utf-8")))
    }


def first_paragraph(docstring: str) -> str:
    """On one line."""
    return " ".join(docstring.split("\n\n")[0].split())


def _objectives(module: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and any(map(_registers, node.decorator_list)):
            yield node


def _registers(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and isinstance(name := decorator.func, ast.Name) and name.id == "objective"
