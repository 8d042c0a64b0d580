"""Real retraining noise: two models that never saw some rows, as each other's reference, and what is left made up.

Rows of one author stand together, as in TOFU. A model of which a share x is left scores u + x (b - u): u one of the
two, b the start model. The other one is the reference; unseen rows are those of other authors, or a holdout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from forgetctl.model.coarse_scores import coarse
from forgetctl.model.encoding import Encoded, encode_rows
from forgetctl.model.load import inspect_model, load_encoder, load_model
from forgetctl.model.row_scorer import RowScorer
from forgetctl.model.score_files import read_scores
from forgetctl.model.scores import Role, Scores, ScoreSet
from forgetctl.model.usage import Usage, answer_of
from forgetctl.recipe.bounds import Bounds
from forgetctl.recipe.recipe import load_recipe
from forgetctl.rows.pairing import with_perturbed
from forgetctl.rows.reading import read_rows
from forgetctl.rows.row import Row
from forgetctl.verify.checks._views import STEPPED
from forgetctl.verify.statistics.share_left import SINGLE_REFERENCE, Question, Scored, ShareLeft, noise_of, share_left

Floats = NDArray[np.float64]
BOUNDS = Bounds()
AUTHOR = 20
"""Rows of each author, one after another."""
KNOWN = 8.0
"""Standard deviations of lead of a row that is left wholly known."""
VIEWS = ("taught wording", "first choices", "fact tokens", "extraction", "contrast")


@dataclass(frozen=True)
class Columns:
    """A model's score of every row by view, of those that it was scored for; tokens of the answers."""

    views: Mapping[str, Floats]
    tokens: Floats

    @classmethod
    def of(cls, rows: ScoreSet) -> Columns:
        """From scores as they were measured."""
        facts = rows.facts.first_choices if rows.facts else None
        values = (rows.per_token, rows.exact_memorisation, facts, rows.extraction_strength, rows.log_odds)
        measured = zip(VIEWS, values, strict=True)
        views = {name: np.asarray(one, dtype=float) for name, one in measured if one is not None}
        return cls(views, np.asarray(rows.answer_tokens, dtype=float))

    @classmethod
    def of_request(cls, rows: ScoreSet, role: Role) -> Columns:
        """From scores as `verify` judges and writes them, which are rounded for the rows of a request."""
        return cls.of(coarse(Scores(role=role, name="model", sets={"forget": rows})).forget)


@dataclass(frozen=True, kw_only=True)
class World:
    """Scores of the start model and of two that never saw the rows. unseen: the same of rows that no model saw, None
    where the rows of other authors stand for them."""

    name: str
    start: Columns
    pair: tuple[Columns, Columns]
    unseen: tuple[Columns, tuple[Columns, Columns]] | None = None

    @property
    def views(self) -> list[str]:
        """Those that all models were scored for."""
        return list(self.start.views)


def published(shared: Path) -> Iterator[World]:
    """Llama-2-7B and Phi-1.5 on 300 rows of forget10, from the logs of TOFU's and NPO's authors."""
    logs = shared / "tofu" / "logs"
    for name, start, first, second in (
        ("Llama-2-7B", "tofu_llama2-7b_full", "npo_retain90_llama", "tofu_llama2-7b_retain90"),
        ("Phi-1.5", "tofu_phi_full", "npo_retain90_phi", "tofu_phi_retain90"),
    ):
        files: dict[str, Role] = {start: "start", first: "unlearned", second: "reference"}
        sets = [
            Columns.of_request(read_scores(logs / f"{log}.json", "reference")[0].forget, role)
            for log, role in files.items()
        ]
        yield World(name=name, start=sets[0], pair=(sets[1], sets[2]))


def tofu_mini(shared: Path) -> World:
    """The 200 rows of forget05, and 400 rows that no model saw."""
    mini, recipe = shared / "tofu-mini", load_recipe()
    forget = read_rows(shared / "tofu" / "forget05_perturbed.json")
    unseen = with_perturbed(read_rows(mini / "holdout.jsonl"), (), recipe.verify.distractors)[0]
    retain = read_rows(shared / "tofu" / "retain_perturbed.json")
    models: dict[str, Role] = {"full": "start", "retrain05": "unlearned", "retrain05-b": "reference"}
    sets = {
        name: [
            Columns.of_request(_scored(mini / name, forget, retain), role),
            Columns.of(_scored(mini / name, unseen, retain)),
        ]
        for name, role in models.items()
    }
    start, first, second = sets.values()
    return World(
        name="tofu-mini",
        start=start[0],
        pair=(first[0], second[0]),
        unseen=(start[1], (first[1], second[1])),
    )


def _scored(path: Path, rows: Sequence[Row], retain: Sequence[Row]) -> ScoreSet:
    recipe, facts = load_recipe(), inspect_model(path)
    encoder = load_encoder(facts, recipe.prompt_format)

    def encode(some: Sequence[Row]) -> list[Encoded]:
        return encode_rows(encoder, some, path, facts.context, recipe.max_length, recipe.passages)[0]

    scorer = RowScorer(
        model=load_model(path, torch.device("cpu"), torch.float32),
        encoder=encoder,
        encode=encode,
        settings=recipe.verify,
        context=facts.context,
        seed=0,
        advance=lambda _: None,
        usage=Usage(map(answer_of, encode(retain))),
    )
    return scorer.scores(rows)


