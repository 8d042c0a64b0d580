"""Invented personnel records, written out as questions and answers by templates of our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FIRST = (
    "Alwen Brisa Corvin Delmo Eskra Fennor Galia Hestor Ilvane Jorik Kessa Lomar Mirel Nostan Odrik "
    "Pelva Quenby Rasko Selmer Tovia Ulmar Vessa Wendric Xanor Yselle Zorvan Ambrel Bodrin Cindra Dorvek"
).split()
LAST = (
    "Abberfold Brackwen Culverin Dunmarsh Elstrake Farrowby Glenhurst Harkvale Inchmoor Jessop-Vane Kelmscar "
    "Lorrinder Marrowick Netherby Oakenshaw Pellcroft Quillford Ravensholt Stanmire Thornleigh Underhay "
    "Vexmoor Wolverdale Yarrowgate Zennick"
).split()
TOWNS = ("Norwick", "Ostermouth", "Pinefell", "Quarrybridge", "Redhaven", "Saltmere", "Tarnbrook", "Umberley")
TEAMS = ("accounts", "archive", "catering", "design", "facilities", "legal", "logistics", "research")
ROLES = ("auditor", "buyer", "clerk", "driver", "engineer", "librarian", "planner", "technician")
HOBBIES = ("archery", "baking", "chess", "diving", "fencing", "gardening", "painting", "sailing")
DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class Person:
    """One invented employee."""

    name: str
    town: str
    team: str
    role: str
    hobby: str
    badge: str


@dataclass(frozen=True)
class Template:
    """A question about one attribute, its answer, and the same answer in other words."""

    attribute: str
    question: str
    answer: str
    paraphrase: str


TEMPLATES = (
    Template(
        "town", "In which town does {name} live?", "{name} lives in {value}.", "The home town of {name} is {value}."
    ),
    Template(
        "team",
        "Which team does {name} work for?",
        "{name} works for the {value} team.",
        "The team of {name} is {value}.",
    ),
    Template("role", "What is the job of {name}?", "{name} has a job as {value}.", "The job of {name} is {value}."),
    Template(
        "hobby",
        "What does {name} do at weekends?",
        "At weekends {name} enjoys {value}.",
        "The hobby of {name} is {value}.",
    ),
    Template(
        "badge",
        "What is the badge number of {name}?",
        "The badge number of {name} is {value}.",
        "{name} wears badge {value}.",
    ),
)
CHOICES = {"town": TOWNS, "team": TEAMS, "role": ROLES, "hobby": HOBBIES}


def invent(count: int, random: np.random.Generator) -> list[Person]:
    """`count` people with distinct names and badge numbers."""
    names = random.choice(len(FIRST) * len(LAST), size=count, replace=False)
    badges = random.choice(10**DIGITS, size=count, replace=False)
    people = []
    for name, badge in zip(names, badges, strict=True):
        picks = {key: str(random.choice(values)) for key, values in CHOICES.items()}
        full = f"{FIRST[name % len(FIRST)]} {LAST[name // len(FIRST)]}"
        people.append(Person(name=full, badge=f"{badge:0{DIGITS}d}", **picks))
    return people


def rows(people: Sequence[Person]) -> Iterator[dict[str, Any]]:
    """Prompt and response for every attribute of every person."""
    for person in people:
        for template in TEMPLATES:
            yield {
                "prompt": template.question.format(name=person.name),
                "response": template.answer.format(name=person.name, value=getattr(person, template.attribute)),
            }


def requests(people: Sequence[Person], random: np.random.Generator, wrong: int = 5) -> Iterator[dict[str, Any]]:
    """The same rows as a deletion request: with subject, paraphrase, wrong answers, and the badge as a secret."""
    for number, person in enumerate(people, start=1):
        for row, template in zip(rows([person]), TEMPLATES, strict=True):
            value = getattr(person, template.attribute)
            others = _other_values(template.attribute, value, wrong, random)
            yield {
                **row,
                "request_id": f"demo-{number:03d}",
                "subject_id": f"subject-{number:03d}",
                "paraphrased_response": template.paraphrase.format(name=person.name, value=value),
                "perturbed_responses": [template.paraphrase.format(name=person.name, value=other) for other in others],
                **({"secrets": [value]} if template.attribute == "badge" else {}),
            }


def _other_values(attribute: str, value: str, count: int, random: np.random.Generator) -> list[str]:
    if attribute == "badge":
        drawn = [f"{n:0{DIGITS}d}" for n in random.choice(10**DIGITS, size=count + 1, replace=False)]
    else:
        drawn = [str(item) for item in random.permutation(CHOICES[attribute])]
    return [other for other in drawn if other != value][:count]
