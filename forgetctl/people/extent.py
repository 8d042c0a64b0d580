"""How much is asked in other words. By itself, since a command line needs it before anything else is read."""

from __future__ import annotations

from typing import Literal, get_args

Extent = Literal["quick", "full", "none"]
"""One prompt for each row; every template; none."""
EXTENTS: tuple[Extent, ...] = get_args(Extent)
