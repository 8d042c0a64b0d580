"""`forgetctl reference`: options -> one call -> where the models are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files.plain_text import one_line
from ._options import (
    PATH,
    common,
    device_option,
    download_option,
    json_option,
    lora_option,
    max_length_option,
    memory_option,
    optimizer_option,
    row_options,
)
from .process import computing

if TYPE_CHECKING:
    from ..rows.formats import Fields
    from .terminal import TerminalProgress

POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option("--base", required=True, metavar="DIR", help="The model before it saw any of the rows.")
@click.option("--retain", type=PATH, required=True, metavar="FILE", help="Rows to learn.")
@click.option("--also", type=PATH, multiple=True, metavar="FILE", help="More rows to learn; repeatable.")
@click.option(
    "--without", type=PATH, multiple=True, metavar="FILE", help="Rows to leave out, such as the request; repeatable."
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Models, of seeds 1 to this.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Where seed-1, seed-2 ... go.")
@click.option("--learning-rate", type=POSITIVE, default=1e-5, show_default=True, help="Highest, after the warm-up.")
@click.option("--epochs", type=click.IntRange(1), default=5, show_default=True, help="Passes over the rows.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Rows of a step.")
@click.option("--weight-decay", type=click.FloatRange(min=0), default=0.01, show_default=True, help="AdamW's.")
@click.option(
    "--warmup-epochs", type=click.FloatRange(min=0), default=1.0, show_default=True, help="In which the rate rises."
)
@click.option("--max-grad-norm", type=POSITIVE, default=1.0, show_default=True, help="Longer gradients are clipped.")
@max_length_option
@click.option("--micro-batch", type=click.IntRange(1), metavar="ROWS", help="Most rows in memory at once.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="What is computed in, with float32 weights; auto: bf16 where that is faster.",
)
@lora_option
@optimizer_option
@memory_option
@row_options
@device_option
@download_option("the base by its hub id, and rows of a data set (hf://...)")
@json_option
@common
def reference(
    progress: TerminalProgress,
    fields: Fields,
    *,
    base: str,
    retain: Path,
    also: tuple[Path, ...],
    without: tuple[Path, ...],
    seeds: int,
    out: Path,
    learning_rate: float,
    epochs: int,
    batch_size: int,
    weight_decay: float,
    warmup_epochs: float,
    max_grad_norm: float,
    max_length: int | None,
    micro_batch: int | None,
    precision: str,
    lora: bool,
    optimizer: str | None,
    max_memory: int | None,
    device: str,
    allow_download: bool,
    as_json: bool,
) -> None:
    """Train reference models: the base, fine-tuned on what stays.

    With every row in --retain it makes the start model. The defaults are the settings of the NPO paper for TOFU on
    Llama-2-7B-chat; a much smaller model needs a higher rate. A model that is there already is not made again, and one
    whose training was interrupted goes on from its last checkpoint.
    """
    from ..recipe.recipe import LORA_RECIPE, load_recipe

    with computing(device):
        from ..train.distributed import is_main_process
        from ..train.reference import ReferenceOptions, Tuning, run_reference

    options = ReferenceOptions(
        base=base,
        retain=retain,
        out=out,
        also=also,
        without=without,
        seeds=seeds,
        fields=fields,
        device=device,
        allow_download=allow_download,
        max_memory=max_memory,
    )
    tuning = Tuning(
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        weight_decay=weight_decay,
        warmup_epochs=warmup_epochs,
        max_grad_norm=max_grad_norm,
        max_length=max_length,
        micro_batch=micro_batch,
        precision=precision,
        optimizer=optimizer or "adamw",
        lora=load_recipe(LORA_RECIPE).lora if lora else None,
    )
    made = run_reference(options, tuning, progress)
    if not is_main_process():
        return
    if as_json:
        click.echo(json.dumps({"models": [str(path) for path in made]}, indent=1))
        return
    for path in made:
        click.echo(one_line(f"Reference model: {path}"))
