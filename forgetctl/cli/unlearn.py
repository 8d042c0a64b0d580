"""The `unlearn` command: its options, one call, where the model is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..files.plain_text import one_line
from .options import (
    approve_option,
    common,
    fields_of,
    json_option,
    memory_options,
    model_options,
    recipe_of,
    request_options,
)
from .startup import launched, quick_imports

if TYPE_CHECKING:
    from ..recipe.recipe import Recipe
    from .terminal import TerminalProgress

LATEST = "runs/latest"
PLACE = click.Path(path_type=Path)


@click.command()
@click.option(
    "--model",
    metavar="DIR|RUN",
    help="The start model: a Hugging Face directory in safetensors, or an earlier run, whose model it then is.",
)
@click.option("--forget", type=PLACE, metavar="FILE", help="The request, JSONL.")
@click.option(
    "--retain",
    type=PLACE,
    metavar="FILE",
    help="Rows to keep; may be the whole training set.",
)
@click.option(
    "--holdout",
    type=PLACE,
    metavar="FILE",
    help="Rows that no model saw: forgetting then ends where the start model has them.",
)
@click.option("--refusals", type=PLACE, metavar="FILE", help="Uninformed answers, one a line; else ours.")
@click.option("--method", metavar="NAME", help="Unlearning method; `forgetctl methods` lists them.  [default: npo-rt]")
@click.option("--lora", is_flag=True, help="Train low-rank adapters and merge them, instead of all weights.")
@click.option("--keep-adapter", is_flag=True, help="With --lora or --qlora: write the adapter, too.")
@memory_options
@click.option(
    "--out",
    type=PLACE,
    metavar="DIR",
    help="The run directory.  [default: runs/<time>-<method>]",
)
@request_options
@click.option("--track", is_flag=True, help="Score the model after every epoch, for the report's curve.")
@approve_option
@click.option("--resume", is_flag=False, flag_value=LATEST, metavar="[RUN]", help="Continue an interrupted run.")
@click.option("--dry-run", is_flag=True, help="Check everything, show one row and the cost, train nothing.")
@model_options
@json_option
@click.pass_context
@common
def unlearn(
    ctx: click.Context,
    progress: TerminalProgress,
    as_json: bool,
    model: str | None,
    forget: Path | None,
    resume: str | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Unlearn the rows of a request."""
    from ..train.inputs import read

    if resume is not None:
        given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if others := sorted(set(given) - {"resume", "as_json", "verbose", "quiet"}):
            spelled = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
            names = ", ".join(spelled[name] for name in others)
            raise click.UsageError(f"--resume continues a run as it was started; {names} cannot change it")
    elif model is None or forget is None:
        raise click.UsageError("give --model and --forget (or --resume)")
    else:
        chosen = _unlearn_options(model, forget, **options)
        inputs = None if launched() else read(chosen)  # before torch is imported, which takes seconds
    with quick_imports():
        from ..train.distributed import is_main_process
        from .api import resume_unlearn, run_unlearn

    if resume is not None:
        run = resume_unlearn(Path(resume), progress)
    else:
        recipe = recipe_of(options, method=options["method"], calibrated=options["holdout"] is not None)
        if options["holdout"] is not None:
            progress.say(recipe.description)
        if dry_run:
            _dry_run(chosen, inputs, recipe, progress, as_json)
            return
        run = run_unlearn(chosen, recipe, progress, inputs)
    if not is_main_process():
        return
    if as_json:
        click.echo(json.dumps({"run": str(run.path), "model": str(run.model_dir), **run.record["stages"]}, indent=1))
        return
    click.echo(one_line(f"Unlearned model: {run.model_dir}"))
    which = f"{run.path} " if options["out"] or resume else ""
    progress.say(
        f"Next: forgetctl verify {which}--reference DIR   (or --holdout FILE), then: forgetctl report {which}--html"
    )


def _unlearn_options(model: str, forget: Path, **options: Any) -> Any:
    from ..train.options import UnlearnOptions

    return UnlearnOptions(
        model=model,
        forget=forget,
        retain=options["retain"],
        holdout=options["holdout"],
        refusals=options["refusals"],
        fields=fields_of(options),
        out=options["out"],
        device=options["device"],
        allow_download=options["allow_download"],
        requests=options["requests"],
        register=options["register"],
        track=options["track"],
        approve=options["approve"],
        max_memory=options["max_memory"],
        keep_adapter=options["keep_adapter"],
        argv=tuple(sys.argv),
    )


def _dry_run(options: Any, inputs: Any, recipe: Recipe, progress: TerminalProgress, as_json: bool) -> None:
    from .api import dry_run
    from .terminal import show_dry_run

    facts, row = dry_run(options, recipe, progress, inputs)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        show_dry_run(facts, row)
