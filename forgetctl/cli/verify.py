"""The `verify` command: its options, one call, the verdict as exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import common, fields_of, json_option, model_options, recipe_of, request_options
from .startup import launched, quick_imports

if TYPE_CHECKING:
    from .terminal import TerminalProgress

EXIT_CODES = {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4}
FILE = click.Path(path_type=Path)


@click.command()
@click.argument("run", required=False, type=FILE)
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="DIR|SCORES",
    help="A model that never saw the rows, its scores, or a TOFU log. Repeat it for the noise between references.",
)
@click.option("--holdout", type=FILE, metavar="FILE", help="Rows that no model saw.")
@click.option("--model", metavar="DIR", help="Verify a model that no run made.")
@click.option("--scores", type=FILE, metavar="SCORES", help="Verify scores, or a TOFU log, without the model.")
@click.option(
    "--forget", type=FILE, metavar="FILE", help="The rows to check, with --model; or more about a run's rows."
)
@click.option("--start", metavar="DIR|SCORES", help="The model before, with --model or --scores.")
@click.option("--retain", type=FILE, metavar="FILE", help="Rows to keep, scored as they are.")
@click.option("--real-authors", type=FILE, metavar="FILE", help="TOFU's real authors, for model utility.")
@click.option("--world-facts", type=FILE, metavar="FILE", help="TOFU's world facts, for model utility.")
@click.option(
    "--rephrased",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="The request in other words or languages, row by row; repeatable.",
)
@click.option(
    "--also",
    type=FILE,
    multiple=True,
    metavar="RUN",
    help="An earlier run: check that what it made the model forget stays forgotten; repeatable.",
)
@click.option("--precision", metavar="LIST", help="Repeat the cheap checks at bf16, int8, nf4 (comma-separated).")
@click.option("--deep", is_flag=True, help="Also try to make the model learn the rows again.")
@click.option("--out", type=FILE, metavar="DIR", help="The run directory, with --model or --scores.")
@request_options
@click.option("--force", is_flag=True, help="Measure again even if nothing has changed.")
@model_options
@json_option
@click.pass_context
@common
def verify(ctx: click.Context, progress: TerminalProgress, as_json: bool, run: Path | None, **options: Any) -> None:
    """Check the unlearned model of RUN (default: runs/latest). Exit code 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""
    _refuse_conflicts(run, options)
    from ..train.options import VerifyOptions
    from ..verify.reading import read

    own = (
        "model scores forget start references holdout retain real_authors world_facts rephrased also deep out "
        "device requests register"
    )
    chosen = VerifyOptions(
        run=run,
        precisions=tuple(part.strip() for part in (options["precision"] or "").split(",") if part.strip()),
        fields=fields_of(options),
        argv=tuple(sys.argv),
        **{name: options[name] for name in (*own.split(), "allow_download", "force")},
    )
    files = None if launched() else read(chosen)  # before torch is imported, which takes seconds
    with quick_imports():
        from ..train.distributed import is_main_process
        from .api import run_verify

    recipe = recipe_of(options) if chosen.model or chosen.scores else None
    verdict = run_verify(chosen, recipe, progress, files)
    if not is_main_process():
        return
    if as_json:
        click.echo(json.dumps(verdict, indent=1))
    else:
        from .terminal import show_verdict

        show_verdict(verdict)
    ctx.exit(EXIT_CODES[verdict["verdict"]])


def _refuse_conflicts(run: Path | None, options: dict[str, Any]) -> None:
    named = [
        words
        for words, given in (("a RUN", run), ("--model", options["model"]), ("--scores", options["scores"]))
        if given
    ]
    if len(named) > 1:
        raise click.UsageError(f"give {' or '.join(named)}, not both")
    alone = ("start", "out", "recipe_name", "overrides", "max_length")
    if options["requests"] and not options["model"]:
        raise click.UsageError("--request goes with --model; a run knows which requests it serves")
    if not (options["model"] or options["scores"]) and any(options[name] for name in alone):
        raise click.UsageError(
            "--start, --out, --recipe, --set and --max-length go with --model or --scores; a run brings its own"
        )
