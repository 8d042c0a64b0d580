"""`forgetctl unlearn`: options -> one call -> where the model is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ..files.plain_text import one_line
from ._options import (
    LATEST,
    PATH,
    RecipeChoice,
    approve_option,
    common,
    device_option,
    download_option,
    json_option,
    memory_option,
    request_options,
    row_options,
    training_options,
)
from .process import computing, launched

if TYPE_CHECKING:
    from ..recipe.recipe import Recipe
    from ..rows.formats import Fields
    from ..runs.run import Run
    from ..train.inputs import Inputs
    from ..train.options import UnlearnOptions
    from .terminal import TerminalProgress


@click.command()
@click.option(
    "--model",
    metavar="DIR|RUN",
    help="The start model: a Hugging Face directory in safetensors, a GGUF file, or an earlier run, whose model it is.",
)
@click.option("--forget", type=PATH, metavar="FILE", help="The request.")
@click.option("--retain", type=PATH, metavar="FILE", help="Rows to keep; may be the whole training set.")
@click.option(
    "--holdout",
    type=PATH,
    metavar="FILE",
    help="Rows that no model saw: forgetting then ends where the start model has them.",
)
@click.option("--refusals", type=PATH, metavar="FILE", help="Uninformed answers, one a line; else ours.")
@training_options
@click.option("--keep-adapter", is_flag=True, help="With --lora or --qlora: write the adapter, too.")
@click.option("--out", type=PATH, metavar="DIR", help="The run directory.  [default: runs/<time>-<method>]")
@request_options
@click.option("--track", is_flag=True, help="Score the model after every epoch, for the report's curve.")
@approve_option
@click.option("--resume", is_flag=False, flag_value=LATEST, metavar="[RUN]", help="Continue an interrupted run.")
@click.option("--dry-run", is_flag=True, help="Check everything, show one row and the cost, train nothing.")
@row_options
@device_option
@memory_option
@download_option()
@json_option
@common
def unlearn(
    progress: TerminalProgress,
    fields: Fields,
    chosen: RecipeChoice,
    *,
    model: str | None,
    forget: Path | None,
    retain: Path | None,
    holdout: Path | None,
    refusals: Path | None,
    keep_adapter: bool,
    out: Path | None,
    requests: tuple[str, ...],
    register: Path | None,
    track: bool,
    approve: tuple[str, ...],
    resume: str | None,
    dry_run: bool,
    device: str,
    max_memory: int | None,
    allow_download: bool,
    as_json: bool,
) -> None:
    """Unlearn the rows of a request."""
    if resume is not None:
        _refuse_beside_resume()
        _resume(Path(resume), progress, as_json)
        return
    if model is None or forget is None:
        raise click.UsageError("give --model and --forget (or --resume)")
    from ..train.inputs import read
    from ..train.options import UnlearnOptions

    options = UnlearnOptions(
        model=model,
        forget=forget,
        retain=retain,
        holdout=holdout,
        refusals=refusals,
        fields=fields,
        out=out,
        device=device,
        allow_download=allow_download,
        requests=requests,
        register=register,
        track=track,
        approve=approve,
        max_memory=max_memory,
        keep_adapter=keep_adapter,
        argv=tuple(sys.argv),
    )
    inputs = None if launched() else read(options)  # before torch is imported, which takes seconds
    with computing(device):
        from .api import run_unlearn

    recipe = chosen.load(calibrated=holdout is not None)
    if holdout is not None:
        progress.say(recipe.description)
    if dry_run:
        _dry_run(options, inputs, recipe, progress, as_json)
        return
    _show(run_unlearn(options, recipe, progress, inputs), progress, as_json, named=out is not None)


def _refuse_beside_resume() -> None:
    """Raise UsageError if --resume came with an option that says what to train."""
    context = click.get_current_context()
    spelled = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if others := sorted(set(given) - {"resume", "as_json"}):
        names = ", ".join(spelled[name] for name in others)
        raise click.UsageError(f"--resume continues a run as it was started; {names} cannot change it")


def _resume(path: Path, progress: TerminalProgress, as_json: bool) -> None:
    with computing():
        from .api import resume_unlearn

    _show(resume_unlearn(path, progress), progress, as_json, named=True)


def _show(run: Run, progress: TerminalProgress, as_json: bool, *, named: bool) -> None:
    """Say where the model is. named: whether the owner chose the run, so that the next command must name it."""
    from ..train.distributed import is_main_process

    if not is_main_process():
        return
    if as_json:
        click.echo(json.dumps({"run": str(run.path), "model": str(run.model_dir), **run.record["stages"]}, indent=1))
        return
    click.echo(one_line(f"Unlearned model: {run.model_dir}"))
    which = f"{run.path} " if named else ""
    progress.say(
        f"Next: forgetctl verify {which}--reference DIR   (or --holdout FILE), then: forgetctl report {which}--html"
    )


def _dry_run(
    options: UnlearnOptions, inputs: Inputs | None, recipe: Recipe, progress: TerminalProgress, as_json: bool
) -> None:
    from .api import dry_run
    from .terminal import show_dry_run

    facts, row = dry_run(options, recipe, progress, inputs)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        show_dry_run(facts, row)
