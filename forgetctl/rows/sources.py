"""Which container reads a source: by its name and by how it begins."""

from __future__ import annotations

from pathlib import Path

from .containers import Container
from .json_lines import JsonLines


def open_source(path: Path) -> Container:
    """The container that reads `path`. Raises InputError for what none reads."""
    return JsonLines(path)
