"""The table of methods and objectives that the README shows."""

from __future__ import annotations

from ..losses.methods import METHODS, OBJECTIVES


def methods_table() -> str:
    """Markdown: every method as a sum of terms, every term with formula, defaults and source."""
    lines = ["| method | minimises | source |", "|---|---|---|"]
    for method in METHODS.values():
        weighted = " + ".join(f"{weight:g} {term}" for term, weight in method.terms.items())
        lines.append(f"| `{method.name}` | {weighted} | {method.source} |")
    lines += ["", "| term | formula | on | defaults | source |", "|---|---|---|---|---|"]
    lines += [
        f"| `{term.name}` | `{_cell(term.formula)}` | {term.role} rows | "
        f"{', '.join(f'{name} {value:g}' for name, value in term.hyperparameters.items())} | {term.source} |"
        for term in sorted(OBJECTIVES.values(), key=lambda term: term.name)
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
