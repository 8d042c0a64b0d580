"""The paper's studies, with the very objectives that unlearn language models, and a check of forgetctl's own verdict.
All but that of TOFU run on a laptop in minutes.

Each of the small ones is one module with `study(progress) -> Outcome`; its hyperparameters are in recipes/paper/.
"""

from __future__ import annotations

from collections.abc import Mapping

STUDIES: Mapping[str, str] = {
    "synthetic": "Section 4: ten methods on a random-feature model whose true unlearned model is known.",
    "proposition1": "Proposition 1: NPO becomes gradient ascent as beta goes to 0.",
    "theorem2": "Theorem 2: gradient ascent leaves the start linearly, NPO logarithmically.",
    "person": "How often the verdict for one person is right in simulated cases whose truth is known.",
    "calibration": "How often the test of distributions is right in simulated cases whose truth is known.",
    "tofu": "Section 5: methods on the splits of TOFU, from a start model to retrained references.",
}
"""What each study shows, by name."""
LARGE = frozenset({"tofu"})
"""Studies of language models, which need models, data and hours, and have options of their own."""
