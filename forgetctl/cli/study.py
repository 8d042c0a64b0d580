"""`forgetctl study`: options -> one call -> echo. No torch and no matplotlib until a study runs."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files.plain_text import one_line
from ..studies import LARGE, STUDIES
from ._failures import VERBOSE
from ._options import PATH, common, device_option, download_option, json_option, overrides_option
from .process import computing, set_up_worker

if TYPE_CHECKING:
    from ..studies.running import Written
    from .terminal import TerminalProgress

out_option = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="forgetctl-studies",
    show_default=True,
    metavar="DIR",
    help="Where NAME.json and the figures go.",
)


@click.group()
def study() -> None:
    """Run a study: of the NPO paper with forgetctl's own objectives, or of the verdict itself."""


@study.command("list")
@json_option
@common
def list_studies(progress: TerminalProgress, *, as_json: bool) -> None:
    """List the studies."""
    from .terminal import out, table

    if as_json:
        click.echo(json.dumps(dict(STUDIES), indent=1))
    else:
        out().print(table(["study", "what it shows"], list(STUDIES.items())))


def _small(name: str, words: str) -> click.Command:
    """The command of a study that has no options of its own."""

    @click.command(name, help=words)
    @out_option
    @json_option
    @common
    def command(progress: TerminalProgress, *, out: Path, as_json: bool) -> None:
        from ..studies.running import run_study

        _show(run_study(name, out, progress), as_json)

    return command


for _name, _words in STUDIES.items():
    if _name not in LARGE:
        study.add_command(_small(_name, _words))


@study.command(help=STUDIES["tofu"])
@click.option("--model", required=True, metavar="DIR", help="The start model, which knows every row.")
@click.option("--data", required=True, metavar="DIR", help="TOFU's JSON files, or the data set's hub name.")
@click.option("--references", type=PATH, metavar="DIR", help="Holds forgetNN/seed-1, as `reference` makes it.")
@click.option("--reference", multiple=True, metavar="SPLIT=DIR", help="The reference of one split; repeatable.")
@click.option("--retain", type=PATH, metavar="FILE", help="Rows to keep in training.  [default: TOFU's retainNN.json]")
@click.option("--holdout", type=PATH, metavar="FILE", help="Rows that no model saw, for methods such as npo-rt+level.")
@click.option("--splits", default="01,05,10", show_default=True, metavar="LIST", help="Of 01, 05, 10, 20, 30, 50, 90.")
@click.option("--methods", metavar="LIST", help="Methods of `forgetctl methods`.  [default: the paper's twelve]")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of seeds 1 to this.")
@click.option("--retain-weights", metavar="LIST", help="Also sweep NPO+RT over these, such as 0,1,2,3,4,5.")
@click.option("--recipe", "recipe_name", default="paper/tofu-forget10", show_default=True, metavar="NAME|FILE",
              help="Settings of every run but its method and seed.")  # fmt: skip
@overrides_option
@click.option("--questions", type=click.IntRange(1), default=300, show_default=True, help="Most forget rows scored.")
@click.option("--kept-questions", type=click.IntRange(1), metavar="ROWS",
              help="Most of retain, real authors and world facts.  [default: --questions]")  # fmt: skip
@click.option("--every", type=click.IntRange(1), default=1, show_default=True,
              help="Epochs from one measurement to the next; steps where an epoch has one or two.")  # fmt: skip
@click.option("--rouge", type=click.Choice(["last", "every"]), default="last", show_default=True,
              help="When answers are generated, which ROUGE and the utility need.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, of one thread each.")
@device_option
@download_option("models and data by their hub names")
@out_option
@json_option
@common
def tofu(
    progress: TerminalProgress,
    *,
    model: str,
    data: str,
    references: Path | None,
    reference: tuple[str, ...],
    retain: Path | None,
    holdout: Path | None,
    splits: str,
    methods: str | None,
    seeds: int,
    retain_weights: str | None,
    recipe_name: str,
    overrides: tuple[str, ...],
    questions: int,
    kept_questions: int | None,
    every: int,
    rouge: str,
    workers: int,
    device: str,
    allow_download: bool,
    out: Path,
    as_json: bool,
) -> None:
    with computing(device):
        from ..recipe.recipe import load_recipe
        from ..studies.running import run_tofu_study
        from ..studies.tofu import options as texts

    verbose = click.get_current_context().meta[VERBOSE]
    options = texts.TofuOptions(
        model=model,
        data=data,
        recipe=load_recipe(recipe_name, overrides=overrides),
        out=out,
        references=references,
        reference=texts.parse_references(reference),
        retain=retain,
        holdout=holdout,
        splits=texts.parse_splits(splits),
        methods=texts.PAPER_METHODS if methods is None else texts.parse_methods(methods),
        retain_weights=() if retain_weights is None else texts.parse_weights(retain_weights),
        seeds=seeds,
        questions=questions,
        kept_questions=kept_questions,
        every=every,
        rouge=rouge == "every",
        workers=workers,
        device=device,
        allow_download=allow_download,
        set_up_worker=functools.partial(set_up_worker, device, verbose=verbose),
    )
    _show(run_tofu_study(options, out, progress), as_json)


def _show(done: Written, as_json: bool) -> None:
    from .terminal import out, table

    if as_json:
        click.echo(json.dumps(done.outcome.data, indent=1))
        return
    for shown in done.outcome.tables:
        out().print(table(shown.columns, shown.rows, shown.title))
    for path in done.files:
        click.echo(one_line(f"Wrote {path}"))
