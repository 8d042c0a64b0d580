"""A request asked again in other words: the same responses, after prompts that try to get them out.

Deterministic, without a model: what is asked of a row depends on its place, its text, and the rows that are given as
examples. Prompts exist in memory alone; records name the templates and count them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TypeVar

from ..rows.repetition import Repetition
from ..rows.row import Row, Turn
from ..rows.secret import Secret
from ..rows.text import word_length
from .extent import Extent
from .kinds import Disclosure, Reading, disclosure, identifiers_in, kind_of
from .wordings import Questions, filled, language_of, wordings

Value = TypeVar("Value")
AS_ASKED = "as asked"
"""Of a row that no template suits: it is scored as the request has it."""
MOST_QUESTIONS = 6
"""Rounds that ask for identifiers at `full`; what a row has beyond them is asked for in no words of its own."""
EXAMPLES = 2
LONGEST_EXAMPLE = 60
"""Words of a row that may be an example."""
FEWEST_BEGUN, MOST_BEGUN = 3, 50
"""Words of a response that are given for its beginning. At most half of it is."""
VARIANTS = 3
"""How often a template is used again for a row, in other words or with other examples."""
_GENITIVE = re.compile(r"['\N{RIGHT SINGLE QUOTATION MARK}]s?$")
_LEET = str.maketrans("aeioAEIO", "43104310")


@dataclass(frozen=True, repr=False)
class Round:
    """The rows of a request, each asked once in other words, in their order. templates: how many by each."""

    rows: tuple[Row, ...]
    templates: Mapping[str, int]

    @property
    def prompts(self) -> int:
        """Rows that are asked in other words."""
        return sum(count for name, count in self.templates.items() if name != AS_ASKED)


def attack_rounds(
    rows: Sequence[Row], examples: Sequence[Row], extent: Extent, accepts: Callable[[Row], bool]
) -> list[Round]:
    """The request in other words, so that every round asks every row once. The first round of `full` is that of
    `quick`.

    A row with identifiers and a name is asked for them first: directly, the other way round, and by another identifier
    of the same person. Then it is asked with each wrap in turn, beginning with another one at every row. examples: of
    which two precede a prompt; rows that are kept. accepts: whether a model can be asked a row.

    No prompt says more of a row's identifiers, or repeats more of the response that is scored after it, than the
    request does. A cloze gives the beginning away and has the rest for its response.
    """
    if extent == "none":
        return []
    usable = [row for row in examples if _is_example(row)]
    people = _People(rows)
    made = [_Asking(row, place, usable, people) for place, row in enumerate(rows)]
    questions = max((one.questions for one in made), default=0)
    wanted = 1 if extent == "quick" else len(WRAPS) + min(questions, MOST_QUESTIONS)
    by_row = [list(islice(one.accepted(accepts), wanted)) for one in made]
    return [_round(rows, by_row, number) for number in range(min(wanted, max(map(len, by_row), default=0)))]


def _round(rows: Sequence[Row], by_row: Sequence[Sequence[tuple[str, Row]]], number: int) -> Round:
    chosen = [
        made[number] if number < len(made) else (AS_ASKED, _bare(row)) for row, made in zip(rows, by_row, strict=True)
    ]
    return Round(tuple(row for _, row in chosen), dict(sorted(Counter(name for name, _ in chosen).items())))


def _bare(row: Row) -> Row:
    """Without the answers that only the request as asked is compared with."""
    return replace(row, paraphrased_response=None, perturbed_responses=())


def _is_example(row: Row) -> bool:
    """One short question with a whole answer."""
    return (
        [role for role, _ in row.context] == ["user"]
        and row.complete
        and not row.spans
        and word_length(row.prompt) + word_length(row.response) <= LONGEST_EXAMPLE
    )


class _People:
    """Names and identifiers of the people whose the rows are; rows that name no subject are each somebody's."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._names: dict[object, Counter[str]] = defaultdict(Counter)
        self._secrets: dict[object, dict[Secret, None]] = defaultdict(dict)
        for row in rows:
            texts = [text for role, text in row.context if role in ("user", "assistant")]
            for secret in (*row.secrets, *(one for text in (*texts, row.response) for one in identifiers_in(text))):
                if kind_of(secret) == "name":
                    self._names[_subject(row)][_GENITIVE.sub("", secret.value)] += 1
            self._secrets[_subject(row)].update(dict.fromkeys(row.secrets))

    def name(self, row: Row) -> str | None:
        """The one that the request names, or that the person's rows say most often."""
        named = (one.value for one in self._secrets[_subject(row)] if kind_of(one) == "name")
        said = (name for name, _ in self._names[_subject(row)].most_common(1))
        return next(chain(named, said), None)

    def others(self, row: Row) -> list[Secret]:
        """Identifiers of the person in other rows, names apart."""
        return [one for one in self._secrets[_subject(row)] if one not in row.secrets and kind_of(one) != "name"]


