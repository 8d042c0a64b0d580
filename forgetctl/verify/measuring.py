"""Score the models one after another, never two in memory, and measure what a verdict needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ..errors import InputError, UsageError
from ..files.writing import model_digest
from ..model.encoders import Encoders
from ..model.encoding import Encoded, Encoder, encode_rows
from ..model.load import ModelFacts, inspect_model, load_model
from ..model.processes import Ranks
from ..model.protocol import Model
from ..model.row_scorer import AFFIRMED, ALL_MODES, PRIMED, UNTHINKING, RowScorer
from ..model.sampling import Sampling
from ..model.scores import ATTACK, DRAWN, GREEDY, REPHRASED, SERVED, Role, Scores, ScoreSet, Wording
from ..model.shares import SharedStates
from ..model.taught import read_taught
from ..model.usage import Usage, answer_of
from ..model.windows import windows_note
from ..people.in_place import Places
from ..progress import Progress
from ..recipe.recipe import Recipe
from ..rows.row import Key, Row
from ..rows.spans import answering_alike


@dataclass(frozen=True, kw_only=True, repr=False)
class RowSets:
    """The rows to score by the name of their set, with the file each set came from.

    Sets: forget, retain, holdout, real_authors, world_facts, rephrased-1 ..., attack-1 ... Forget rows carry perturbed
    answers where there are any. perturbed: "request" if the request brought them, "nearest answers" if they were made,
    None if there are none. places: of the forget rows' secrets among other strings. rehearsed: what the run trained on
    to keep it, None for a model that no run made. wordings: of the sets of attack prompts, by which templates they were
    made.
    """

    rows: Mapping[str, Sequence[Row]]
    files: Mapping[str, Path]
    perturbed: str | None = None
    rehearsed: frozenset[Key] | None = None
    wordings: Mapping[str, Wording] = field(default_factory=dict)
    places: Places | None = None

    @property
    def forget(self) -> Sequence[Row]:
        """What was to be forgotten."""
        return self.rows["forget"]


@dataclass(frozen=True, kw_only=True)
class _How:
    """How a set is scored. facts: whether it is told which tokens are. exposure: also secrets among other strings."""

    modes: tuple[str, ...] = ()
    tokens: bool = False
    truth: bool = False
    facts: bool = False
    exposure: bool = False


def _how(role: Role, name: str) -> _How | None:
    """How a role's model is scored on a set, None if it is not: only what the verdict uses is measured."""
    if name == "forget":
        modes = (*ALL_MODES, SERVED) if role != "start" else (GREEDY,)
        return _How(modes=modes, tokens=True, truth=True, facts=True, exposure=True)
    if name.startswith(REPHRASED):
        return _How(modes=(GREEDY, UNTHINKING), tokens=True, truth=True) if role != "start" else _How()
    if name.startswith(ATTACK):
        return _How(modes=(GREEDY, UNTHINKING) if role != "start" else ())
    return _How(tokens=True, truth=True, facts=True) if name == "holdout" else _How(modes=(GREEDY,), truth=True)


def _how_quantised(role: Role, name: str) -> _How | None:
    """The cheap checks: answers to the forget rows, and what was kept."""
    if name == "forget":
        return _How(modes=(GREEDY, UNTHINKING) if role != "start" else (), truth=True)
    return _How() if name == "retain" else None


def _how_again(role: Role, name: str) -> _How | None:
    """What shows that rows stay forgotten: their scores, and every answer that is not left to chance."""
    return _How(modes=(GREEDY, UNTHINKING, PRIMED, AFFIRMED))


UNSEEN_ASKED = 400
"""Most rows that no model saw that are asked for, evenly spread."""


def _repeats(rows: ScoreSet) -> bool:
    """Whether any answer repeats a response."""
    return any(count for mode in rows.elicited.values() for count in mode.verbatim or [])


def _without(how: _How, *modes: str) -> _How:
    """The same without some of the ways to ask."""
    return replace(how, modes=tuple(mode for mode in how.modes if mode not in modes))


