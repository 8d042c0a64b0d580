"""`forgetctl rows`: options -> one call -> what was understood."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files.plain_text import one_line
from ._options import PATH, common, download_option, format_options, json_option

if TYPE_CHECKING:
    from ..rows.converting import Lengths, TokenCounts, Understood
    from ..rows.formats import Fields
    from ..rows.known_formats import Format
    from .terminal import TerminalProgress


@click.command()
@click.argument("sources", type=PATH, nargs=-1, metavar="[SOURCE]...")
@click.option("--out", type=PATH, metavar="FILE", help="Where the rows go, as JSONL.")
@format_options
@click.option("--skip-bad", is_flag=True, help="Leave out, and count, what cannot be read.")
@click.option("--model", metavar="DIR", help="Count tokens as this model is given them.")
@download_option("a data set, or a model by its hub id")
@json_option
@common
def rows(
    progress: TerminalProgress,
    fields: Fields,
    *,
    sources: tuple[Path, ...],
    out: Path | None,
    skip_bad: bool,
    model: str | None,
    allow_download: bool,
    as_json: bool,
) -> None:
    """Read rows as every command does, say what was understood of them, and write them in forgetctl's own form.

    Exit code 2 for a row that cannot be read, which the message names. Without a SOURCE, list the formats.
    """
    from ..rows.converting import run_convert
    from ..rows.known_formats import FORMATS

    if not sources:
        if out is not None:
            raise click.UsageError("--out needs a SOURCE")
        _list_formats(FORMATS, as_json=as_json)
        return

    lengths = None if model is None else _lengths(model, allow_download=allow_download)
    found = run_convert(sources, out, fields, lengths, skip_bad=skip_bad)
    if as_json:
        click.echo(json.dumps([one.as_json() for one in found], indent=1))
        return
    for one in found:
        for line in _lines(one):
            click.echo(one_line(line))
    if out is not None:
        progress.say(f"Written to {out}.")


def _lengths(model: str, *, allow_download: bool) -> Lengths:
    from .process import computing

    with computing("cpu"):
        from ..model.lengths import ModelLengths
        from ..recipe.recipe import load_recipe

    return ModelLengths(model, prompt_format=load_recipe().prompt_format, allow_download=allow_download)


def _list_formats(formats: Sequence[Format], *, as_json: bool) -> None:
    from .terminal import out, table

    columns = ("format", "needs", "may have", "written by")
    if as_json:
        names = ("name", "needed", "optional", "written")
        click.echo(json.dumps([{name: getattr(one, name) for name in names} for one in formats], indent=1))
        return
    rows = [(one.name, ", ".join(one.needed), ", ".join(one.optional), one.written) for one in formats]
    out().print(table(columns, rows))


def _lines(one: Understood) -> Iterator[str]:
    yield f"{one.source}: {one.records:,} {one.unit}{'' if one.records == 1 else 's'}"
    yield f"  format: {_counted(one.formats)}"
    yield f"  fields used: {', '.join(one.used) or 'none'}"
    yield f"  fields left out: {_counted(one.dropped)}"
    yield f"  rows: {_counted(one.rows)}"
    yield f"  subjects: {one.subjects:,}"
    if one.context_only:
        yield f"  the assistant's messages that are context alone: {one.context_only:,}"
    if one.tokens is not None:
        yield f"  tokens: {_measured(one.tokens)}"
    if one.skipped:
        yield f"  {one.unit}s left out because they cannot be read: {one.skipped:,}"
        yield from (f"    {why}" for why in one.why)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _measured(tokens: TokenCounts) -> str:
    words = f"{tokens.least} to {tokens.most}, half have {tokens.median:g} or more" if tokens.median else "none"
    words += f"; longer than the model's context: {tokens.longer:,}" if tokens.longer else ""
    return words + (f"; refused by its chat template: {tokens.refused:,}" if tokens.refused else "")
