"""What commands share: how they are given their options, and the options that many of them have.

A command is a function of its options by name, with their types. Options that belong together are given to it as one
value, before them: `grouped` says how. An option is so declared for click and as a parameter in one place, and mypy
checks what the command does with it; tests/cli/test_options.py checks that the two declarations agree.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from ..rows.abuse import RULES
from ._failures import VERBOSE
from .process import isolated, quiet_libraries

if TYPE_CHECKING:
    from ..recipe.recipe import Recipe
    from ..rows.formats import Answers, Fields, Turns
    from .terminal import TerminalProgress

P = ParamSpec("P")
R = TypeVar("R")
Value = TypeVar("Value")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

LATEST = "runs/latest"
PATH = click.Path(path_type=Path)
QUIET, DOWNLOAD = "forgetctl.quiet", "forgetctl.download"
"""Where click's context keeps whether -q and --allow-download were given."""


def grouped(
    make: Callable[..., Value], *options: Decorator
) -> Callable[[Callable[Concatenate[Value, P], R]], Callable[P, R]]:
    """A decorator that adds `options`, shown in this order, and gives the command what `make` makes of them.

    make: its parameters are the options by name. Of several groups the lowest is the command's first argument.
    """
    names = tuple(inspect.signature(make).parameters)

    def decorate(command: Callable[Concatenate[Value, P], R]) -> Callable[P, R]:
        @functools.wraps(command)
        def wrapped(*args: P.args, **options: P.kwargs) -> R:
            own = {name: options.pop(name) for name in names}
            return command(make(**own), *args, **options)

        decorated: Callable[P, R] = stacked(*options)(wrapped)
        return decorated

    return decorate


def stacked(*options: Decorator) -> Decorator:
    """A decorator that adds `options`, shown in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)

    return decorate


def _noted(key: str) -> Callable[[click.Context, click.Parameter, bool], bool]:
    """A callback of a flag that leaves its value in click's context."""

    def note(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
        context.meta[key] = value
        return value

    return note


def common(command: Callable[Concatenate[TerminalProgress, P], R]) -> Callable[P, R]:
    """Options that every command has, and what is set around each of them; gives it `progress`."""

    @click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_noted(VERBOSE),
        help="Also show what the libraries say.",
    )
    @click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=_noted(QUIET),
        help="Show results and errors only.",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        from .terminal import TerminalProgress

        given = click.get_current_context().meta
        quiet_libraries(verbose=given[VERBOSE])
        with isolated(allow_download=given.get(DOWNLOAD, False)):
            return command(TerminalProgress(quiet=given[QUIET]), *args, **options)

    return wrapped


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
device_option = click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps ...")
recipe_option = click.option("--recipe", "recipe_name", metavar="NAME|FILE", help="A shipped recipe or a YAML file.")
overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe's key."
)
max_length_option = click.option("--max-length", type=click.IntRange(2), metavar="TOKENS", help="Cut longer rows here.")
approve_option = click.option(
    "--approve",
    multiple=True,
    type=click.Choice(list(RULES)),
    help="Serve the request although this rule flagged it; repeatable. It is recorded.",
)
request_options = stacked(
    click.option("--request", "requests", multiple=True, metavar="ID", help="A request of the register; repeatable."),
    click.option(
        "--register",
        type=PATH,
        envvar="FORGETCTL_REGISTER",
        metavar="FILE",
        help="The register of requests.  [default: forgetctl-requests.sqlite]",
    ),
)


def download_option(what: str = "a model by its hub id, and rows of a data set (hf://...)") -> Decorator:
    """--allow-download, which `common` looks for as well."""
    return click.option("--allow-download", is_flag=True, callback=_noted(DOWNLOAD), help=f"Allow fetching {what}.")


