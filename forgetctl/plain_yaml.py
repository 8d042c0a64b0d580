"""YAML that holds plain values and nothing else: no tags of Python's, no aliases, no key twice."""

from __future__ import annotations

from typing import Any

import yaml


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which can stand for any amount of data, and without keys that stand twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        made = super().construct_mapping(node, deep)
        if len(made) != len(node.value):
            raise yaml.YAMLError("a key stands twice")
        return made


LONGEST_YAML = 2**16
"""Characters; the longest recipe that anybody needs is far shorter."""


def load_yaml(text: str) -> Any:
    """Plain YAML values. Raises yaml.YAMLError for anything else, also for more text than a recipe can have."""
    if len(text) > LONGEST_YAML:
        raise yaml.YAMLError("too long")
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506  a safe loader, and stricter
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise yaml.YAMLError("a value is not what its tag says") from None  # PyYAML's own constructors let these out
