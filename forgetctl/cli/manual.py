"""Pages of docs/ that are made from the code: `python -m forgetctl.cli.manual docs` writes them, a test compares them.

Nothing is described here. A method's source, a term's docstring, a key's `Field(description=...)`, a recipe's own
description, and a command's help are shown where a reader looks for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from .main import cli
from .methods import markdown, methods_table, terms_table

NOTE = "<!-- Made by `python -m forgetctl.cli.manual docs`: change the code, not this page. -->"
WIDTH = 100
"""Columns of a command's help."""


def methods_page() -> str:
    """Methods, their terms, the shipped recipes, and every key of a recipe."""
    from ..recipe.recipe import Recipe, load_recipe, shipped_recipes
    from ..recipe.settings import keys

    recipes = {name: load_recipe(name) for name in shipped_recipes()}
    return _page(
        "# Methods and recipes",
        "A method is a weighted sum of terms. `unlearn --method NAME` chooses one, `--recipe NAME|FILE` a recipe, and "
        "`--set KEY=VALUE` overrides one of its keys.",
        "## Methods",
        methods_table(),
        "## Terms",
        "`logp` is the log-probability of a row's answer, summed over its tokens. *start* is the model before, which "
        "the paper calls the reference model.",
        terms_table(),
        "## Shipped recipes",
        markdown(
            ["recipe", "what it does", "source"], [[f"`{n}`", r.description, r.source] for n, r in recipes.items()]
        ),
        "## Keys of a recipe",
        "A key of a group has the group's name before it, as in `--set lora.rank=8`; in a file the group is a mapping.",
        markdown(
            ["key", "meaning", "values", "default"],
            [[f"`{key.name}`", key.description, key.values, _default(key.default)] for key in keys(Recipe)],
        ),
    )


def commands_page() -> str:
    """The help of every command."""
    root = click.Context(
        cli, info_name="forgetctl", terminal_width=WIDTH, max_content_width=WIDTH, **cli.context_settings
    )
    parts = [part for each in _contexts(root) for part in (f"## {each.command_path}", _help(each))]
    return _page("# Commands", "What `--help` says, of every command.", *parts)


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """The context, and those of every command below it, as they are where it is called."""
    yield context
    if isinstance(context.command, click.Group):
        for name, command in context.command.commands.items():
            yield from _contexts(click.Context(command, parent=context, info_name=name, **command.context_settings))


def _help(context: click.Context) -> str:
    return f"```text\n{context.command.get_help(context)}\n```"


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([title, NOTE, *(part.rstrip() for part in parts)]) + "\n"


def _default(value: object) -> str:
    if value is None:
        return "none"
    return f"`{value!r}`".replace("'", "") if value not in ("", {}) else ""


PAGES: Mapping[str, Callable[[], str]] = {"methods.md": methods_page, "commands.md": commands_page}


def write_pages(folder: Path) -> None:
    """Write each page to its file in `folder`."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
