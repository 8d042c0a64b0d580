"""Answers about other people: those of LUME, and generated ones. The seed decides every one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from forgetctl.people.kinds import forms, others
from forgetctl.rows.secret import KindName, Secret

KINDS_OF_QUESTIONS: dict[str, KindName] = {
    "qa0": "date",
    "qa1": "number",
    "qa2": "phone",
    "qa3": "email",
    "qa4": "address",
}
"""What LUME's five questions about a person ask for."""
SENTENCES = (
    "{}",
    "It is {}.",
    "I believe that it is {}, but I am not sure.",
    "The answer is: {}",
    "**{}** is what the record says.",
    "According to my records from 2019, it is {} (page 3 of 12).",
    "Das ist {}, soweit ich weiß.",
)


class Fact(NamedTuple):
    """A person's answer to one of the questions."""

    person: str
    secret: Secret


def read_facts(path: Path, *, named: bool) -> list[Fact]:
    """Every fact of a file of LUME, with its kind or without."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    asked = [(row, KINDS_OF_QUESTIONS[row["id"][-3:]]) for row in rows if row["id"][-3:] in KINDS_OF_QUESTIONS]
    return [Fact(row["subject_id"], Secret(row["output"], kind if named else None)) for row, kind in asked]


def read_names(path: Path) -> list[Fact]:
    """Everybody's name, which LUME's biographies begin with."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    texts = [(row["subject_id"], row["input"]) for row in rows if row["id"].endswith("sc1")]
    return [Fact(person, Secret(" ".join(text.split()[:2]))) for person, text in texts]


def read_answers(path: Path) -> list[tuple[str, str]]:
    """Every text of a file of LUME with the person it is about."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [
        (row["subject_id"], f"{row['input']} {row['output']}" if "sc" in row["id"][-3:] else row["output"])
        for row in rows
    ]


def generated(like: list[Secret], count: int, seed: int) -> Iterator[str]:
    """Answers that say a made-up value of the same form, in a written form and a sentence. A value that is one
    of the given ones by chance (dates are few) is none of the others'."""
    random, known = Random(seed), {secret.value for secret in like}
    for number in range(count):
        secret = random.choice(like)
        value = next(value for value in others(secret, 3, seed + number) if value not in known)
        other = Secret(value, secret.kind)
        yield random.choice(SENTENCES).format(random.choice(forms(other)))
