"""Sizes, times and foreign text made fit to show, and the template environments that use them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from ..files.plain_text import one_line, printable
from ..verify.tables import number, p_value


def size(count: int | None) -> str:
    """Bytes as kB, MB or GB (powers of 1000)."""
    if count is None:
        return "not recorded"
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}" if count < 1000 * factor else f"{count / factor:,.0f} {unit}"
    return f"{count} bytes"


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours."""
    if seconds is None:
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(iso: str | None) -> str:
    """An ISO 8601 time in words; anything else unchanged."""
    if not iso:
        return "not recorded"
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    zone = f" {time:%Z}" if time.tzinfo else ""
    return f"{time.day} {time:%B %Y}, {time:%H:%M}{zone}"


def clean(value: Any) -> Any:
    """JSON values made safe to show and write: numbers finite or None, text without invisible characters."""
    if isinstance(value, dict):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, str):
        return printable(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Markdown(str):
    """Text that is Markdown already and must not be escaped again."""

    __slots__ = ()


def markdown(value: object) -> str:
    """Plain text as Markdown that shows it literally, on one line, also inside a table cell."""
    if isinstance(value, Markdown):
        return value
    text = re.sub(r"([\\`*_\[\]<>|#~&$])", r"\\\1", re.sub(r"\s+", " ", str(value)))
    text = text.replace("@", "\N{FULLWIDTH COMMERCIAL AT}")  # no escape keeps a name behind it from being notified
    return re.sub(r"(://|(?<=www)\.)", r"\\\1", text, flags=re.IGNORECASE)  # or else it becomes a link


def _on_one_line(value: object) -> object:
    """What is inserted into a page of HTML stays on its line, but for markup, such as plots."""
    return one_line(value) if type(value) is str else value


def code_block(text: str) -> Markdown:
    """An indented code block, which no content can leave."""
    return Markdown("\n".join(f"    {line}" for line in text.split("\n")))


@cache
def environment(kind: str) -> Environment:
    """Templates for "html" or "md"; whatever they insert is escaped unless marked otherwise."""
    made = Environment(
        loader=PackageLoader("forgetctl", "report"),
        undefined=StrictUndefined,
        autoescape=kind == "html",  # noqa: S701  Markdown is escaped by finalize, which sees every value
        finalize=markdown if kind == "md" else _on_one_line,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(number=number, p_value=p_value, size=size, duration=duration, moment=moment)
    made.filters.update(code_block=code_block)
    return made


def quantiles(distributions: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> dict[str, dict[str, Any]]:
    """Number of rows, median and deciles of every distribution, by kind and role."""
    return {
        kind: {
            role: {"n": len(values)}
            | {f"q{share}": clean(float(np.percentile(values, share))) for share in (10, 50, 90)}
            for role, values in samples.items()
        }
        for kind, samples in distributions.items()
    }
