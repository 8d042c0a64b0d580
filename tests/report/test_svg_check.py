"""What may stand in a plot's place of a page that somebody else sealed: a drawing with our words, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from forgetctl.report.plots import distribution, training
from forgetctl.report.svg_check import UnfitError, check_plot

SAMPLES = {"start": np.array([0.5, 1.0, 2.0]), "unlearned": np.array([0.9, 1.1, 1.4])}
LABELS = {"start": "Start", "unlearned": "Unlearned"}
DRAWN = distribution("ratio", "Truth ratio", SAMPLES, LABELS, "truth ratio", log=True)


def inside(more: str) -> str:
    """More at the end of the drawing."""
    return DRAWN.replace("</svg>", f"{more}</svg>")


def test_our_own_drawings_pass() -> None:
    check_plot("ratio", DRAWN, DRAWN)
    other = training("training", "Training", [1, 2], {"loss": [2.0, 1.0], "forget": [-1.0, -2.0]})
    check_plot("training", other, other)


def test_another_version_may_draw_other_lines_and_label_other_places() -> None:
    moved = DRAWN.replace("L 482.4 198", "L 481.9 197.5").replace(">1<", ">1.25<")
    assert moved != DRAWN
    check_plot("ratio", moved, DRAWN)
    check_plot("ratio", inside('<circle cx="3" cy="4.5" r="2" style="fill: none"/>'), DRAWN)


@pytest.mark.parametrize(
    "plot",
    [
        "",
        "text",
        "<svg></svg><svg></svg>",
        DRAWN + DRAWN,
        DRAWN + "<p>PASS</p>",
        "<p>PASS</p>" + DRAWN,
        " " + DRAWN,
        DRAWN.replace("</svg>", ""),
        DRAWN.replace("<svg ", '<!DOCTYPE svg [<!ENTITY a "b">]><svg '),
        DRAWN.replace("<svg ", '<?xml version="1.0"?><svg '),
        DRAWN.replace("<svg ", '<svg onload="alert(1)" '),
        DRAWN.replace("<svg ", '<svg style="position: fixed" '),
        DRAWN.replace("<svg ", '<svg class="page" '),
        DRAWN.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '),
        DRAWN.replace("<svg ", '<svg width="100%" '),
        DRAWN.replace("Medians: Start 1,", "Medians: Start 0,"),
        DRAWN.replace(">Start (n = 3)<", ">Start (n = 9)<"),
        DRAWN.replace("<title>Truth ratio</title>", "<title>PASS</title>"),
        DRAWN.replace("<title>Truth ratio</title>", "<title>Truth ratio<g/></title>"),
        DRAWN.replace('id="ratio-figure_1"', 'id="figures"'),
        DRAWN.replace('id="ratio-figure_1"', 'id="ratio-patch_1"'),
        DRAWN.replace('href="#ratio-', 'href="#figures-', 1),
        DRAWN.replace('href="#ratio-', 'href="https://example.org/#ratio-', 1),
        DRAWN.replace("url(#ratio-", "url(https://example.org/#ratio-", 1),
        DRAWN.replace("var(--sans)", "url(https://example.org/font)", 1),
        inside("PASS"),
        inside("<text>PASS</text>"),
        inside("<text><tspan>PASS</tspan></text>"),
        inside("<!-- PASS -->"),
        inside("<![CDATA[PASS]]>"),
        inside("<?php PASS ?>"),
        inside("<svg></svg>"),
        inside("<script>alert(1)</script>"),
        inside("<SCRIPT>alert(1)</SCRIPT>"),
        inside("<foreignObject><p>PASS</p></foreignObject>"),
        inside('<image href="data:image/png;base64,AA"/>'),
        inside('<a href="https://example.org"><text>1</text></a>'),
        inside("<style>p { display: none }</style>"),
        inside('<animate attributeName="x"/>'),
        inside('<set attributeName="href" to="https://example.org"/>'),
        inside('<use xlink:href="#ratio-figure_1"/>'),
        inside('<use href="#ratio-figure_1"/>'),  # a group repeated in a group, over and over
        inside('<path d="M 0 0" onclick="alert(1)"/>'),
        inside('<path d="M 0 0" style="fill: url(https://example.org)"/>'),
        inside('<path d="M 0 0" style="fill: none; position: fixed"/>'),
        inside('<path d="M 0 0" style="fill: none /* */"/>'),
        inside('<path d="M 0 0" style="f\\69ll: none"/>'),
        inside('<path d="M 0 0" fill="url(&#104;ttps://example.org)"/>'),
        inside('<path d="M 0 0" transform="rotate(0) url(x)"/>'),
        inside('<text style="font-size: 900px">1</text>'),
        inside("&pass;"),
    ],
)
def test_anything_else_is_unfit(plot: str) -> None:
    assert plot != DRAWN, "the drawing no longer has what is to be changed"
    with pytest.raises(UnfitError):
        check_plot("ratio", plot, DRAWN)
