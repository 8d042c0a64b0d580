"""`forgetctl methods` and `forgetctl recipes`: what an unlearning run can be made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ._options import common, json_option

if TYPE_CHECKING:
    from .terminal import TerminalProgress


@click.command()
@click.option("--md", "as_markdown", is_flag=True, help="Print the tables as Markdown.")
@json_option
@common
def methods(progress: TerminalProgress, *, as_markdown: bool, as_json: bool) -> None:
    """List the unlearning methods and their terms, with formula and paper."""
    from ..losses.methods import METHODS, OBJECTIVES
    from .terminal import out, table

    if as_markdown:
        click.echo(f"{methods_table()}\n{terms_table()}", nl=False)
        return
    if as_json:
        click.echo(json.dumps(_facts(), indent=1))
        return
    console = out()
    rows = [[method.name, method.minimises, method.source] for method in METHODS.values()]
    console.print(table(["method", "minimises", "source"], rows))
    terms = [[o.name, o.summary, o.formula, o.role, o.source] for o in OBJECTIVES.values()]
    console.print(table(["term", "what it does", "formula", "rows", "source"], terms))


def methods_table() -> str:
    """Every method as a sum of terms, with its source."""
    from ..losses.methods import METHODS

    rows = [[f"`{method.name}`", method.minimises, method.source] for method in METHODS.values()]
    return markdown(["method", "minimises", "source"], rows)


def terms_table() -> str:
    """Every term with what it does, its formula, defaults and source."""
    from ..losses.methods import OBJECTIVES

    return markdown(
        ["term", "on", "what it does", "formula", "defaults", "source"],
        [
            [
                f"`{term.name}`",
                f"{term.role} rows",
                term.summary,
                f"`{term.formula}`",
                ", ".join(f"{name} {value:g}" for name, value in term.hyperparameters.items()),
                term.source,
            ]
            for term in sorted(OBJECTIVES.values(), key=lambda term: term.name)
        ],
    )


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _facts() -> dict[str, Any]:
    from ..losses.methods import METHODS, OBJECTIVES

    return {
        "methods": [{"name": m.name, "terms": dict(m.terms), "source": m.source} for m in METHODS.values()],
        "terms": [
            {
                "name": o.name,
                "summary": o.summary,
                "formula": o.formula,
                "rows": o.role,
                "defaults": o.hyperparameters,
                "source": o.source,
            }
            for o in OBJECTIVES.values()
        ],
    }


@click.command()
@click.option("--keys", "as_keys", is_flag=True, help="List the keys of a recipe, with their meaning.")
@json_option
@common
def recipes(progress: TerminalProgress, *, as_keys: bool, as_json: bool) -> None:
    """List the shipped recipes."""
    from ..recipe.recipe import load_recipe, shipped_recipes
    from .terminal import out, table

    if as_keys:
        _keys(as_json)
        return
    shipped = {name: load_recipe(name) for name in shipped_recipes()}
    if as_json:
        click.echo(json.dumps({name: recipe.model_dump(mode="json") for name, recipe in shipped.items()}, indent=1))
        return
    rows = [[name, recipe.description, recipe.source] for name, recipe in shipped.items()]
    out().print(table(["recipe", "what it does", "source"], rows))


def _keys(as_json: bool) -> None:
    from ..recipe.recipe import Recipe
    from ..recipe.settings import keys
    from .terminal import out, table

    known = list(keys(Recipe))
    if as_json:
        click.echo(json.dumps([asdict(key) for key in known], indent=1))
        return
    rows = [[key.name, key.description, key.values, "" if key.default == {} else str(key.default)] for key in known]
    out().print(table(["key", "meaning", "values", "default"], rows))
