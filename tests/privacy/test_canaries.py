"""Request text is nowhere but in the owner's files; no socket is opened; all that a run writes is private."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.privacy.canaries import REGISTERED, canary, encoded, found_below, found_in
from tests.privacy.conftest import Trial


def test_everything_ran_as_it_should(trial: Trial) -> None:
    assert trial.exits[:2] == [0, 0]
    assert trial.exits[2] in (0, 3, 4)
    assert trial.exits[3:] == [0] * 7 + [1, 130, 1]
    assert trial.output.count("unexpected ValueError") == 2


def test_no_canary_left_the_owners_files(trial: Trial) -> None:
    found = found_below(trial.folder, trial.planted.texts, trial.owned)
    register = {place for name in list(found) if name.startswith("register.sqlite") for place, _ in found.pop(name)}
    assert register == REGISTERED.keys()
    assert found == {}


def test_no_canary_reached_the_terminal(trial: Trial) -> None:
    found = {place for place, _ in found_in(trial.output.encode(), trial.planted.texts)}
    subjects = {place for place in trial.planted.texts if place.startswith("subject ")}
    assert found <= REGISTERED.keys() | subjects  # `requests` and `verify` are there to say whom it is about


def test_no_plain_digest_of_the_request_is_kept(trial: Trial) -> None:
    """Whoever has such a digest can test guesses about a short text."""
    from hashlib import sha256

    personal = (trial.planted.request, trial.planted.retain, trial.planted.rephrased)
    texts = [text for file in personal for text in (file.read_bytes(), *file.read_bytes().splitlines())]
    texts += [text.encode() for text in trial.planted.texts.values()]
    digests = {sha256(text).hexdigest().encode() for text in texts}
    for path in trial.folder.rglob("*"):
        if path.is_file() and path not in trial.owned:
            data = path.read_bytes()
            assert not [digest for digest in digests if digest in data], path


def test_token_ids_of_the_request_are_not_kept(trial: Trial, world: Path) -> None:
    """Ids are text for whoever has the tokenizer."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(world / "model" / "tokenizer.json"))
    ids = [tokenizer.encode(text).ids[:8] for text in trial.planted.texts.values()]
    forms = {separator.join(map(str, some)).encode() for some in ids for separator in (", ", ",", "\n", ",\n ")}
    for path in trial.folder.rglob("*"):
        if path.is_file() and path not in trial.owned and path.suffix != ".safetensors":
            assert not [form for form in forms if form in path.read_bytes()], path


def test_no_connection_was_tried(trial: Trial) -> None:
    assert "NETWORK" not in trial.output


def test_files_are_private_whatever_the_umask(trial: Trial) -> None:
    made = [trial.folder / name for name in ("runs/a", "runs/a.bundle", "runs/a.keys", "runs/b")]
    paths = [path for folder in made for path in (folder, *folder.rglob("*"))]
    paths += [*trial.folder.glob("runs/*.key"), *trial.folder.glob("register.sqlite*"), trial.folder / "k.key"]
    open_ = {
        str(path.relative_to(trial.folder)): oct(mode)
        for path in paths
        if not path.is_symlink() and (mode := stat.S_IMODE(path.stat().st_mode)) != (0o700 if path.is_dir() else 0o600)
    }
    assert open_ == {}
    assert (trial.folder / "runs/a/model/model.safetensors") in paths


@pytest.mark.parametrize("form", ["text", "JSON", "HTML", "URL", "UTF-16", "hex", "base64", "gzip", "sqlite", "folded"])
def test_the_search_finds_what_is_hidden(form: str, tmp_path: Path) -> None:
    text = canary("here")
    raw = f"before {text} after".encode()
    file = tmp_path / "hidden"
    if form == "sqlite":
        with sqlite3.connect(file) as database:
            database.execute("create table t (v text)")
            database.execute("insert into t values (?)", (raw.decode(),))
    else:
        made = {
            "gzip": gzip.compress(raw),
            "base64": base64.b64encode(raw),
            "folded": raw.decode().casefold().encode(),
            "JSON": json.dumps(raw.decode()).encode(),
        }
        file.write_bytes(made.get(form) or b"before" + encoded(text)[form])
    assert found_below(tmp_path, {"here": text}, [])
    assert not found_below(tmp_path, {"there": canary("there")}, [])
