"""What a check is: how it measures, judges, shows and explains itself, and the shape of one line of a verdict.

A finding is a frozen pydantic model, declared in the module of its check. The same object is measured, judged, written
to verdict.json, read from there again and shown in every report. All about a check stands in one module of
`forgetctl.verify.checks`, where `forgetctl.verify.registry` finds it; what it shares with others, or does with models,
stands beside it in a module whose name begins with an underscore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_type_hints

from ..model.scores import Role, Scores
from ..recipe.bounds import Bounds
from .collected import Collected
from .statistics.shapes import Shape
from .tables import Shown, Table

if TYPE_CHECKING:
    from .measuring import Scorer
    from .options import VerifyOptions

Status = Literal["pass", "fail", "unknown", "trace", "reported", "skipped"]
Question = Literal["forgotten", "kept"]
"""The two answers that a verdict gives: a person's right to be forgotten does not depend on what else was lost."""
Finding = TypeVar("Finding")


class Check(Shape):
    """One line of the verdict: what was asked, the answer, and the words for it. about: which answer rests on it."""

    name: str
    status: Status
    code: str
    text: str
    about: Question


def _check(name: str, status: Status, code: str, text: str) -> Check:
    """About the rows being forgotten, unless the measure that it is of says otherwise."""
    return Check(name=name, status=status, code=code, text=text, about="forgotten")


def passed(name: str, code: str, text: str) -> Check:
    """There is evidence that this part of the claim holds."""
    return _check(name, "pass", code, text)


def failed(name: str, code: str, text: str) -> Check:
    """There is evidence against the model."""
    return _check(name, "fail", code, text)


def unsure(name: str, code: str, text: str) -> Check:
    """There is not enough evidence of either."""
    return _check(name, "unknown", code, text)


def trace(name: str, code: str, text: str) -> Check:
    """Something is seen that keeps a model from passing, and is no evidence that it knows the rows."""
    return _check(name, "trace", code, text)


def reported(name: str, code: str, text: str) -> Check:
    """Said, and decides nothing."""
    return _check(name, "reported", code, text)


def skipped(name: str, code: str, text: str) -> Check:
    """Nothing was asked."""
    return _check(name, "skipped", code, text)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a check may look at besides its own finding.

    findings: all of them. count_level: the failing level that the checks of counts share, so that one of them fails by
    chance no more often than the bounds say.
    """

    findings: Shape
    bounds: Bounds
    count_level: float


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A section of the report. words: what its figures mean, from the findings and the bounds."""

    title: str
    words: Callable[[Shape, Bounds], str]


class NotMeasurableError(Exception):
    """Raised by a check that was asked for and cannot be made; the message is the reason, for the reader."""


@dataclass(frozen=True, kw_only=True)
class LoadableModels:
    """Models for a check to do something with: those given by a directory, by role, and the scores of all of them."""

    scorer: Scorer
    paths: Mapping[Role, Path]
    scores: Mapping[Role, Scores]


@dataclass(frozen=True, kw_only=True)
class ModelWork:
    """What a check does with models beyond scoring them, where an option asks for it.

    name: of the check in the verdict. variant: of its score files, as in unlearned-VARIANT.json. option: as it is
    typed. asked: its value, nothing where it was not given. settings: keys of the recipe that it uses besides those of
    scoring. work: scores by role; raises NotMeasurableError.
    """

    name: str
    variant: str
    option: str
    asked: Callable[[VerifyOptions], object]
    settings: tuple[str, ...]
    work: Callable[[LoadableModels], Mapping[Role, Scores]]


def _no_checks(finding: Any, context: Context) -> Iterable[Check]:
    return ()


def _no_tables(finding: Any, shown: Shown) -> Iterable[Table]:
    return ()


def _no_reasons(finding: Any, scores: Collected) -> Mapping[str, str]:
    return {}


def _all_answered(scores: Collected) -> Iterable[tuple[str, str]]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Measure(Generic[Finding]):
    """A check, or a figure that is shown and never judged.

    place: where it stands in the verdict and in its section. measure: gives the finding; what it is annotated to return
    is the shape in the file. empty: the finding where nothing was measured. judge: lines of the verdict. heading,
    table: where and how a report shows it. why_missing: reasons for figures that are not there, by the figure's name.
    unanswered: checks that the scores ask for and do not allow, with the reason. public: what of it a model card may
    say; None where that is nothing. about: which answer rests on it. counts: whether it is one of the checks that
    share the failing level. work: what it does with models.
    """

    place: int
    measure: Callable[[Collected, Bounds], Finding]
    empty: Finding
    judge: Callable[[Finding, Context], Iterable[Check]] = _no_checks
    heading: Heading | None = None
    table: Callable[[Finding, Shown], Iterable[Table]] = _no_tables
    why_missing: Callable[[Finding, Collected], Mapping[str, str]] = _no_reasons
    unanswered: Callable[[Collected], Iterable[tuple[str, str]]] = _all_answered
    public: Callable[[Finding], Finding] | None = None
    about: Question = "forgotten"
    counts: bool = False
    work: ModelWork | None = None

    @property
    def key(self) -> str:
        """Of the finding in verdict.json: the name of the check's module."""
        return self.measure.__module__.rpartition(".")[2]

    @property
    def shape(self) -> Any:
        """The type of the finding, as pydantic takes it."""
        return get_type_hints(self.measure, include_extras=True)["return"]

    def of(self, findings: Shape) -> Finding:
        """The finding among all of them."""
        finding: Finding = getattr(findings, self.key)
        return finding
