"""All that a verdict rests on: scores by model, and the same by the names of their files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from ..model.coarse_scores import coarse
from ..model.scores import ATTACK, REPHRASED, Role, Scores, ScoreSet

Kind = Literal["model", "scores", "tofu-log", "holdout", "none"]
"""What a model is compared with."""
EARLIER = "earlier"
"""Name of the set that holds what an earlier run made a model forget."""
THEN, NOW = "then", "now"


@dataclass(frozen=True)
class Tracked:
    """Scores of the model in training, after an optimizer step."""

    step: int
    epoch: float
    scores: Scores


@dataclass(frozen=True)
class Earlier:
    """Scores of what an earlier run forgot, in the set EARLIER: of its own model when it was verified, and of the
    model under test now. then.name is the run's id."""

    then: Scores
    now: Scores


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Scores by model, and what measuring said besides.

    kind: what the model is compared with. references: the first is the comparison, the others show the noise floor.
    precisions: the same models at other precisions. altered: models that a check changed, by the variant of its files.
    rephrased: file names of the sets rephrased-1, rephrased-2 ... tracked: of the model in training, in order; shown,
    and never part of the verdict. earlier: what earlier runs had forgotten. kl: divergences in nats per answer token.
    skipped: figures that were not measured, with the reason. unmeasured: checks that were asked for and could not be
    made, with the reason.
    """

    unlearned: Scores
    kind: Kind
    start: Scores | None = None
    references: tuple[Scores, ...] = ()
    precisions: Mapping[str, Mapping[Role, Scores]] = field(default_factory=dict)
    altered: Mapping[str, Mapping[Role, Scores]] = field(default_factory=dict)
    rephrased: tuple[str, ...] = ()
    tracked: tuple[Tracked, ...] = ()
    earlier: tuple[Earlier, ...] = ()
    kl: Mapping[str, float | None] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    unmeasured: tuple[tuple[str, str], ...] = ()

    @property
    def reference(self) -> Scores | None:
        """The model that never saw the rows."""
        return self.references[0] if self.references else None

    @property
    def models(self) -> dict[Role, Scores]:
        """The models at full precision, by role."""
        by_role: dict[Role, Scores | None] = {
            "start": self.start,
            "unlearned": self.unlearned,
            "reference": self.reference,
        }
        return {role: scores for role, scores in by_role.items() if scores is not None}

    def forget_sets(self) -> Iterator[tuple[str, str]]:
        """Names of the sets that ask for what was to be forgotten, with what is appended to a check's name."""
        yield from self.owners_sets()
        for name in self.attack_sets():
            yield name, f", {name.replace('-', ' prompts ')}"

    def owners_sets(self) -> Iterator[tuple[str, str]]:
        """Those in the owner's words: the request as it is, and rephrased."""
        yield "forget", ""
        for number, file in enumerate(self.rephrased, 1):
            yield f"{REPHRASED}{number}", f", {file}"

    def attack_sets(self) -> list[str]:
        """Names of those in forgetctl's own other words."""
        return [name for name in self.unlearned.sets if name.startswith(ATTACK)]


def same_tokens(ours: ScoreSet, theirs: ScoreSet) -> bool:
    """Whether answers have the same lengths: log-probabilities per token of other tokens are not comparable."""
    return ours.answer_tokens == theirs.answer_tokens


def coarsened(collected: Collected) -> Collected:
    """All scores as they are written: without the lengths of the request's rows (`model.coarse_scores`)."""
    ours = collected.unlearned

    def each(models: Mapping[Role, Scores]) -> dict[Role, Scores]:
        return {role: coarse(scores, ours) for role, scores in models.items()}

    return replace(
        collected,
        unlearned=coarse(ours),
        start=coarse(collected.start, ours) if collected.start else None,
        references=tuple(coarse(one, ours) for one in collected.references),
        precisions={name: each(models) for name, models in collected.precisions.items()},
        altered={name: each(models) for name, models in collected.altered.items()},
        earlier=tuple(Earlier(coarse(pair.then), coarse(pair.now)) for pair in collected.earlier),
    )


def by_name(collected: Collected) -> dict[str, Scores]:
    """Every score but those of the model in training, by the name of its file.

    Names: start, unlearned, reference, reference-2 ..., unlearned-int8, unlearned-relearned; of what an earlier run
    forgot unlearned-then1 (its own model, when it was verified) and unlearned-now1 (the verified model) ...
    """
    named: dict[str, Scores] = {str(role): scores for role, scores in collected.models.items()}
    named |= {f"reference-{number}": scores for number, scores in enumerate(collected.references[1:], 2)}
    for variant, models in {**collected.precisions, **collected.altered}.items():
        named |= {f"{role}-{variant}": scores for role, scores in models.items()}
    for number, pair in enumerate(collected.earlier, 1):
        named |= {f"unlearned-{THEN}{number}": pair.then, f"unlearned-{NOW}{number}": pair.now}
    return named


def from_names(
    named: Mapping[str, Scores],
    *,
    kind: Kind,
    altered: Collection[str] = (),
    rephrased: Sequence[str] = (),
    tracked: Sequence[Tracked] = (),
    kl: Mapping[str, float | None] | None = None,
    skipped: Mapping[str, str] | None = None,
    unmeasured: Sequence[tuple[str, str]] = (),
) -> Collected:
    """The inverse of `by_name`, with what measuring said besides. altered: variants that checks made.

    Raises KeyError if there are no scores of the verified model, ValueError for a name that is none, or a kind of
    comparison that the references do not fit.
    """
    further: dict[int, Scores] = {}
    earlier: dict[str, dict[int, Scores]] = {THEN: {}, NOW: {}}
    variants: dict[str, dict[Role, Scores]] = {}
    for name, scores in named.items():
        role, _, variant = name.partition("-")
        if role not in get_args(Role):
            raise ValueError("a score file has a name that none has")
        if role == "reference" and variant.isdecimal():
            further[int(variant)] = scores
        elif (when := variant.rstrip("0123456789")) in earlier and when != variant:
            earlier[when][int(variant.removeprefix(when))] = scores
        elif variant:
            variants.setdefault(variant, {})[cast(Role, role)] = scores
    first = [named["reference"]] if "reference" in named else []
    if bool(first) == (kind in ("holdout", "none")):
        raise ValueError("the scores are not those of such a comparison")
    return Collected(
        unlearned=named["unlearned"],
        kind=kind,
        start=named.get("start"),
        references=(*first, *(further[number] for number in sorted(further))),
        precisions={name: models for name, models in variants.items() if name not in altered},
        altered={name: models for name, models in variants.items() if name in altered},
        rephrased=tuple(rephrased),
        tracked=tuple(tracked),
        earlier=tuple(Earlier(then, earlier[NOW][number]) for number, then in sorted(earlier[THEN].items())),
        kl=kl or {},
        skipped=skipped or {},
        unmeasured=tuple(unmeasured),
    )
