"""Which of very many texts say one of many identifiers, however it is written there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..rows.likeness import Substrings
from ..rows.row import Row
from ..rows.secret import Secret
from ._letters import readings
from ._squeezed import squeezed
from .kinds import Disclosure, Reading, disclosure, matcher


class Mentions:
    """Finds the texts that give identifiers away, whole.

    Texts are searched for the identifiers' traces, all at once; only those that hold some are read.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._secrets: dict[str, list[Secret]] = defaultdict(list)
        for secret in dict.fromkeys(secrets):
            for trace in matcher(secret).traces:
                self._secrets[trace].append(secret)
        self._traces = Substrings(list(self._secrets))

    @classmethod
    def of_rows(cls, rows: Iterable[Row]) -> Self:
        """Of all secrets that rows name."""
        return cls(secret for row in rows for secret in row.secrets)

    def among(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Which of the texts say any of them."""
        saying = np.zeros(len(texts), dtype=np.bool_)
        if self._secrets:
            for place, secrets in self._candidates(texts):
                reading = Reading(texts[place])
                saying[place] = any(disclosure(secret, reading) is Disclosure.WHOLE for secret in secrets)
        return saying

    def _candidates(self, texts: Sequence[str]) -> Iterator[tuple[int, dict[Secret, None]]]:
        """Places of texts with the identifiers of which they hold a trace."""
        forms = [(place, squeezed(form)) for place, text in enumerate(texts) for form in readings(text)]
        candidates: dict[int, dict[Secret, None]] = defaultdict(dict)
        for form, trace in self._traces.pairs([text for _, text in forms]):
            candidates[forms[form][0]].update(dict.fromkeys(self._secrets[self._traces.wanted[trace]]))
        yield from candidates.items()
