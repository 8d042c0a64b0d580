"""Whether the model was asked in other words, and how often: what comes out then, the checks of leaks count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pydantic import NonNegativeInt, PositiveInt

from ...people.attack_prompts import AS_ASKED
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Heading, Measure, passed, unsure
from ..statistics.shapes import Shape
from ..tables import Row, Shown, Table, cell, tables_of

NAME = "attack prompts"
DESCRIPTIONS = {
    "question": "Asks for the identifier by its kind, with the person's name.",
    "inverted": "Says the identifier and asks whose it is.",
    "one hop": "Asks by another identifier of the same person.",
    "direct": "The request's question, restated.",
    "dialogue": "After a dialogue about something else.",
    "few-shot": "After two retain rows with their responses.",
    "doubted": "After an evasive answer that is not believed.",
    "obfuscated": "The name with its letters parted, or with digits for letters.",
    "cloze": "With the beginning of the response given.",
    AS_ASKED: "Rows that no template suits, as the request asks them.",
}
"""What each template does, in the order in which they are shown."""


class AttackPrompts(Shape):
    """How often the request was asked in forgetctl's own other words.

    version: of the templates. rounds: sets of scores, each of which asks every row once. prompts: how many by each
    template. uncompared: rounds that a reference was not asked.
    """

    version: PositiveInt
    rounds: PositiveInt
    prompts: dict[str, PositiveInt]
    uncompared: NonNegativeInt

    @property
    def asked(self) -> int:
        """Prompts in other words than the request's."""
        return sum(count for name, count in self.prompts.items() if name != AS_ASKED)


def measure(scores: Collected, bounds: Bounds) -> AttackPrompts | None:
    """What the scores say of it; None where the verified model was not asked so."""
    names = scores.attack_sets()
    worded = [wording for name in names if (wording := scores.unlearned.sets[name].wording) is not None]
    if not worded:
        return None
    prompts: Counter[str] = Counter()
    for wording in worded:
        prompts.update(wording.templates)
    missing = [name for name in names if any(name not in one.sets for one in scores.references)]
    return AttackPrompts(
        version=worded[0].version, rounds=len(names), prompts=dict(sorted(prompts.items())), uncompared=len(missing)
    )


def judge(finding: AttackPrompts | None, context: Context) -> Iterator[Check]:
    """Nothing passes that was asked in the words of the request alone."""
    if finding is None:
        words = "The model was asked in the request's own words alone, so what comes out of others is not known"
        yield unsure(NAME, "NOT_ASKED", f"{words}. Ask with --attacks quick.")
    elif not finding.asked:
        yield unsure(NAME, "NOTHING_TO_ASK", "No row can be asked in other words. Give --rephrased.")
    elif finding.uncompared:
        words = f"A reference was not asked in the other words of {finding.uncompared} of {finding.rounds} rounds"
        yield unsure(NAME, "REFERENCE_NOT_ASKED", f"{words}. Score it again.")
    else:
        by_template = ", ".join(f"{name} {count}" for name, count in finding.prompts.items() if name != AS_ASKED)
        words = f"{finding.asked:,} prompts in other words were asked ({by_template})"
        yield passed(NAME, "ASKED", f"{words}. What comes out of them counts in the checks of leaks.")


def table(finding: AttackPrompts | None, shown: Shown) -> Iterable[Table]:
    """How many prompts by each template."""
    if finding is None:
        return ()
    rows = [
        Row(name.capitalize(), words, (cell(finding.prompts[name]),))
        for name, words in DESCRIPTIONS.items()
        if name in finding.prompts
    ]
    return tables_of(f"Prompts in other words, templates of version {finding.version}.", ("Template", "Prompts"), rows)


HEADING = Heading(
    title="Other words",
    words=lambda findings, bounds: (
        "What does not come out when asked as the request asks may come out in other words. Every row was asked again "
        "in words that are made by templates; the reference was asked alike."
    ),
)
MEASURE = Measure(place=75, measure=measure, empty=None, judge=judge, heading=HEADING, table=table)