def check_length(sets: RowSets, recipe: Recipe, path: Path, encoders: Encoders) -> None:
    """Raise UsageError if a row, or a paraphrased or perturbed answer, does not fit the model at `path`."""
    facts = inspect_model(path)
    encoder = encoders.of(facts, recipe.prompt_format)
    for name, rows in sets.rows.items():
        others = [
            answering_alike(row, text)
            for row in rows
            for text in (*row.perturbed_responses, row.paraphrased_response)
            if text
        ]
        try:
            encode_rows(encoder, [*rows, *others], sets.files[name], facts.context, recipe.max_length, recipe.passages)
        except InputError as error:
            raise UsageError(f"{error} (model {path})") from None


@dataclass(kw_only=True)
class Scorer:
    """Scores models on the same rows. Keeps the verified model's final states for the KL divergences.

    kl: divergences in nats per answer token; skipped: what was not measured, with its reason. ranks: the processes that
    each score a share of the rows with the whole model; all must ask for the same, and get the same. encoders: with
    what was encoded before, such as to see whether it fits. served: how the owner draws answers, None where that is not
    asked for.
    """

    sets: RowSets
    recipe: Recipe
    device: torch.device
    progress: Progress
    ranks: Ranks = field(default_factory=Ranks)
    encoders: Encoders = field(default_factory=Encoders)
    served: Sampling | None = None
    kl: dict[str, float | None] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    states: dict[str, SharedStates] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)

    def unlearned(self, path: Path, *, alone: bool = False) -> Scores:
        """Score the model under test and keep its states.

        alone: whether no reference shows which responses a model repeats that never saw them; where it repeats one,
        its answers to unseen rows then show how often it does.
        """
        loaded = self._loaded(path)
        scores = self._score("unlearned", loaded, _how)
        if alone and "holdout" in scores.sets and _repeats(scores.forget):
            scores = self._with_unseen_answers(scores, loaded)
        for name in ("forget", "retain"):
            if rows := self.sets.rows.get(name):
                encoded = loaded.encode(name, rows)
                self.states[name] = SharedStates(self.ranks, loaded.model, encoded)
                if words := windows_note(encoded, name):
                    self.progress.say(words)
        return scores

    def _with_unseen_answers(self, scores: Scores, loaded: Loaded) -> Scores:
        rows, modes = self.sets.rows["holdout"], [mode for mode in scores.forget.elicited if mode not in DRAWN]
        with self.progress.bar("Asking for unseen rows", len(modes) * min(len(rows), UNSEEN_ASKED)) as bar:
            elicited = self._row_scorer(loaded, "holdout", bar.advance).answers(rows, modes, UNSEEN_ASKED)
        unseen = scores.sets["holdout"].model_copy(update={"elicited": elicited})
        return scores.model_copy(update={"sets": {**scores.sets, "holdout": unseen}})

    def again(self, path: Path) -> Scores:
        """Score the model under test on the forget rows of an earlier run, without truth ratios and samples."""
        return self._score("unlearned", self._loaded(path), _how_again)

    def reference(self, path: Path) -> Scores:
        """Score the reference, with KL(reference || unlearned) on forget and retain rows."""
        loaded = self._loaded(path)
        scores = self._score("reference", loaded, _how)
        self._divergence("forget_distance", "forget", loaded)
        self._divergence("retain_distance", "retain", loaded)
        return scores

    def further_reference(self, path: Path) -> Scores:
        """Score another reference, for the noise floor."""
        return self._score("reference", self._loaded(path), _how)

    def start(self, path: Path) -> Scores:
        """Score the start model, with KL(start || unlearned) on forget rows."""
        loaded = self._loaded(path)
        scores = self._score("start", loaded, _how)
        self._divergence("forget_from_start", "forget", loaded)
        return scores

    def at_precision(self, role: Role, path: Path, precision: str) -> Scores:
        """Repeat the cheap checks on a model in the precision it will run in."""
        return self._score(role, self._loaded(path, precision), _how_quantised)

    def load_for_training(self, path: Path) -> Loaded:
        """The model in this process, in float32: small steps would be rounded away in half precision, so an attack
        would look weaker than it is."""
        return self._load(path, training=True)

    def _loaded(self, path: Path, precision: str | None = None) -> Loaded:
        """The model in every process."""
        with self.ranks.agreed():
            return self._load(path, precision)

    def _load(self, path: Path, precision: str | None = None, *, training: bool = False) -> Loaded:
        facts = inspect_model(path)
        dtype = facts.dtype if self.device.type == "cuda" and not training else torch.float32
        encoder = self.encoders.of(facts, self.recipe.prompt_format)
        for note in () if path in self.seen else facts.notes:
            self.progress.say(f"{path}: {note}")
        self.seen.add(path)
        model = load_model(path, self.device, dtype, precision)
        return Loaded(
            facts=facts, encoder=encoder, model=model, sets=self.sets, recipe=self.recipe, precision=precision
        )

    def _score(self, role: Role, loaded: Loaded, how: Callable[[Role, str], _How | None]) -> Scores:
        chosen = {
            name: (rows, _without(method, *self._unasked(loaded)))
            for name, rows in self.sets.rows.items()
            if (method := how(role, name))
        }
        total = sum(len(rows) * (1 + len(method.modes)) for rows, method in chosen.values())
        total += sum(self.sets.places.count for _, method in chosen.values() if method.exposure and self.sets.places)
        title = f"Scoring the {role} model" + (f" at {loaded.precision}" if loaded.precision else "")
        with self.ranks.agreed():
            usage = loaded.usage() if any(method.facts for _, method in chosen.values()) else None
        with self.progress.bar(title, total) as bar:
            sets = {
                name: self._set(
                    self._row_scorer(loaded, name, bar.advance, usage if method.facts else None), name, rows, method
                )
                for name, (rows, method) in chosen.items()
            }
        return Scores(
            role=role,
            name=loaded.facts.path.name,
            sha256=model_digest(loaded.facts.path),
            precision=loaded.precision,
            perturbed=self.sets.perturbed,
            taught=read_taught(loaded.facts.path),
            sets=sets,
        )

    def _set(self, scorer: RowScorer, name: str, rows: Sequence[Row], how: _How) -> ScoreSet:
        rehearsed = self.sets.rehearsed if name == "retain" else None
        scores = scorer.scores(rows, how.modes, tokens=how.tokens, truth=how.truth, rehearsed=rehearsed)
        exposed = scorer.exposure(rows, self.sets.places) if how.exposure and self.sets.places else None
        return scores.model_copy(update={"wording": self.sets.wordings.get(name), "exposure": exposed})

    def _unasked(self, loaded: Loaded) -> list[str]:
        """Ways to ask that are no other than one that is there."""
        return [*([] if loaded.encoder.thinks else [UNTHINKING]), *([] if self.served else [SERVED])]

    def _row_scorer(
        self, loaded: Loaded, name: str, advance: Callable[[int], None], usage: Usage | None = None
    ) -> RowScorer:
        return RowScorer(
            model=loaded.model,
            encoder=loaded.encoder,
            encode=lambda rows: loaded.encode(name, rows),
            settings=self.recipe.verify,
            context=loaded.facts.context,
            seed=self.recipe.seed,
            advance=advance,
            ranks=self.ranks,
            usage=usage,
            served=self.served,
        )

    def _divergence(self, name: str, rows: str, loaded: Loaded) -> None:
        states = self.states.get(rows)
        if states is None:
            self.skipped[f"kl.{name}"] = f"there are no {rows} rows to compare on"
        elif states.rows != loaded.encode(rows, self.sets.rows[rows]):
            self.skipped[f"kl.{name}"] = "the two models tokenise the rows differently"
        elif states.vocabulary != loaded.model.get_output_embeddings().weight.shape[0]:
            self.skipped[f"kl.{name}"] = "the two models have vocabularies of different size"
        else:
            self.kl[name] = max(states.divergence_from(loaded.model), 0.0)  # rounding can fall below


@dataclass(frozen=True, kw_only=True, repr=False)
class Loaded:
    """A model in memory with what encodes rows for it."""

    facts: ModelFacts
    encoder: Encoder
    model: Model
    sets: RowSets
    recipe: Recipe
    precision: str | None

    def encode(self, name: str, rows: Sequence[Row]) -> list[Encoded]:
        """Encode rows of a set, or others with answers of their own."""
        context, recipe = self.facts.context, self.recipe
        return encode_rows(self.encoder, rows, self.sets.files[name], context, recipe.max_length, recipe.passages)[0]

    def usage(self) -> Usage | None:
        """Of tokens in the retain answers, None without any."""
        rows = self.sets.rows.get("retain")
        return Usage(map(answer_of, self.encode("retain", rows))) if rows else None
