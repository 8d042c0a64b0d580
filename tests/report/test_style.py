"""The page's colours can be told from its paper, in the light and in the dark: in plots axe cannot tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import forgetctl.report

CSS = (Path(forgetctl.report.__file__).parent / "style.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.S)
)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_lines_can_be_told_from_the_paper(colours: dict[str, str]) -> None:
    for text in ("ink", "soft", "pass", "fail", "open"):
        assert contrast(colours[text], colours["paper"]) >= 4.5, text
    for line in ("start", "unlearned", "reference", "holdout"):
        assert contrast(colours[line], colours["paper"]) >= 3, line
    assert contrast(colours["ink"], colours["tint"]) >= 4.5


def test_the_formula_is_the_standard_one() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)  # the lightest grey that passes
