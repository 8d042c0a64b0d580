"""The command line: options -> one call -> echo -> exit code. No logic, and no torch until a command needs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..files.plain_text import one_line
from .options import Commands, common, json_option
from .reference import reference
from .requests import requests
from .seal import audit, keygen, prove, purge, seal
from .startup import no_core_files, quick_imports
from .study import study
from .tune import tune
from .unlearn import unlearn
from .verify import verify

if TYPE_CHECKING:
    from .terminal import TerminalProgress

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
@click.option("--base", type=PLACE, required=True, metavar="DIR", help="The model that the adapter belongs to.")
@click.option("--adapter", type=PLACE, required=True, metavar="DIR", help="A LoRA adapter in safetensors.")
@click.option("--out", type=PLACE, required=True, metavar="DIR", help="Where the merged model goes.")
@json_option
@common
def merge(progress: TerminalProgress, as_json: bool, base: Path, adapter: Path, out: Path) -> None:
    """Merge a LoRA adapter into its base model, so that both can be unlearned from and verified as one model."""
    with quick_imports():
        from ..model.merge import run_merge

    digests = run_merge(base, adapter, out, progress)
    if as_json:
        click.echo(json.dumps({"model": str(out), **digests}, indent=1))
        return
    click.echo(
        one_line(f"Merged model: {out}") + f"\nSHA-256: {digests['sha256']} (adapter: {digests['adapter_sha256']})"
    )


@cli.command()
@click.argument("run", default=LATEST, type=click.Path(path_type=Path))
@click.option("--html", "kind", flag_value="html", default="html", help="Write report.html.  [default]")
@click.option("--json", "kind", flag_value="json", help="Write report.json and print it.")
@click.option("--md", "kind", flag_value="md", help="Write report.md and print it.")
@common
def report(progress: TerminalProgress, run: Path, kind: Any) -> None:
    """Write the audit report of RUN (default: runs/latest)."""
    from ..report.report import run_report

    file, text = run_report(run, kind)
    if kind == "html":
        click.echo(one_line(f"Report: {file}"))
    else:
        click.echo(text, nl=False)


@cli.command()
@click.argument("name", default="report")
@common
def schema(progress: TerminalProgress, name: str) -> None:
    """Print the JSON Schema (2020-12) of what forgetctl writes as JSON, such as NAME `report`."""
    from ..report.schema import schema as schema_of

    click.echo(json.dumps(schema_of(name), indent=1))


@cli.command()
@click.option("--md", "as_markdown", is_flag=True, help="Print the tables as Markdown.")
@json_option
@common
def methods(progress: TerminalProgress, as_json: bool, as_markdown: bool) -> None:
    """List the unlearning methods and their terms, with formula and paper."""
    from ..losses.methods import METHODS, OBJECTIVES
    from .terminal import out, table

    if as_markdown:
        from ..report.methods import methods_table

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
    from ..recipe.recipe import load_recipe, shipped_recipes
    from .terminal import out, table

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
    with quick_imports():
        from ..demo.demo import run_demo
    from .terminal import show_line

    verdict = run_demo(out, progress, None if as_json else show_line)
    if as_json:
        click.echo(json.dumps(verdict, indent=1))


for command in (unlearn, tune, verify, reference, requests, study, keygen, seal, audit, prove, purge):
    cli.add_command(command)


def main() -> None:
    """The console script."""
    no_core_files()
    cli()
