"""`forgetctl verify`: options -> one call -> the verdict as exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..people.extent import EXTENTS
from ._options import (
    PATH,
    RecipeChoice,
    common,
    device_option,
    download_option,
    json_option,
    request_options,
    row_options,
    scoring_options,
)
from .process import computing, launched

if TYPE_CHECKING:
    from ..people.extent import Extent
    from ..rows.formats import Fields
    from ..verify.options import VerifyOptions
    from ..verify.verdict import Outcome
    from .terminal import TerminalProgress

EXIT_CODES: dict[Outcome, int] = {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4}


@click.command()
@click.argument("run", required=False, type=PATH)
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="DIR|SCORES",
    help="A model that never saw the rows, its scores, or a TOFU log. Repeat it for the noise between references.",
)
@click.option("--holdout", type=PATH, metavar="FILE", help="Rows that no model saw.")
@click.option("--model", metavar="DIR", help="Verify a model that no run made.")
@click.option("--scores", type=PATH, metavar="SCORES", help="Verify scores, or a TOFU log, without the model.")
@click.option(
    "--forget", type=PATH, metavar="FILE", help="The rows to check, with --model; or more about a run's rows."
)
@click.option("--start", metavar="DIR|SCORES", help="The model before, with --model or --scores.")
@click.option("--retain", type=PATH, metavar="FILE", help="Rows to keep, scored as they are.")
@click.option("--real-authors", type=PATH, metavar="FILE", help="TOFU's real authors, for model utility.")
@click.option("--world-facts", type=PATH, metavar="FILE", help="TOFU's world facts, for model utility.")
@click.option(
    "--rephrased",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="The request in other words or languages, row by row; repeatable.",
)
@click.option(
    "--attacks",
    type=click.Choice(EXTENTS),
    default="quick",
    show_default=True,
    help="Prompts in forgetctl's own other words: one a row, every template, or none, which cannot pass. Secrets are "
    "ranked among 99, 999 or no other strings.",
)
@click.option(
    "--sampling",
    metavar="SETTINGS",
    help="How you draw answers, such as temperature=.7,top_p=.9: leaks in so many of them are counted. With --attacks "
    "full the model's own settings are taken.",
)
@click.option(
    "--also",
    type=PATH,
    multiple=True,
    metavar="RUN",
    help="An earlier run: check that what it made the model forget stays forgotten; repeatable.",
)
@click.option("--precision", metavar="LIST", help="Repeat the cheap checks at bf16, int8, nf4 (comma-separated).")
@click.option("--deep", is_flag=True, help="Also try to make the model learn the rows again.")
@click.option("--out", type=PATH, metavar="DIR", help="The run directory, with --model or --scores.")
@request_options
@click.option("--force", is_flag=True, help="Measure again even if nothing has changed.")
@scoring_options
@row_options
@device_option
@download_option()
@json_option
@common
def verify(
    progress: TerminalProgress,
    fields: Fields,
    chosen: RecipeChoice,
    *,
    run: Path | None,
    references: tuple[str, ...],
    holdout: Path | None,
    model: str | None,
    scores: Path | None,
    forget: Path | None,
    start: str | None,
    retain: Path | None,
    real_authors: Path | None,
    world_facts: Path | None,
    rephrased: tuple[Path, ...],
    attacks: Extent,
    sampling: str | None,
    also: tuple[Path, ...],
    precision: str | None,
    deep: bool,
    out: Path | None,
    requests: tuple[str, ...],
    register: Path | None,
    force: bool,
    device: str,
    allow_download: bool,
    as_json: bool,
) -> None:
    """Check the unlearned model of RUN (default: runs/latest). Exit code 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""
    from ..model.sampling import Sampling
    from ..verify.options import VerifyOptions
    from ..verify.reading import read

    options = VerifyOptions(
        run=run,
        model=model,
        scores=scores,
        forget=forget,
        start=start,
        references=references,
        holdout=holdout,
        retain=retain,
        real_authors=real_authors,
        world_facts=world_facts,
        rephrased=rephrased,
        attacks=attacks,
        sampling=None if sampling is None else Sampling.parse(sampling),
        also=also,
        precisions=tuple(part.strip() for part in (precision or "").split(",") if part.strip()),
        deep=deep,
        fields=fields,
        out=out,
        device=device,
        allow_download=allow_download,
        force=force,
        requests=requests,
        register=register,
        argv=tuple(sys.argv),
    )
    _refuse_conflicts(options, chosen)
    files = None if launched() else read(options)  # before torch is imported, which takes seconds
    with computing(device):
        from ..train.distributed import is_main_process
        from .api import reach_verdict

    recipe = chosen.load() if options.model or options.scores else None
    verdict = reach_verdict(options, recipe, progress, files)
    if not is_main_process():
        return
    from ..verify.subject_ids import content_with_ids, subject_ids

    ids = subject_ids(options, files or read(options))
    if as_json:
        click.echo(json.dumps(content_with_ids(verdict, ids), indent=1))
    else:
        from .terminal import show_verdict

        show_verdict(verdict, ids)
    click.get_current_context().exit(EXIT_CODES[verdict.verdict])


def _refuse_conflicts(options: VerifyOptions, chosen: RecipeChoice) -> None:
    """Raise UsageError for options of which one would not count."""
    verified = (("a RUN", options.run), ("--model", options.model), ("--scores", options.scores))
    named = [words for words, given in verified if given]
    if len(named) > 1:
        raise click.UsageError(f"give {' or '.join(named)}, not both")
    if options.requests and not options.model:
        raise click.UsageError("--request goes with --model; a run knows which requests it serves")
    if not (options.model or options.scores) and (options.start or options.out or chosen.given):
        raise click.UsageError(
            "--start, --out, --recipe, --set and --max-length go with --model or --scores; a run brings its own"
        )
