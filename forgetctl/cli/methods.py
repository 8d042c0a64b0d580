"""`forgetctl methods` and `forgetctl recipes`: what an unlearning run can be made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .options import common, json_option

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
        from ..report.methods import methods_table

        click.echo(methods_table(), nl=False)
        return
    if as_json:
        click.echo(json.dumps(_facts(), indent=1))
        return
    console = out()
    sums = [[m.name, " + ".join(f"{w:g} {t}" for t, w in m.terms.items()), m.source] for m in METHODS.values()]
    console.print(table(["method", "minimises", "source"], sums))
    terms = [[o.name, o.formula, o.role, o.source] for o in OBJECTIVES.values()]
    console.print(table(["term", "formula", "rows", "source"], terms))


def _facts() -> dict[str, Any]:
    from ..losses.methods import METHODS, OBJECTIVES

    return {
        "methods": [{"name": m.name, "terms": dict(m.terms), "source": m.source} for m in METHODS.values()],
        "terms": [
            {"name": o.name, "formula": o.formula, "rows": o.role, "defaults": o.hyperparameters, "source": o.source}
            for o in OBJECTIVES.values()
        ],
    }


@click.command()
@json_option
@common
def recipes(progress: TerminalProgress, *, as_json: bool) -> None:
    """List the shipped recipes."""
    from ..recipe.recipe import load_recipe, shipped_recipes
    from .terminal import out, table

    shipped = {name: load_recipe(name) for name in shipped_recipes()}
    if as_json:
        click.echo(json.dumps({name: recipe.model_dump(mode="json") for name, recipe in shipped.items()}, indent=1))
        return
    rows = [[name, recipe.description, recipe.source] for name, recipe in shipped.items()]
    out().print(table(["recipe", "what it does", "source"], rows))