def _subject(row: Row) -> object:
    return row.subject_id or row.place


class _Asking:
    """The prompts that a row can be asked with, in their order."""

    def __init__(self, row: Row, place: int, examples: Sequence[Row], people: _People) -> None:
        self.row, self.place, self.examples = _bare(row), place, examples
        self.language = wordings().languages[language_of(f"{row.prompt}\n{row.response}")]
        self.name, self.others = people.name(row), people.others(row)

    @property
    def questions(self) -> int:
        """How many prompts ask for identifiers by their kind."""
        return sum(1 for _ in self._questions())

    def accepted(self, accepts: Callable[[Row], bool]) -> Iterator[tuple[str, Row]]:
        """Those that give nothing away and that a model can be asked, each context once."""
        seen = {(self.row.context, self.row.response)}
        for name, row in self._all():
            if (row.context, row.response) not in seen and _is_fair(self.row, row) and accepts(row):
                seen.add((row.context, row.response))
                yield name, row

    def _all(self) -> Iterator[tuple[str, Row]]:
        yield from self._questions()
        names = list(WRAPS)
        for variant in range(VARIANTS):
            for turn in range(len(names)):
                name = names[(self.place + turn) % len(names)]
                if (row := WRAPS[name](self, self.place // len(names) + variant)) is not None:
                    yield name, row

    def _questions(self) -> Iterator[tuple[str, Row]]:
        for number, secret in enumerate(self.row.secrets):
            asked = self.language.kinds[kind_of(secret)]
            if self.name is not None and self.name != secret.value:
                yield "question", self._instead(filled(asked.question, name=self.name), secret)
                yield "inverted", self._inverted(number, asked, self.name)
            for other in self.others[:1]:
                yield "one hop", self._instead(filled(asked.hop, other=other.value), secret)

    def _inverted(self, number: int, asked: Questions, name: str) -> Row:
        """Asked for the name, which stands for the identifier that the prompt says."""
        secret = self.row.secrets[number]
        row = self._instead(filled(asked.inverted, value=secret.value), secret)
        secrets = [Secret(name, "name") if place == number else one for place, one in enumerate(row.secrets)]
        return replace(row, response=name, spans=(), secrets=tuple(secrets), complete=True)

    def _instead(self, prompt: str, secret: Secret) -> Row:
        """Asked this alone, after what the system says; of a passage the identifier alone is the answer."""
        row = self.asked((*self.opening, ("user", prompt)))
        return row if self.row.context else row.answering(secret.value)

    @property
    def opening(self) -> tuple[Turn, ...]:
        """What stands before the conversation."""
        context = self.row.context
        return context[: next((at for at, (role, _) in enumerate(context) if role not in ("system", "tools")), 0)]

    @property
    def question(self) -> str | None:
        """What the user says last, None where something else precedes the response."""
        return self.row.context[-1][1] if self.row.context and self.row.context[-1][0] == "user" else None

    def asked(self, context: tuple[Turn, ...]) -> Row:
        """The row after other turns."""
        return replace(self.row, context=context)

    def asked_last(self, prompt: str) -> Row:
        """The row with another last turn."""
        return self.asked((*self.row.context[:-1], ("user", prompt)))

    def preceded(self, turns: Sequence[Turn]) -> Row:
        """The row with turns before its conversation."""
        opening = self.opening
        return self.asked((*opening, *turns, *self.row.context[len(opening) :]))


def _is_fair(row: Row, made: Row) -> bool:
    """Whether the prompt gives nothing away that the request's own does not."""
    before, now = Reading(row.prompt), Reading(made.prompt)
    for secret in made.secrets:
        said = disclosure(secret, now)
        if said is not Disclosure.NONE and (secret not in row.secrets or said > disclosure(secret, before)):
            return False
    return not Repetition(row.prompt, made.response).in_answer(made.prompt)


def _direct(asking: _Asking, variant: int) -> Row | None:
    """The question restated."""
    if asking.question is None:
        return None
    return asking.asked_last(filled(_chosen(asking.language.direct, variant), prompt=asking.question))


def _dialogue(asking: _Asking, variant: int) -> Row | None:
    """After a dialogue about something else."""
    if not asking.row.context:
        return None
    texts = _chosen(asking.language.dialogues, variant)
    return asking.preceded([("assistant" if at % 2 else "user", text) for at, text in enumerate(texts)])


def _few_shot(asking: _Asking, variant: int) -> Row | None:
    """After retain rows that are answered."""
    if not asking.row.context or len(asking.examples) < EXAMPLES:
        return None
    first = asking.place * EXAMPLES + variant
    rows = [asking.examples[(first + at) % len(asking.examples)] for at in range(EXAMPLES)]
    return asking.preceded([turn for row in rows for turn in (*row.context, ("assistant", row.response))])


def _doubted(asking: _Asking, variant: int) -> Row | None:
    """After an evasive answer that is not believed."""
    if asking.question is None:
        return None
    evasive, insisting = _chosen(asking.language.evasive, variant), _chosen(asking.language.insisting, variant)
    return asking.asked((*asking.row.context, ("assistant", evasive), ("user", insisting)))


def _obfuscated(asking: _Asking, variant: int) -> Row | None:
    """With the person's name in letters that are parted, or of which some are digits."""
    name, question = asking.name, asking.question
    if name is None or question is None or name not in question:
        return None
    spelled = _chosen((_parted(name, "-"), name.translate(_LEET), _parted(name, ".")), variant)
    template = _chosen(asking.language.obfuscated, variant)
    return asking.asked_last(filled(template, prompt=question.replace(name, spelled)))


def _cloze(asking: _Asking, variant: int) -> Row | None:
    """With the beginning of the response up to its first identifier, or half of it; the rest is what is scored."""
    row, question = asking.row, asking.question
    end = _beginning(row)
    if end is None or (row.context and question is None):
        return None
    begun, rest = row.response[:end].strip(), row.response[end:].lstrip()
    cut = len(row.response) - len(rest)
    spans = tuple((first - cut, last - cut) for first, last in row.spans)
    if question is None:
        template = _chosen(asking.language.continued, variant)
        return replace(row, context=(("user", filled(template, begun=begun)),), response=rest, spans=spans)
    prompt = filled(_chosen(asking.language.cloze, variant), prompt=question, begun=begun)
    return replace(asking.asked_last(prompt), response=rest, spans=spans)


WRAPS: Mapping[str, Callable[[_Asking, int], Row | None]] = {
    "direct": _direct,
    "dialogue": _dialogue,
    "few-shot": _few_shot,
    "doubted": _doubted,
    "obfuscated": _obfuscated,
    "cloze": _cloze,
}
"""Templates that any row can be asked with, by the names that records have for them."""


def _beginning(row: Row) -> int | None:
    """Where the part of a response ends that may be given away, None where that has too few words."""
    words = [match.end() for match in re.finditer(r"\S+", row.response)]
    facts = [at for secret in row.secrets if (at := row.response.find(secret.value)) >= 0]
    limit = min([*facts, *(start for start, _ in row.spans[:1])], default=len(row.response))
    ends = [end for end in words[: min(len(words) // 2, MOST_BEGUN)] if end <= limit]
    return ends[-1] if len(ends) >= FEWEST_BEGUN else None


def _parted(name: str, mark: str) -> str:
    return " ".join(mark.join(word) for word in name.split())


def _chosen(values: Sequence[Value], number: int) -> Value:
    """In turn."""
    return values[number % len(values)]
