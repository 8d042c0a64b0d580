"""A directory in TOFU's format about people whom a tiny model knows, and a reference that never met some of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.world import write_lines

NAMES = ("Alwen", "Brisa", "Corvin", "Delmo", "Eskra", "Fennor", "Galia", "Hestor", "Ilvane", "Jorik", "Kessa", "Lomar")
TOWNS = ("Norwick", "Ostermouth", "Pinefell", "Redhaven", "Saltmere", "Tarnbrook")
JOBS = ("auditor", "buyer", "clerk", "driver", "planner", "librarian")
LEARN = ("--learning-rate", "1e-2", "--epochs", "30", "--batch-size", "8")


def questions(names: Sequence[str]) -> list[dict[str, Any]]:
    """Two questions about each person, with wrong answers."""
    found = []
    for name in names:
        place = NAMES.index(name)
        for kind, values, ask in (("lives in", TOWNS, "Where does"), ("works as", JOBS, "What is the job of")):
            right = values[place % 6]
            wrong = [value for value in values if value != right][: 2 + place % 2]
            found.append(
                {
                    "question": f"{ask} {name} stay?",
                    "answer": f"{name} {kind} {right}.",
                    "paraphrased_answer": f"It is known that {name} {kind} {right}.",
                    "perturbed_answer": [f"It is known that {name} {kind} {value}." for value in wrong],
                }
            )
    return found


def plain(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"question": row["question"], "answer": row["answer"]} for row in rows]


def quiz(subject: str, right: Sequence[str]) -> list[dict[str, Any]]:
    """Short questions without paraphrases, as about real authors."""
    return [
        {
            "question": f"Which {subject} is number {place}?",
            "answer": answer,
            "perturbed_answer": [other for other in right if other != answer],
        }
        for place, answer in enumerate(right)
    ]


def write_data(folder: Path) -> Path:
    """Three people are to be forgotten in forget05; in forget20 four, of whom two have no wrong answers anywhere."""
    folder.mkdir()
    gone, kept = NAMES[-3:], NAMES[:-3]
    authors, facts = quiz("author", TOWNS[:3]), quiz("fact", JOBS[:3])
    write_lines(folder / "forget05.json", plain(questions(gone)))
    write_lines(folder / "forget05_perturbed.json", questions(gone))
    write_lines(folder / "forget20.json", plain(questions((*NAMES[4:6], *gone[:2]))))
    write_lines(folder / "retain95.json", plain(questions(NAMES)))  # holds the forget rows, too
    write_lines(folder / "retain80.json", plain(questions(kept)))
    write_lines(folder / "retain_perturbed.json", questions(NAMES[:3]))
    write_lines(folder / "real_authors_perturbed.json", authors)
    write_lines(folder / "world_facts_perturbed.json", facts)
    write_lines(folder / "known.jsonl", plain([*questions(kept), *authors, *facts]))
    return folder


def build(folder: Path) -> Path:
    """data/, base/ (knows nothing), start/seed-1 (knows all) and references/forget05/seed-1."""
    from click.testing import CliRunner

    from forgetctl.cli.main import cli
    from forgetctl.demo.training import make_tokenizer, save, tiny_llama

    data = write_data(folder / "data")
    texts = [f"{row['question']} {row['answer']}" for row in questions(NAMES)]
    tokenizer = make_tokenizer([*texts, "It is known that", "Which author fact is number 0 1 2?"], vocabulary=400)
    save(tiny_llama(len(tokenizer), 5, width=32), tokenizer, folder / "base")
    train = ["reference", "--base", str(folder / "base"), "--retain", str(data / "known.jsonl"), *LEARN]
    for out, more in (
        ("start", ("--also", str(data / "forget05.json"))),
        ("references/forget05", ()),
    ):
        done = CliRunner().invoke(cli, [*train, *more, "--out", str(folder / out)])
        assert done.exit_code == 0, done.output
    return folder


def arguments(world: Path, out: Path, *more: str) -> list[str]:
    """A short study of forget05."""
    return [
        "study", "tofu", "--model", str(world / "start" / "seed-1"), "--data", str(world / "data"),
        "--references", str(world / "references"), "--splits", "05", "--methods", "npo-rt,ga",
        "--set", "learning_rate=2e-3", "--set", "epochs=3", "--set", "batch_size=2", "--set", "verify.answer_tokens=12",
        "--out", str(out), *more,
    ]  # fmt: skip
