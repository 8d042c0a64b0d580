"""Whether what stands in a plot's place of somebody else's page can be nothing but a drawing, with the words it should.

An allow-list of elements, attributes and values: whatever is not named here is refused, so nothing can run, fetch,
link, lie over the page or take the place of another part of it. Read as XML, which is stricter than a browser: what
passes means the same to both.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from xml.parsers import expat

_NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_NUMBERS = rf"\s*{_NUMBER}(?:[\s,]+{_NUMBER})*\s*"
_PAINT = r"none|currentColor|var\(--(?:rule|paper|start|unlearned|reference|holdout)\)"
_STYLES = {
    **dict.fromkeys(("fill", "stroke"), _PAINT),
    **dict.fromkeys(("stroke-width", "stroke-dashoffset", "stroke-miterlimit"), _NUMBER),
    **dict.fromkeys(("opacity", "fill-opacity", "stroke-opacity"), _NUMBER),
    "stroke-dasharray": rf"none|{_NUMBERS}",
    "stroke-linecap": "butt|round|square",
    "stroke-linejoin": "miter|round|bevel",
    "font-size": r"\d{1,2}(?:\.\d+)?px",
    "font-family": r"var\(--sans\)",
    "font": r"\d{1,2}(?:\.\d+)?px var\(--sans\)",
    "text-anchor": "start|middle|end",
}
_OWN = r"[\w.-]+"
"""What follows the plot's name in an id of its own."""
_USES = {"href": ("path", rf"#({_OWN})"), "clip-path": ("clipPath", rf"url\(#({_OWN})\)")}
_PLACES = dict.fromkeys(("x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "width", "height"), _NUMBER)
_VALUES = {
    **_PLACES,
    "d": r"[MmLlHhVvCcSsQqTtAaZz\d\s.,e+-]*",
    "points": _NUMBERS,
    "transform": rf"(?:\s*(?:rotate|translate|scale|matrix)\({_NUMBERS}\))+\s*",
    "viewBox": _NUMBERS,
    "role": "img",
}
_LOOK = ("id", "style", "clip-path", "transform")
_ELEMENTS = {
    "svg": ("role", "aria-label", "viewBox"),
    "title": (),
    "defs": (),
    "clipPath": ("id",),
    "g": _LOOK,
    "path": (*_LOOK, "d"),
    "use": (*_LOOK, "href", "x", "y"),
    "rect": (*_LOOK, "x", "y", "width", "height", "rx", "ry"),
    "line": (*_LOOK, "x1", "y1", "x2", "y2"),
    "circle": (*_LOOK, "cx", "cy", "r"),
    "ellipse": (*_LOOK, "cx", "cy", "rx", "ry"),
    "polyline": (*_LOOK, "points"),
    "polygon": (*_LOOK, "points"),
    "text": (*_LOOK, "x", "y"),
    "tspan": (*_LOOK, "x", "y"),
}
_WORDS_IN = {"title", "text", "tspan"}
_FIGURE = re.compile(r"[-+\N{MINUS SIGN}]?[\d.,]+(?:e[-+]?\d+)?%?")
"""A label of an axis: which ones there are is the library's choice."""


class UnfitError(Exception):
    """What a drawing holds that no drawing of ours does; quotes nothing but names of elements."""


@dataclass(kw_only=True)
class _Drawing:
    """What was read so far. name: what every id begins with. ids, used: with the element that each is, or must be, of:
    what may be repeated is a path alone, so that nothing can be repeated over and over."""

    name: str
    label: str | None = None
    open: list[str] = field(default_factory=list)
    ids: list[tuple[str, str]] = field(default_factory=list)
    used: list[tuple[str, str]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def start(self, element: str, attributes: dict[str, str]) -> None:
        if element not in _ELEMENTS or (element == "svg") != (not self.open):
            raise UnfitError(f"an element <{element[:20]}>")
        if self.open and self.open[-1] in _WORDS_IN and (self.open[-1], element) != ("text", "tspan"):
            raise UnfitError(f"an element <{element[:20]}> in text")
        for attribute, value in attributes.items():
            if attribute not in _ELEMENTS[element] or not self._is_allowed(element, attribute, value):
                raise UnfitError(f"an attribute of <{element}>")
        self.open.append(element)
        if element in _WORDS_IN:
            self.words.append("")

    def end(self, _element: str) -> None:
        self.open.pop()

    def text(self, text: str) -> None:
        if self.open[-1] in _WORDS_IN:
            self.words[-1] += text
        elif text.strip():
            raise UnfitError("text outside of its elements")

    def _is_allowed(self, element: str, attribute: str, value: str) -> bool:
        if attribute == "aria-label":
            self.label = value
            return True
        if attribute == "id":
            self.ids.append((value, element))
            return re.fullmatch(f"{self.name}-{_OWN}", value) is not None
        if attribute in _USES:
            of, pattern = _USES[attribute]
            named = re.fullmatch(pattern, value)
            self.used.append((named[1] if named else "", of))
            return named is not None
        if attribute == "style":
            return all(map(_is_declaration, filter(str.strip, value.split(";"))))
        return re.fullmatch(_VALUES[attribute], value) is not None


def _is_declaration(text: str) -> bool:
    name, _, value = (part.strip() for part in text.partition(":"))
    return name in _STYLES and re.fullmatch(_STYLES[name], value) is not None


def check_plot(name: str, plot: str, drawn: str) -> None:
    """Raise UnfitError unless `plot` is one drawing, and has the words of `drawn`, which we drew of the same records.

    Figures at the axes may be others, and lines may run otherwise: another version of the library draws them so.
    """
    given, ours = _read(name, plot), _read(name, drawn)
    if given.label != ours.label or _words(given) != _words(ours):
        raise UnfitError("a drawing with other words than the records give")


def _words(drawing: _Drawing) -> Counter[str]:
    return Counter(word for word in drawing.words if not _FIGURE.fullmatch(word))


def _read(name: str, plot: str) -> _Drawing:
    if not (plot.startswith("<svg ") and plot.endswith("</svg>")):
        raise UnfitError("something else than one drawing")
    drawing = _Drawing(name=re.escape(name))
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = drawing.start, drawing.end
    parser.CharacterDataHandler = drawing.text
    for handler in ("CommentHandler", "ProcessingInstructionHandler", "StartCdataSectionHandler"):
        setattr(parser, handler, _refuse)  # a browser ends these elsewhere
    parser.StartDoctypeDeclHandler = parser.XmlDeclHandler = _refuse
    try:
        parser.Parse(plot.encode(), True)
    except (expat.ExpatError, UnicodeEncodeError):
        raise UnfitError("something else than one drawing") from None
    if len(dict(drawing.ids)) != len(drawing.ids) or not set(drawing.used) <= set(drawing.ids):
        raise UnfitError("a drawing whose ids are not its own, or are used twice")
    return drawing


def _refuse(*_: object) -> None:
    raise UnfitError("something else than elements and text")
