"""`forgetctl report`: render what a run holds. Needs neither torch nor the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from ..files.writing import write_bytes
from ..runs.layout import RunFiles
from ..runs.run import Run
from .render import build, render_html, render_json, render_markdown

Kind = Literal["html", "json", "md"]
KINDS: tuple[Kind, ...] = ("html", "json", "md")


def run_report(path: Path, kind: Kind) -> tuple[Path, str]:
    """Write the report of a run; returns its file and text. Raises RunError naming a damaged file."""
    return write_report(Run.open(path).path, kind)


def write_report(folder: Path, kind: Kind) -> tuple[Path, str]:
    """The same of records in any folder, such as the draft of a bundle."""
    report = build(folder)
    if kind == "html":
        text = render_html(report)
    elif kind == "md":
        text = render_markdown(report)
    else:
        text = json.dumps(render_json(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    file = RunFiles(folder).report_file(kind)
    write_bytes(file, text.encode())
    return file, text