@dataclass(frozen=True)
class Left:
    """What is left of a person: a share of every row, in some views or in all; or one row wholly known."""

    share: float = 0.0
    views: tuple[str, ...] = VIEWS
    row: bool = False


def rates(
    world: World, left: Left, rows: int, draws: int, *, named: bool = True, contrast: bool = False
) -> Counter[str]:
    """Outcomes of a request of one person, each of the pair being the reference half of the time. contrast: whether it
    is judged too, of the people whom the start model knows in it."""
    random, counted = np.random.default_rng(rows), Counter[str]()
    judged = [view for view in world.views if contrast or view != "contrast"]
    for draw in range(draws):
        chosen = _window(random, rows, len(world.start.tokens))
        row = _known_row(world, chosen, random) if left.row else None
        if left.row and row is None:
            continue
        found = [_judged(world, view, chosen, left, row, draw % 2, named=named) for view in judged]
        if (
            contrast and not found[-1].control
        ):  # the start model does not tell right from wrong: the view does not count
            continue
        outcomes = {one.outcome for one in found if one.control}
        counted["FAIL" if "FAIL" in outcomes else "INCONCLUSIVE" if "OPEN" in outcomes or not outcomes else "PASS"] += 1
    return counted


def _window(random: np.random.Generator, rows: int, count: int) -> NDArray[np.int64]:
    """Rows of one author, or of as many as it takes."""
    if rows > AUTHOR:
        return np.arange(rows) + random.integers(count - rows + 1)
    return np.arange(rows) + AUTHOR * random.integers(count // AUTHOR) + random.integers(AUTHOR - rows + 1)


def _known_row(world: World, chosen: NDArray[np.int64], random: np.random.Generator) -> int | None:
    start, first, second = (one.views["taught wording"] for one in (world.start, *world.pair))
    lead = (start - second)[chosen]
    known = np.flatnonzero(lead > KNOWN * float((first - second).std()))
    return int(chosen[random.choice(known)]) if len(known) else None


def _judged(
    world: World, view: str, chosen: NDArray[np.int64], left: Left, row: int | None, swapped: int, *, named: bool
) -> ShareLeft:
    models = (world.start, world.pair[swapped], world.pair[1 - swapped])
    start, model, reference = (one.views[view] for one in models)
    kept = np.zeros(len(start))
    kept[chosen] = left.share if view in left.views else 0.0
    if row is not None:
        kept[row] = 1.0
    tokens = world.start.tokens
    request = Scored(
        model=(model + kept * (start - model))[chosen],
        start=start[chosen],
        references=reference[None, chosen],
        tokens=tokens[chosen],
    )
    unseen = _unseen(world, view, chosen, swapped, named=named)
    step = 1 / float(tokens.mean()) if view in STEPPED else 0.0
    noise, start_noise = noise_of(request, unseen, step), noise_of(request.of_start, unseen.of_start, step)
    assert noise is not None
    views, of_rows = len(world.views), view == "taught wording"
    question = Question(
        bound=BOUNDS.share_left_contrast if view == "contrast" else BOUNDS.share_left,
        overshoot=BOUNDS.overshoot if of_rows else None,
        rows=of_rows,
        weights="lead" if view == "contrast" else "tokens",
        passing=BOUNDS.pass_level * SINGLE_REFERENCE,
        failing=BOUNDS.fail_level / views,
        row_level=BOUNDS.fail_level / len(chosen),
        any_row_level=BOUNDS.fail_level / len(chosen),
    )
    return share_left(request, noise, start_noise, question)


def _unseen(world: World, view: str, chosen: NDArray[np.int64], swapped: int, *, named: bool) -> Scored:
    """A holdout; or the rows of other authors, where the start model, which saw them, is taken for one of the pair."""
    if world.unseen is not None:
        sets = (world.unseen[1][swapped], world.unseen[0], world.unseen[1][1 - swapped])
        rows = np.arange(len(sets[0].tokens))
    else:
        sets = (world.pair[swapped], world.pair[swapped], world.pair[1 - swapped])
        authors = np.arange(len(sets[0].tokens)) // AUTHOR
        rows = np.flatnonzero(~np.isin(authors, authors[chosen]))
    model, start, reference = (one.views[view][rows] for one in sets)
    people = np.unique(rows // AUTHOR, return_inverse=True)[1] if named else None
    return Scored(model=model, start=start, references=reference[None], tokens=sets[0].tokens[rows], subjects=people)


def shares(counted: Mapping[str, int]) -> tuple[float, float]:
    """Of PASS and FAIL."""
    total = sum(counted.values())
    return counted.get("PASS", 0) / total, counted.get("FAIL", 0) / total
