"""The command line: options -> one call -> echo -> exit code. No logic, and no torch until a command needs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from . import __version__
from .options import Commands, common, json_option, memory_options, model_options, recipe_of, request_options
from .requests_cli import requests
from .seal_cli import audit, keygen, prove, purge, seal
from .study_cli import study
from .verify_cli import verify

if TYPE_CHECKING:
    from .console import TerminalProgress
    from .recipe import Recipe

LATEST = "runs/latest"
PLACE = click.Path(path_type=Path)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="forgetctl")
def cli() -> None:
    """Make a language model forget what a deletion request names, check that it did, and write the report.

    \b
      forgetctl unlearn --model ./llama --forget requests.jsonl --method npo-rt
      forgetctl verify --reference ./retrained
      forgetctl report --html
      forgetctl seal --key forgetctl.key

    Exit codes: 0 done or PASS, 1 error, 2 wrong use or input, 3 FAIL, 4 INCONCLUSIVE, 5 a request is overdue,
    130 interrupted. `audit` has its own: 0 sound, 1 broken, 2 malformed, 3 policy unmet.
    """


@cli.command()
@click.option(
    "--model",
    metavar="DIR|RUN",
    help="The start model: a Hugging Face directory in safetensors, or an earlier run, whose model it then is.",
)
@click.option("--forget", type=click.Path(path_type=Path), metavar="FILE", help="The request, JSONL.")
@click.option(
    "--retain",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Rows to keep; may be the whole training set.",
)
@click.option(
    "--refusals", type=click.Path(path_type=Path), metavar="FILE", help="Uninformed answers, one a line; else ours."
)
@click.option("--method", metavar="NAME", help="Unlearning method; `forgetctl methods` lists them.  [default: npo-rt]")
@click.option("--lora", is_flag=True, help="Train low-rank adapters and merge them, instead of all weights.")
@memory_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The run directory.  [default: runs/<time>-<method>]",
)
@request_options
@click.option("--track", is_flag=True, help="Score the model after every epoch, for the report's curve.")
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
    from .jobs.first_look import look_before_unlearning

    if resume is not None:
        given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if others := sorted(set(given) - {"resume", "as_json", "verbose", "quiet"}):
            spelled = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
            names = ", ".join(spelled[name] for name in others)
            raise click.UsageError(f"--resume continues a run as it was started; {names} cannot change it")
        from .jobs.unlearn import resume_unlearn

        run = resume_unlearn(Path(resume), progress)
    else:
        if model is None or forget is None:
            raise click.UsageError("give --model and --forget (or --resume)")
        chosen = _unlearn_options(model, forget, **options)
        look_before_unlearning(chosen)
        recipe = recipe_of(options, method=options["method"])
        if dry_run:
            _dry_run(chosen, recipe, as_json)
            return
        from .jobs.unlearn import run_unlearn

        run = run_unlearn(chosen, recipe, progress)
    from .jobs.unlearn import speaks

    if not speaks():
        return
    if as_json:
        click.echo(json.dumps({"run": str(run.path), "model": str(run.model_dir), **run.record["stages"]}, indent=1))
        return
    click.echo(f"Unlearned model: {run.model_dir}")
    which = f"{run.path} " if options["out"] or resume else ""
    progress.say(
        f"Next: forgetctl verify {which}--reference DIR   (or --holdout FILE), then: forgetctl report {which}--html"
    )


def _unlearn_options(model: str, forget: Path, **options: Any) -> Any:
    from .jobs.options import UnlearnOptions
    from .stages.request import Fields

    return UnlearnOptions(
        model=model,
        forget=forget,
        retain=options["retain"],
        refusals=options["refusals"],
        fields=Fields(
            options["prompt_field"], options["response_field"], options["max_line"] * 1024, options["max_rows"]
        ),
        out=options["out"],
        device=options["device"],
        allow_download=options["allow_download"],
        requests=options["requests"],
        register=options["register"],
        track=options["track"],
        argv=tuple(sys.argv),
    )


def _dry_run(options: Any, recipe: Recipe, as_json: bool) -> None:
    from .console import show_dry_run
    from .jobs.prepare import dry_run

    facts, row = dry_run(options, recipe)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        show_dry_run(facts, row)


@cli.command()
@click.option("--base", type=PLACE, required=True, metavar="DIR", help="The model that the adapter belongs to.")
@click.option("--adapter", type=PLACE, required=True, metavar="DIR", help="A LoRA adapter in safetensors.")
@click.option("--out", type=PLACE, required=True, metavar="DIR", help="Where the merged model goes.")
@json_option
@common
def merge(progress: TerminalProgress, as_json: bool, base: Path, adapter: Path, out: Path) -> None:
    """Merge a LoRA adapter into its base model, so that both can be unlearned from and verified as one model."""
    from .jobs.merge import run_merge

    digests = run_merge(base, adapter, out)
    if as_json:
        click.echo(json.dumps({"model": str(out), **digests}, indent=1))
        return
    click.echo(f"Merged model: {out}\nSHA-256: {digests['sha256']} (adapter: {digests['adapter_sha256']})")


@cli.command()
@click.argument("run", default=LATEST, type=click.Path(path_type=Path))
@click.option("--html", "kind", flag_value="html", default="html", help="Write report.html.  [default]")
@click.option("--json", "kind", flag_value="json", help="Write report.json and print it.")
@click.option("--md", "kind", flag_value="md", help="Write report.md and print it.")
@common
def report(progress: TerminalProgress, run: Path, kind: Any) -> None:
    """Write the audit report of RUN (default: runs/latest)."""
    from .jobs.report import run_report

    file, text = run_report(run, kind)
    if kind == "html":
        click.echo(f"Report: {file}")
    else:
        click.echo(text, nl=False)


@cli.command()
@click.argument("name", default="report")
@common
def schema(progress: TerminalProgress, name: str) -> None:
    """Print the JSON Schema (2020-12) of what forgetctl writes as JSON, such as NAME `report`."""
    from .document.schema import schema as schema_of

    click.echo(json.dumps(schema_of(name), indent=1))


@cli.command()
@click.option("--md", "as_markdown", is_flag=True, help="Print the tables as Markdown.")
@json_option
@common
def methods(progress: TerminalProgress, as_json: bool, as_markdown: bool) -> None:
    """List the unlearning methods and their terms, with formula and paper."""
    from .console import out, table
    from .maths.objectives import METHODS, OBJECTIVES

    if as_markdown:
        from .document.methods import methods_table

        click.echo(methods_table(), nl=False)
        return
    if as_json:
        found = {
            "methods": [{"name": m.name, "terms": dict(m.terms), "source": m.source} for m in METHODS.values()],
            "terms": [
                {
                    "name": o.name,
                    "formula": o.formula,
                    "rows": o.role,
                    "defaults": o.hyperparameters,
                    "source": o.source,
                }
                for o in OBJECTIVES.values()
            ],
        }
        click.echo(json.dumps(found, indent=1))
        return
    console = out()
    sums = [[m.name, " + ".join(f"{w:g} {t}" for t, w in m.terms.items()), m.source] for m in METHODS.values()]
    console.print(table(["method", "minimises", "source"], sums))
    console.print(
        table(
            ["term", "formula", "rows", "source"],
            [[o.name, o.formula, o.role, o.source] for o in OBJECTIVES.values()],
        )
    )


@cli.command()
@json_option
@common
def recipes(progress: TerminalProgress, as_json: bool) -> None:
    """List the shipped recipes."""
    from .console import out, table
    from .recipe import load_recipe, shipped_recipes

    found = {name: load_recipe(name) for name in shipped_recipes()}
    if as_json:
        click.echo(json.dumps({name: recipe.model_dump(mode="json") for name, recipe in found.items()}, indent=1))
        return
    out().print(table(["recipe", "what it does", "source"], [[n, r.description, r.source] for n, r in found.items()]))


@cli.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default="forgetctl-demo", show_default=True, metavar="DIR", help="Folder."
)
@json_option
@common
def demo(progress: TerminalProgress, as_json: bool, out: Path) -> None:
    """Train a small model on invented people, let it forget some, verify and report; about two minutes."""
    from .jobs.demo import run_demo

    verdict = run_demo(out, progress, silent=as_json)
    if as_json:
        click.echo(json.dumps(verdict, indent=1))


for command in (verify, requests, study, keygen, seal, audit, prove, purge):
    cli.add_command(command)


def main() -> None:
    """The console script."""
    cli()
