"""`forgetctl reference`: options -> one call -> echo. No torch until the command runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..files.plain_text import one_line
from .options import common, fields_of, json_option, row_limits

if TYPE_CHECKING:
    from .terminal import TerminalProgress

FILE = click.Path(path_type=Path)
TUNING = ("learning_rate", "epochs", "batch_size", "weight_decay", "warmup_epochs", "max_grad_norm", "max_length",
          "micro_batch")  # fmt: skip


@click.command()
@click.option("--base", required=True, metavar="DIR", help="The model before it saw any of the rows.")
@click.option("--retain", type=FILE, required=True, metavar="FILE", help="Rows to learn, JSONL.")
@click.option("--also", type=FILE, multiple=True, metavar="FILE", help="More rows to learn; repeatable.")
@click.option(
    "--without", type=FILE, multiple=True, metavar="FILE", help="Rows to leave out, such as the request; repeatable."
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Models, of seeds 1 to this.")
@click.option("--out", type=FILE, required=True, metavar="DIR", help="Where seed-1, seed-2 ... go.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-5,
    show_default=True,
    help="Highest, after the warm-up.",
)
@click.option("--epochs", type=click.IntRange(1), default=5, show_default=True, help="Passes over the rows.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Rows of a step.")
@click.option("--weight-decay", type=click.FloatRange(min=0), default=0.01, show_default=True, help="AdamW's.")
@click.option(
    "--warmup-epochs", type=click.FloatRange(min=0), default=1.0, show_default=True, help="In which the rate rises."
)
@click.option(
    "--max-grad-norm",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Longer gradients are clipped.",
)
@click.option("--max-length", type=click.IntRange(2), metavar="TOKENS", help="Cut longer rows here.")
@click.option("--micro-batch", type=click.IntRange(1), metavar="ROWS", help="Most rows in memory at once.")
@click.option("--prompt-field", metavar="NAME", help="Field that holds the prompt, if not a usual one.")
@click.option("--response-field", metavar="NAME", help="Field that holds the response, if not a usual one.")
@row_limits
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps ...")
@click.option("--allow-download", is_flag=True, help="Allow fetching the base by its hub id.")
@json_option
@common
def reference(progress: TerminalProgress, as_json: bool, **options: Any) -> None:
    """Train reference models: the base, fine-tuned on what stays.

    With every row in --retain it makes the start model. The defaults are the settings of the NPO paper for TOFU on
    Llama-2-7B-chat; a much smaller model needs a higher rate. A model that is there already is not made again.
    """
    from ..train.reference import ReferenceOptions, Tuning, run_reference

    tuning = Tuning(**{name: options.pop(name) for name in TUNING})
    fields = fields_of(options)
    for name in ("prompt_field", "response_field", "max_line", "max_rows"):
        del options[name]
    made = run_reference(ReferenceOptions(fields=fields, **options), tuning, progress)
    if as_json:
        click.echo(json.dumps({"models": [str(path) for path in made]}, indent=1))
        return
    for path in made:
        click.echo(one_line(f"Reference model: {path}"))
