"""What a request may be flagged for before anything is trained: the rules by name, and the flags that they raise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import NeedsApproval
from .row import listed

RULES = {
    "unknown": "the start model does not know them better than rows nobody saw, so there is nothing to unlearn",
    "refusals": "their response is a refusal, which the model must stay able to give",
    "common": "their response is a few words that many retain rows hold too",
    "overlap": "near copies of their responses, or their secrets, stand in many other retain rows",
    "quota": "they are many beside the retain rows",
}
"""Names of the rules and what they say of the rows that they flag."""
SHOWN = 8
"""Rows that a message names."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """What a rule says of a request. names: of the rows that it flags, as records have them, if it is not about all.

    figure: the measured share or count in words, with the limit. stops: whether the owner must approve.
    """

    rule: str
    rows: int
    of: int
    names: tuple[str, ...]
    figure: str
    stops: bool

    def words(self) -> str:
        """The flag in one line, which names rows."""
        where = f", row{'s' if len(self.names) > 1 else ''} {listed(self.names, SHOWN)}" if self.names else ""
        return f"{self.rule}: {self.rows} of {self.of} rows{where}: {RULES[self.rule]} ({self.figure})"

    def as_json(self) -> dict[str, Any]:
        """Plain values for the run's record."""
        return {**asdict(self), "names": list(self.names)}


def check_approved(request: Path, flags: Iterable[Flag], approved: Sequence[str]) -> None:
    """Raise NeedsApproval naming every rule that stops the request and that the owner has not approved."""
    open_ = [flag for flag in flags if flag.stops and flag.rule not in approved]
    if not open_:
        return
    options = " ".join(f"--approve {flag.rule}" for flag in open_)
    flagged = "\n".join(f"  {flag.words()}" for flag in open_)
    raise NeedsApproval(
        f"{request}: somebody should look at this request first\n{flagged}\nTo go on all the same: {options}"
    )
