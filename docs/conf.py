"""Builds docs/ as a site: `make docs` writes it to build/docs.

MyST reads the same Markdown that a code host shows, so pages hold no directive: the navigation is made here.
The theme brings its fonts and scripts along, so neither the build nor the site asks the network for anything.
"""

from __future__ import annotations

from sphinx.application import Sphinx

project = "forgetctl"
extensions = ["myst_parser"]
root_doc = "index"
myst_heading_anchors = 4

html_theme = "furo"
html_title = "forgetctl"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
templates_path: list[str] = []

PARTS = {
    "Start": ["quickstart"],
    "Use": ["requests", "unlearn", "levels", "methods", "commands", "verify", "calibration", "report", "library"],
    "Answer for it": ["register", "evidence", "run-directory", "security"],
    "Scale": ["models", "performance", "many-processes"],
    "Studies": ["theory", "tofu"],
    "Change it": ["architecture", "contributing"],
}
"""Headings of the navigation and their pages, in order."""


def _add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append a hidden table of contents for each of PARTS to the first page."""
    if docname == root_doc:
        for heading, pages in PARTS.items():
            lines = ["", "```{toctree}", ":hidden:", f":caption: {heading}", "", *pages, "```", ""]
            source[0] += "\n".join(lines)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _add_navigation)
