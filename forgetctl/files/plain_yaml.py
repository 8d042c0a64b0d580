"""YAML that holds plain values and nothing else: no tags of Python's, no aliases, no key twice, no depths."""

from __future__ import annotations

from typing import Any

import yaml

LONGEST_YAML = 2**16
"""Characters; the longest recipe that anybody needs is far shorter."""
DEEPEST = 100
"""Lists and mappings in each other."""
LONGEST_NUMBER = 40
"""Characters. Python needs time that grows with the square of a number's length."""


class PlainYAMLError(yaml.YAMLError):
    """Text that is no YAML, or not plain. The message goes after the name of a file, and quotes nothing.

    at: `:line` where the line is known, else empty.
    """

    def __init__(self, why: str, mark: Any = None) -> None:
        self.at = f":{mark.line + 1}" if mark else ""
        super().__init__(why)


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which can stand for any amount of data, and without keys that stand twice."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise PlainYAMLError("is not plain YAML: aliases are not allowed", mark)
        if self.depth == DEEPEST:
            raise PlainYAMLError("is nested too deeply", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # PyYAML's own constructors let these out.
            raise PlainYAMLError("is not plain YAML: a value is not what its tag says", node.start_mark) from None

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        made = super().construct_mapping(node, deep)
        if len(made) != len(node.value):
            raise PlainYAMLError("is not plain YAML: a key stands twice in this part", node.start_mark)
        return made

    def construct_number(self, node: Any) -> int | float:
        """A whole number or a fraction, as SafeLoader reads it, but of no more digits than one can have."""
        if len(self.construct_scalar(node)) > LONGEST_NUMBER:
            raise PlainYAMLError("holds a number that is too long", node.start_mark)
        whole = node.tag == "tag:yaml.org,2002:int"
        number: int | float = (self.construct_yaml_int if whole else self.construct_yaml_float)(node)
        return number


for _kind in ("int", "float"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _PlainLoader.construct_number)


def load_yaml(text: str) -> Any:
    """Plain YAML values. Raises PlainYAMLError for anything else, also for more text than a recipe can have."""
    if len(text) > LONGEST_YAML:
        raise PlainYAMLError(f"is longer than {LONGEST_YAML // 1024} Ki characters")
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506  a safe loader, and stricter
    except PlainYAMLError:
        raise
    except yaml.YAMLError as error:  # whose message may quote the text
        raise PlainYAMLError("is not YAML", getattr(error, "problem_mark", None)) from None
