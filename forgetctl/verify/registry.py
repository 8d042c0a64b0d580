"""Every check, found in its folder, and what they find together."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from pydantic import create_model

from . import checks
from .findings import Measure, ModelWork
from .statistics.shapes import Shape


def _measures() -> tuple[Measure[Any], ...]:
    modules = [module.name for module in iter_modules(checks.__path__) if not module.name.startswith("_")]
    measures = (import_module(f"{checks.__name__}.{name}").MEASURE for name in modules)
    return tuple(sorted(measures, key=lambda measure: measure.place))


MEASURES = _measures()
"""In the order in which the verdict tells them."""
COUNT_CHECKS = sum(measure.counts for measure in MEASURES)
"""Checks that count rows share the failing level, so that one of them fails by chance no more often than it says."""
WORKS: dict[str, ModelWork] = {measure.work.variant: measure.work for measure in MEASURES if measure.work}
"""What checks do with models, by the variant of their score files."""

if TYPE_CHECKING:
    from .options import VerifyOptions

    class Findings(Shape):
        """The finding of every check, by its key."""

        def __init__(self, **measured: Any) -> None: ...

else:
    Findings = create_model(
        "Findings",
        __base__=Shape,
        __doc__="The finding of every check, by its key.",
        **{measure.key: (measure.shape, ...) for measure in MEASURES},
    )


def work_asked_for(options: VerifyOptions) -> list[tuple[str, object]]:
    """Options of checks that work on models, with their values, where they were given."""
    return [(work.option, asked) for work in WORKS.values() if (asked := work.asked(options))]


def findings(**measured: Any) -> Findings:
    """Findings of which only some were measured, for the rest as if there had been nothing to measure."""
    return Findings(**{**{measure.key: measure.empty for measure in MEASURES}, **measured})
