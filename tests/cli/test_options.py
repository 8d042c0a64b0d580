"""What click is told of an option and what the command takes are the same."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click
import pytest

from forgetctl.cli import _options as options
from forgetctl.cli.main import cli
from forgetctl.cli.requests import Given
from forgetctl.people.extent import Extent
from forgetctl.report.report import Kind
from forgetctl.rows.formats import Answers, Fields, Turns

GROUPS: tuple[Callable[..., object], ...] = (
    options.RecipeChoice,
    options._scoring,
    options._fields,
    options._format,
    Given,
)
"""What `grouped` makes a command's first arguments of."""
LATER = {
    **{"Kind": Kind, "Extent": Extent, "Fields": Fields, "Turns": Turns, "Answers": Answers},
    **{"RecipeChoice": options.RecipeChoice, "TerminalProgress": object},
}
"""Types that the command line imports when a command runs."""


def commands(group: click.Group = cli, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its whole name."""
    for own, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name}{own} ")
        else:
            yield f"{name}{own}", command


COMMANDS = dict(commands())


def given(parameter: click.Parameter) -> Any:
    """The type of what click hands on."""
    kind = parameter.type
    if isinstance(kind, click.Path):
        one: Any = Path
    elif isinstance(kind, click.types.FuncParamType):
        one = get_type_hints(kind.func)["return"]
    else:
        kinds = {"text": str, "choice": str, "boolean": bool, "datetime": datetime}
        one = kinds.get(kind.name) or (float if "float" in kind.name else int)
    if parameter.multiple if isinstance(parameter, click.Option) else parameter.nargs != 1:
        return tuple[one, ...]
    default = parameter.get_default(click.Context(cli), call=False)
    always = parameter.required or isinstance(default, str | int | float | Path) or one is bool
    return one if always else one | None


def taken(command: click.Command) -> dict[str, Any]:
    """Types of the options that the command, or what makes its first arguments, takes by name."""
    assert command.callback is not None
    function = inspect.unwrap(command.callback)
    hints = get_type_hints(function, {**function.__globals__, **LATER})
    own = {p.name: hints[p.name] for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}
    named = {parameter.name for parameter in command.params}
    for make in GROUPS:
        names = set(inspect.signature(make).parameters)
        if names <= named and not names & set(own):
            made = get_type_hints(make, None if inspect.isclass(make) else {**vars(inspect.getmodule(make)), **LATER})
            own |= {name: made[name] for name in names}
    return own


def plain(kind: Any) -> Any:
    """A choice of texts is text; what may be missing may be missing."""
    if get_origin(kind) is Literal:
        return str
    if isinstance(kind, UnionType):
        return frozenset(map(plain, get_args(kind)))
    return kind


@pytest.mark.parametrize("name", COMMANDS)
def test_click_and_the_command_agree(name: str) -> None:
    command = COMMANDS[name]
    exposed: dict[str, Any] = {}
    for parameter in command.params:
        if parameter.expose_value:
            exposed.setdefault(str(parameter.name), given(parameter))
    assert {name: plain(kind) for name, kind in taken(command).items()} == {
        name: plain(kind) for name, kind in exposed.items()
    }


def test_no_command_takes_what_has_no_name() -> None:
    """The bodies of decorators apart, which hand on what they know nothing of."""
    for path in Path(options.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.args.kwarg is not None:
                assert ast.unparse(node.args.kwarg.annotation or ast.Constant(None)) == "P.kwargs", (path, node.name)
