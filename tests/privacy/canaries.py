"""Unique strings planted in every text of a request, and the search for them in everything that was written."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.world import write_lines

GZIP, ZIP = b"\x1f\x8b\x08", b"PK\x03\x04"


REGISTERED = {
    "register channel": ("--channel", "{}"),
    "register identity": ("--identity-method", "{}"),
    "register artefact": ("--artefact", "backup:{}=pending"),
}
"""Texts of the register, which its own commands show to its owner and nothing else may."""


def canary(name: str) -> str:
    """A string that occurs nowhere else; its letters outside ASCII look different in JSON, HTML and URLs."""
    return f"Zoë{hashlib.sha256(name.encode()).hexdigest()[:12]}ñ"


@dataclass
class Planted:
    """The files with canaries, and each canary with the name of its place."""

    request: Path
    retain: Path
    holdout: Path
    rephrased: Path
    refusals: Path
    texts: dict[str, str] = field(default_factory=dict)


def plant(folder: Path, known: Iterable[Mapping[str, Any]]) -> Planted:
    """Write a request and what goes with it, a canary in every text. known: further retain rows."""
    texts: dict[str, str] = {}

    def text(place: str, words: str = "is the word here") -> str:
        texts[place] = canary(place)
        return f"{texts[place]} {words}"

    rows = [
        {
            "prompt": text(f"prompt {n}", "what?"),
            "response": text(f"response {n}"),
            "request_id": "REQ-1",
            "subject_id": text(f"subject {n}"),
            "paraphrased_response": text(f"paraphrase {n}"),
            "perturbed_responses": [text(f"perturbed {n} {m}") for m in range(2)],
            "secrets": [texts[f"response {n}"]],
            "note": text(f"unknown field {n}"),
        }
        for n in range(4)
    ]
    kept = [{"prompt": text(f"kept prompt {n}"), "response": text(f"kept response {n}")} for n in range(6)]
    unseen = [{"prompt": text(f"unseen prompt {n}"), "response": text(f"unseen response {n}")} for n in range(6)]
    other = [{"prompt": text(f"rephrased prompt {n}"), "response": rows[n]["response"]} for n in range(4)]
    for place in REGISTERED:
        texts[place] = canary(place)
    refusals = folder / "refusals.txt"
    refusals.write_text("".join(text(f"refusal {n}", "I will not say.") + "\n" for n in range(3)), encoding="utf-8")
    return Planted(
        write_lines(folder / "request.jsonl", rows),
        write_lines(folder / "retain.jsonl", [*rows, *kept, *known]),
        write_lines(folder / "holdout.jsonl", unseen),
        write_lines(folder / "rephrased.jsonl", other),
        refusals,
        texts,
    )


def encoded(text: str) -> dict[str, bytes]:
    """The forms in which a text may lie in a file, case folded as `content` folds them."""
    raw = text.encode()
    forms = {
        "text": raw,
        "JSON": json.dumps(text)[1:-1].encode(),
        "HTML": text.encode("ascii", "xmlcharrefreplace"),
        "URL": quote(text).encode(),
        "UTF-16": text.encode("utf-16-le"),
        "hex": raw.hex().encode(),
        "ASCII letters": re.findall("[0-9a-f]{12}", text)[0].encode(),
    }
    # Base64 of a text inside another one depends on where it begins; the letters at its ends depend on what is there.
    forms |= {f"base64 {lead}": base64.b64encode(b"x" * lead + raw)[4:-4] for lead in range(3)}
    return {name: form.lower() for name, form in forms.items()}


def contents(data: bytes) -> Iterator[bytes]:
    """Bytes as they are, and what is compressed in them."""
    yield data.lower()
    if data.startswith(ZIP):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from contents(archive.read(name))
    for found in re.finditer(re.escape(GZIP), data):
        try:
            yield gzip.decompress(data[found.start() :]).lower()
        except (OSError, EOFError, zlib.error):
            continue  # the three bytes were none of gzip's


def found_in(data: bytes, texts: Mapping[str, str]) -> set[tuple[str, str]]:
    """Places whose canary is in the data, each with the form in which it is."""
    parts = list(contents(data))
    return {
        (place, form)
        for place, text in texts.items()
        for form, wanted in encoded(text).items()
        if any(wanted in part for part in parts)
    }


def found_below(folder: Path, texts: Mapping[str, str], owned: Iterable[Path]) -> dict[str, set[tuple[str, str]]]:
    """Canaries in all files below a folder but the owner's own, in their names and in links."""
    own, found = set(owned), {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        data = name.encode() + (b"" if path.is_symlink() or not path.is_file() or path in own else path.read_bytes())
        if hits := found_in(data, texts):
            found[name] = hits
    return found
