"""What the commands of the command line share: options, verbosity, errors as exit codes."""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ..errors import EndedElsewhere, ForgetctlError, Interrupted
from ..files.disk import refusal, wrapped_refusal
from ..files.plain_text import one_line, printable
from ..files.writing import private_files
from ..rows.abuse import RULES
from .crash import told
from .startup import isolated

if TYPE_CHECKING:
    from ..recipe.recipe import Recipe
    from ..rows.formats import Fields


VERBOSE = "forgetctl.verbose"
"""Where click's context keeps whether -v was given."""


class Failure(click.ClickException):
    """An error of ours as one line on standard error."""

    def __init__(self, error: ForgetctlError, lines: str | None = None) -> None:
        """lines: what is told in place of the error's own message, if it may be more than a line."""
        super().__init__(one_line(str(error)) if lines is None else printable(lines))
        setattr(self, "exit_code", error.exit_code)  # noqa: B010 (click declares it on the class)


class Commands(click.Group):
    """A group that turns our errors into a line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises Failure for whatever ends it, click's own exceptions for wrong use."""
        try:
            with _terminable(), private_files():
                return super().invoke(ctx)
        except click.ClickException as error:
            setattr(error, "message", one_line(error.message))  # noqa: B010 (click declares it final)
            raise
        except (click.exceptions.Exit, click.Abort):
            raise
        except EndedElsewhere:
            ctx.exit(0)
        except ForgetctlError as error:
            raise Failure(error) from None
        except KeyboardInterrupt:
            raise Failure(Interrupted("stopped; what was finished is kept")) from None
        except BrokenPipeError:
            raise  # whoever reads our output has enough; click ends quietly
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Failure(ForgetctlError(f"{where}{refusal(error)}")) from None
        except (SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001  Python would print its message, which may quote rows
            words = wrapped_refusal(error, Path()) or told(error, verbose=ctx.meta.get(VERBOSE, False))
            raise Failure(ForgetctlError(), words) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C: what a command holds is let go, and it says that it was stopped."""

    def stop(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that every command has; gives it `progress`."""

    @click.option("-v", "--verbose", is_flag=True, help="Also show what the libraries say.")
    @click.option("-q", "--quiet", is_flag=True, help="Show results and errors only.")
    @functools.wraps(command)
    def wrapped(*args: Any, verbose: bool, quiet: bool, **options: Any) -> Any:
        from .terminal import TerminalProgress

        click.get_current_context().meta[VERBOSE] = verbose
        _calm_libraries("warning" if verbose else "error")
        with isolated(allow_download=options.get("allow_download", False)):
            return command(*args, progress=TerminalProgress(quiet=quiet), **options)

    return wrapped


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json, for every command that prints a result."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def row_limits(command: Callable[..., Any]) -> Callable[..., Any]:
    """How much of a file of rows is read: they come from outside, and are held in memory."""
    for option in (
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
    ):
        command = option(command)
    return command


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options about files and devices that unlearn and verify share."""
    for option in (
        click.option("--prompt-field", metavar="NAME", help="Field that holds the prompt, if not a usual one."),
        click.option("--response-field", metavar="NAME", help="Field that holds the response, if not a usual one."),
        row_limits,
        click.option("--max-length", type=click.IntRange(2), metavar="TOKENS", help="Cut longer rows here."),
        click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps ..."),
        click.option("--allow-download", is_flag=True, help="Allow fetching a model by its hub id."),
        click.option("--recipe", "recipe_name", metavar="NAME|FILE", help="A shipped recipe or a YAML file."),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe's key."),
    ):
        command = option(command)
    return command


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options about the owner's register of requests."""
    for option in (
        click.option(
            "--register",
            type=click.Path(path_type=Path),
            envvar="FORGETCTL_REGISTER",
            metavar="FILE",
            help="The register of requests.  [default: forgetctl-requests.sqlite]",
        ),
        click.option(
            "--request", "requests", multiple=True, metavar="ID", help="A request of the register; repeatable."
        ),
    ):
        command = option(command)
    return command


def approve_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The owner's word for a request that was flagged."""
    return click.option(
        "--approve",
        multiple=True,
        type=click.Choice(list(RULES)),
        help="Serve the request although this rule flagged it; repeatable. It is recorded.",
    )(command)


def _bytes(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """A size with a unit or without, such as 12GiB, in bytes. Raises BadParameter for what is none."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    if value is None:
        return None
    try:
        size = int(TypeAdapter(ByteSize).validate_python(value))
    except ValidationError:
        raise click.BadParameter(f"{value!r} is no size, such as 12GiB, 500MB or a number of bytes") from None
    if size < 1:
        raise click.BadParameter(f"{value!r} is no memory at all")
    return size


def memory_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options about how much memory training takes."""
    for option in (
        click.option(
            "--max-memory",
            callback=_bytes,
            metavar="SIZE",
            help="Plan for at most so much memory, such as 12GiB or 500MB; a GPU also gives no more than that.",
        ),
        click.option("--optimizer", type=click.Choice(["adamw", "adamw8bit"]), help="AdamW, or with 8-bit moments."),
        click.option("--qlora", is_flag=True, help="As --lora, over weights that are held in 4 bits (NF4)."),
    ):
        command = option(command)
    return command


def fields_of(options: dict[str, Any]) -> Fields:
    """How rows are read from the files that were given."""
    from ..rows.formats import Fields

    longest = options["max_line"] * 1024
    return Fields(options["prompt_field"], options["response_field"], longest, options["max_rows"])


def recipe_of(options: dict[str, Any], method: str | None = None, *, calibrated: bool = False) -> Recipe:
    """The recipe that the options name, with what they override. calibrated: one that ends at levels."""
    from ..recipe.recipe import CALIBRATED_RECIPE, LORA_RECIPE, QLORA_RECIPE, load_recipe

    values = {key: options[key] for key in ("max_length", "optimizer") if options.get(key) is not None}
    name = options["recipe_name"]
    quantised = {"quantisation": "nf4"} if options.get("qlora") else {}
    if quantised or options.get("lora"):
        name = name or (QLORA_RECIPE if quantised else LORA_RECIPE)  # adapters want a higher rate than whole weights
        own = load_recipe(name, method=method).lora
        values["lora"] = {**(own.model_dump() if own else {}), **quantised}
    if calibrated:
        name = name or CALIBRATED_RECIPE
    return load_recipe(name, method=method, overrides=options["overrides"], options=values, calibrated=calibrated)


def _calm_libraries(level: str) -> None:
    """Keep library chatter and telemetry out; must come before they are imported."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", level)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(level.upper())
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel("ERROR")  # misses the package that it cannot have
    if level == "error":
        warnings.simplefilter("ignore", FutureWarning)  # addressed to whoever maintains the libraries
        # peft writes embeddings beside an adapter on them, in checkpoints that go when the run is done.
        warnings.filterwarnings("ignore", "Setting `save_embedding_layers`", UserWarning)
