"""Another forward for a module, by giving it a subclass of its class.

A bound method in the module's own dict would refer back to the module: a cycle, which keeps a model that nobody uses
any more in the memory until Python's collector happens to look. A class refers to no module. Its name stays, so that
what finds modules by the name of their class, or by `isinstance`, finds them as before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torch import nn

Maker = Callable[[Any], Callable[..., Any] | None]
"""Makes a forward for the modules of a class. A function of a module, so that it can be pickled by its name."""


def replace_forward(module: nn.Module, make: Maker) -> None:
    """Let the module compute by what `make` gives for its class. Done again it changes nothing."""
    kind: Any = type(module)
    if getattr(kind, "forward_maker", None) is not make:
        module.__class__ = _subclass(kind, make)


@cache
def _subclass(kind: Any, make: Maker) -> Any:
    def reduced(self: Any, protocol: Any) -> tuple[Any, ...]:
        """For pickle, which would look for the class by its name and find the one that it is made from."""
        parts: Any = object.__reduce_ex__(self, protocol)
        return _unmade, (kind, make), *parts[2:]

    own = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    parts = {"forward": make(kind), "forward_maker": staticmethod(make), "__reduce_ex__": reduced}
    return type(kind.__name__, (kind,), own | parts)


def _unmade(kind: Any, make: Maker) -> Any:
    """A module without its state, which pickle and deepcopy set."""
    subclass = _subclass(kind, make)
    return subclass.__new__(subclass)