def size(text: str) -> int:
    """A size with a unit or without, such as 12GiB, in bytes. Raises BadParameter for what is none."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        amount = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        raise click.BadParameter(f"{text!r} is no size, such as 12GiB, 500MB or a number of bytes") from None
    if amount < 1:
        raise click.BadParameter(f"{text!r} is no memory at all")
    return amount


memory_option = click.option(
    "--max-memory",
    type=size,
    metavar="SIZE",
    help="Plan for at most so much memory, such as 12GiB or 500MB; a GPU also gives no more than that.",
)


def _fields(names: tuple[str, ...], turns: Turns, answers: Answers, max_rows: int, max_line: int) -> Fields:
    from ..rows.formats import Fields, read_names

    allowed = click.get_current_context().meta.get(DOWNLOAD, False)
    return Fields(
        names=read_names(names),
        turns=turns,
        answers=answers,
        max_line=max_line * 1024,
        max_rows=max_rows,
        allow_download=allowed,
    )


map_option = click.option(
    "--map",
    "names",
    multiple=True,
    metavar="OURS=THEIRS",
    help="Names of fields that are not the usual ones, such as prompt=q,subject_id=user.id; repeatable. Nothing after "
    "the = leaves a field out.",
)
turns_option = click.option(
    "--turns",
    type=click.Choice(["all", "last"]),
    default="all",
    show_default=True,
    help="Which of the assistant's turns in a conversation are rows.",
)
answers_option = click.option(
    "--answers",
    type=click.Choice(["chosen", "both"]),
    default="both",
    show_default=True,
    help="Which answers of preference pairs are rows; of what is retained or learned, only chosen ones are.",
)


def _format(names: tuple[str, ...], turns: Turns, answers: Answers) -> Fields:
    from ..rows.formats import MAX_RECORD_BYTES, MAX_ROWS

    return _fields(names, turns, answers, MAX_ROWS, MAX_RECORD_BYTES // 1024)


format_options = grouped(_format, map_option, turns_option, answers_option)
"""What rows are made of. Gives the command the `Fields`."""

row_options = grouped(
    _fields,
    map_option,
    turns_option,
    answers_option,
    click.option(
        "--max-rows",
        type=click.IntRange(1, 10**7),
        default=10_000,
        show_default=True,
        metavar="N",
        help="Most rows of a request or of another file of rows; a retain file to train on may have any number.",
    ),
    click.option(
        "--max-line",
        type=click.IntRange(1, 16 * 1024),
        default=64,
        show_default=True,
        metavar="KIB",
        help="Longest line of such a file.",
    ),
)
"""How rows are read from the files that were given, and how much of them: they come from outside, and are held in
memory. Gives the command the `Fields`."""


@dataclass(frozen=True, kw_only=True)
class RecipeChoice:
    """Which recipe was chosen, and what of it the command line overrides."""

    recipe_name: str | None
    overrides: tuple[str, ...]
    max_length: int | None
    method: str | None = None
    lora: bool = False
    qlora: bool = False
    optimizer: str | None = None

    @property
    def given(self) -> bool:
        """Whether anything was said of the recipe."""
        return bool(self.recipe_name or self.overrides or self.max_length)

    def load(self, *, calibrated: bool = False) -> Recipe:
        """The recipe. calibrated: one that ends at levels. Raises as `load_recipe`."""
        from ..recipe.recipe import CALIBRATED_RECIPE, LORA_RECIPE, QLORA_RECIPE, load_recipe

        name = self.recipe_name
        values: dict[str, Any] = {"max_length": self.max_length, "optimizer": self.optimizer}
        values = {key: value for key, value in values.items() if value is not None}
        if self.lora or self.qlora:
            name = name or (
                QLORA_RECIPE if self.qlora else LORA_RECIPE
            )  # adapters want a higher rate than whole weights
            own = load_recipe(name, method=self.method).lora
            values["lora"] = {**(own.model_dump() if own else {}), **({"quantisation": "nf4"} if self.qlora else {})}
        if calibrated:
            name = name or CALIBRATED_RECIPE
        return load_recipe(name, method=self.method, overrides=self.overrides, options=values, calibrated=calibrated)


def _scoring(recipe_name: str | None, overrides: tuple[str, ...], max_length: int | None) -> RecipeChoice:
    return RecipeChoice(recipe_name=recipe_name, overrides=overrides, max_length=max_length)


scoring_options = grouped(_scoring, recipe_option, overrides_option, max_length_option)
"""The recipe of a command that scores. Gives the command the `RecipeChoice`."""


lora_option = click.option(
    "--lora", is_flag=True, help="Train low-rank adapters and merge them, instead of all weights."
)
optimizer_option = click.option(
    "--optimizer", type=click.Choice(["adamw", "adamw8bit"]), help="AdamW, or with 8-bit moments."
)

training_options = grouped(
    RecipeChoice,
    click.option(
        "--method", metavar="NAME", help="Unlearning method; `forgetctl methods` lists them.  [default: npo-rt]"
    ),
    recipe_option,
    overrides_option,
    max_length_option,
    lora_option,
    click.option("--qlora", is_flag=True, help="As --lora, over weights that are held in 4 bits (NF4)."),
    optimizer_option,
)
"""The recipe of a command that unlearns. Gives the command the `RecipeChoice`."""
