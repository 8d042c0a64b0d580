"""The wordings in which a request is asked again, by language, as `attack_prompts.yaml` holds them."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..files.plain_yaml import load_yaml
from ..rows.secret import KindName
from ..rows.text import words

_SLOT = re.compile(r"\{(prompt|begun|name|value|other)\}")
DEFAULT = "en"
"""Language of a text in which no word of any is seen."""


@dataclass(frozen=True)
class Questions:
    """How a kind of identifier is asked for: of whom a name says, the other way round, and of whom another identifier
    says."""

    question: str
    inverted: str
    hop: str


@dataclass(frozen=True, kw_only=True)
class Language:
    """Wordings of one language. words: short ones by which it is recognised. dialogues: turns of user and assistant in
    turn about nothing of the request. kinds: questions by kind of identifier."""

    words: frozenset[str]
    direct: tuple[str, ...]
    dialogues: tuple[tuple[str, ...], ...]
    evasive: tuple[str, ...]
    insisting: tuple[str, ...]
    obfuscated: tuple[str, ...]
    cloze: tuple[str, ...]
    continued: tuple[str, ...]
    kinds: Mapping[KindName, Questions]


@dataclass(frozen=True)
class Wordings:
    """All of them. version: raised with any change, since scores of other prompts cannot be compared."""

    version: int
    languages: Mapping[str, Language]


@cache
def wordings() -> Wordings:
    """The shipped ones."""
    text = importlib.resources.files(__package__).joinpath("attack_prompts.yaml").read_text(encoding="utf-8")
    content = load_yaml(text)
    return Wordings(content["version"], {name: _language(value) for name, value in content["languages"].items()})


def language_of(text: str) -> str:
    """The language of which a text has most of the short words, the first of equals; DEFAULT where it has none.

    Twenty words a language tell English, German, French and Spanish apart in a sentence or two. What is in another
    language is asked about in DEFAULT.
    """
    spoken = words(text)
    counts = {name: sum(word in one.words for word in spoken) for name, one in wordings().languages.items()}
    return max(counts, key=lambda name: (counts[name], name == DEFAULT))


def filled(template: str, **parts: str) -> str:
    """A wording with its slots filled, each once: what is put in is not looked at again. Raises KeyError for a slot
    that is not given."""
    return _SLOT.sub(lambda slot: parts[slot[1]], template)


def _language(value: dict[str, Any]) -> Language:
    names = ("direct", "evasive", "insisting", "obfuscated", "cloze", "continued")
    return Language(
        words=frozenset(value["words"]),
        dialogues=tuple(tuple(turns) for turns in value["dialogues"]),
        kinds={kind: Questions(**asked) for kind, asked in value["kinds"].items()},
        **{name: tuple(value[name]) for name in names},
    )
