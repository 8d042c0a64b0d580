"""How much of the start model's lead over models that never saw a subject's rows is left.

The rows of a subject are fixed: they are the request. What is random is how a model that never saw them would score
them. With a score a row (nats a token, share of tokens), of the verified model u, of the start model b and of K
references r_k, and with rows j that none of them saw:

    e_j = u_j - mean_k r_kj             unseen rows;  their mean is the drift of u on everything unseen
    d_i = u_i - mean_k r_ki - mean e    the subject's rows
    L_i = b_i - mean_k r_ki - drift of b
    S(x) = sum w_i (d_i - x L_i),  share left = sum w d / sum w L,  crit(a) = t_{1-a} sqrt(V)

The share is surely below a bound x where S(x) < -crit, surely above where S(x) > crit. V is the variance of sum w e
over rows of one subject, from components between and within subjects (one-way ANOVA; degrees of freedom after
Satterthwaite 1946). Where the unseen rows do not say whose they are, a correlation is assumed. Where the subject's own
rows scatter more than unseen ones do, V grows with them, as a variance moderated towards that of the unseen rows
(Smyth 2004). Without references r is 0, and u is compared with its own unseen rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special  # its quantiles are those of scipy.stats, which takes a second to import

from .resampling import Floats
from .shapes import Lower, Shape, Upper

Ints = NDArray[np.int64]
Weights = Literal["tokens", "lead"]
"""Rows weigh as many answer tokens as they have; or as the start model leads on them (least squares), which finds more
where leads differ much from row to row."""
Reason = Literal["below", "above", "overshot", "known row", "half known row", "not surely below", "not surely above"]

ASSUMED_CORRELATION = 0.25
"""Of the noise of two rows of one subject, where nothing shows it. Between two models of one recipe 0 was measured, up
to .09 between models of different recipes; with .25 assumed, a true .3 passes at the limit in less than 2 %."""
LEAST_CORRELATION = 0.02
"""Where subjects of unseen rows show less."""
LEAST_DEGREES = 4.0
"""Degrees of freedom between subjects from which they show the correlation: those of five people."""
PRIOR_DEGREES = 4.0
"""Degrees of freedom that the variance of unseen rows counts for beside that of a subject's own rows."""
KNOWN_ROW = 6.0
"""Standard deviations of a row's noise by which the start model must lead for the row to be known by itself."""
HALF = 0.5
"""Share of its own lead above which a row counts as still known."""
ROW_DEGREES = 4.0
"""Of Student's t for single rows, whose noise has heavier tails than a normal distribution; and for a subject of one
row, which cannot show that its noise is larger than that of unseen rows."""
SINGLE_REFERENCE = 0.75
"""Share of the passing level that is used up where one reference at most shows the noise."""
NINE_OF_TEN = float(special.ndtri(0.9))
MOST_ROWS = 10_000
"""More are not advised."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What one view says of the same rows, a number a row: the higher, the better known.

    model: (n,) of the verified model. start: (n,). references: (K, n), where K may be 0. tokens: (n,) of the answers.
    subjects: (n,) from 0, None where nobody says whose the rows are.
    """

    model: Floats
    start: Floats
    references: Floats
    tokens: Floats
    subjects: Ints | None = None

    @cached_property
    def compared(self) -> Floats:
        """The references' mean, (n,); 0 without any."""
        return self.references.mean(0) if len(self.references) else np.zeros(self.model.shape)

    @property
    def of_start(self) -> Scored:
        """With the start model in the place of the verified one."""
        return replace(self, model=self.start)

    def of_rows(self, chosen: Ints) -> Scored:
        """Some of the rows, which are one subject's."""
        return Scored(
            model=self.model[chosen],
            start=self.start[chosen],
            references=self.references[:, chosen],
            tokens=self.tokens[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variance of noise within subjects, and of their means times `size`, the rows of one, with degrees of freedom."""

    within: float
    within_df: float
    between: float
    between_df: float
    size: float

    @property
    def correlation(self) -> float:
        """Of the noise of two rows of one subject."""
        shared = max(self.between - self.within, 0.0) / self.size
        return max(shared / (shared + self.within), LEAST_CORRELATION) if self.within else 1.0

    def of_mean(self, square: float) -> tuple[float, float]:
        """Variance of a subject's mean, and its degrees of freedom (Satterthwaite).

        square: the sum of the weights' squares, of weights that add up to 1. More rows than were seen of one subject
        make its mean no surer.
        """
        shared = max(self.between, self.within) / self.size
        own = self.within * max(square - 1 / self.size, 0.0)
        least = self.within * (square * (1 - LEAST_CORRELATION) + LEAST_CORRELATION)
        spread = shared**2 / self.between_df + own**2 / self.within_df
        return max(shared + own, least), (shared + own) ** 2 / spread if spread else self.within_df


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How a model that never saw the rows differs from the mean of the references.

    drift, start_drift: of the verified and of the start model, on rows that neither saw. variance: of a row, with its
    degrees of freedom. drift_variance: of the estimate of the drift. components: of every table that says whose rows
    are alike. tokens: that nine of ten unseen rows have; shorter answers have more noise. source: what shows it.
    """

    source: Literal["unseen rows", "references", "own rows"]
    drift: float
    start_drift: float
    variance: float
    degrees: float
    drift_variance: float
    components: tuple[Components, ...]
    tokens: float

    @property
    def correlation(self) -> float:
        """Of the noise of two rows of one subject, as it shows or is assumed."""
        return max((one.correlation for one in self.components), default=ASSUMED_CORRELATION)

    @property
    def within(self) -> float:
        """Variance of a row's noise within its subject; all of it where nobody says whose the rows are."""
        return max((one.within for one in self.components), default=self.variance)

    def of_mean(self, square: float) -> tuple[float, float]:
        """As `Components.of_mean`, with the error of the drift."""
        if not self.components:
            correlated = square * (1 - ASSUMED_CORRELATION) + ASSUMED_CORRELATION
            return self.variance * correlated + self.drift_variance, self.degrees
        variance, degrees = max(one.of_mean(square) for one in self.components)
        return variance + self.drift_variance, degrees

    def inflation(self, tokens: Floats) -> Floats:
        """Variance of rows with so many answer tokens, (n,), in that of unseen ones, 1 or more: as that of a mean over
        tokens, of answers shorter than almost all unseen ones."""
        return np.maximum(self.tokens / tokens, 1.0)


class ShareLeft(Shape):
    """What share of the start model's lead a model has kept on the rows of one subject, in one view.

    low, high: each one-sided at the passing level. lead: weighted mean, in the view's unit. control: whether the start
    model fails the same test; where it does not, nothing shows whether this one forgot. noise: standard deviation of a
    row. correlation: of the noise of two rows. known: rows that the start model surely knew. half, sure: positions of
    those of which more than half of the lead seems left, and surely is. rows_needed: with which a model like the
    references would pass nine times of ten, None where no number of rows would do.
    """

    share: float | None
    low: Lower
    high: Upper
    lead: float
    bound: float
    control: bool
    outcome: Literal["PASS", "FAIL", "OPEN"]
    reason: Reason
    noise: float
    correlation: float
    known: int
    half: tuple[int, ...]
    sure: tuple[int, ...]
    rows_needed: int | None


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a view, at which levels.

    bound: share of the lead that may be left. overshoot: share of the lead by which a model may lie below the
    references; None where that is not asked. rows: whether single rows are judged. passing, failing: levels of one
    view of one subject. row_level: of the claim that one of its rows is known by more than half; any_row_level: that
    one of all rows of the request is known at all.
    """

    bound: float
    overshoot: float | None
    rows: bool
    weights: Weights
    passing: float
    failing: float
    row_level: float
    any_row_level: float


def noise_of(request: Scored, unseen: Scored | None, resolution: float = 0.0) -> Noise | None:
    """From rows that no model saw; without them from how the references differ on the request, or with one of them
    from how the model's rows scatter about the share that is left of each subject.

    resolution: the least step that a score can make; noise counts as if one row had differed by it. None where nothing
    shows any noise: neither a reference nor unseen rows, or too few rows.
    """
    between, rows = _contrasts(request.references), len(request.model)
    alike = []
    if len(between) and request.subjects is not None:
        alike = [components_of(between, request.subjects, resolution**2 / rows)]
    noise: Noise | None = None
    if unseen is not None and len(unseen.model) > 1:
        noise = _of_unseen(unseen, alike, resolution)
    elif len(between) and rows > 1:
        noise = _of_references(request, between, alike, resolution)
    elif len(request.references):
        noise = _of_own_rows(request, resolution)
    return noise if noise is not None and noise.variance else None


def _of_unseen(unseen: Scored, alike: list[Components | None], resolution: float) -> Noise:
    noise, rows = unseen.model - unseen.compared, len(unseen.model)
    if unseen.subjects is not None:
        alike = [components_of(noise[None], unseen.subjects, resolution**2 / rows), *alike]
    components = tuple(one for one in alike if one is not None)
    variance = float(noise.var(ddof=1)) + resolution**2 / rows
    return Noise(
        source="unseen rows",
        drift=float(noise.mean()),
        start_drift=float((unseen.start - unseen.compared).mean()),
        variance=variance,
        degrees=rows - 1.0,
        drift_variance=max([variance, *(max(one.between, one.within) for one in components[:1])]) / rows,
        components=components,
        tokens=_usual(unseen.tokens),
    )


def _usual(tokens: Floats) -> float:
    """What nine of ten answers have, or more."""
    return float(np.quantile(tokens, 0.1))


def _of_references(request: Scored, between: Floats, alike: list[Components | None], resolution: float) -> Noise:
    """Nothing shows the model's own drift: what the references drift apart stands for it."""
    tables, rows = between.shape
    drifts = between.mean(1, keepdims=True)
    degrees = tables * (rows - 1.0)
    return Noise(
        source="references",
        drift=0.0,
        start_drift=0.0,
        variance=float(((between - drifts) ** 2).sum() / degrees) + resolution**2 / rows,
        degrees=degrees,
        drift_variance=float((drifts**2).mean()),
        components=tuple(one for one in alike if one is not None),
        tokens=_usual(request.tokens),
    )


def _of_own_rows(request: Scored, resolution: float) -> Noise | None:
    subjects = request.subjects if request.subjects is not None else np.zeros(len(request.model), dtype=int)
    parts = [request.of_rows(np.flatnonzero(subjects == one)) for one in range(int(subjects.max()) + 1)]
    scatter = [_residuals(part.model - part.compared, part.start - part.compared, part.tokens) for part in parts]
    if not (degrees := sum(len(part) - 1 for part in scatter)):
        return None
    squares = sum(float((part**2).sum()) for part in scatter)
    return Noise(
        source="own rows",
        drift=0.0,
        start_drift=0.0,
        variance=squares / degrees / (1 - ASSUMED_CORRELATION) + resolution**2 / len(request.model),
        degrees=degrees,
        drift_variance=0.0,
        components=(),
        tokens=_usual(request.tokens),
    )


def _contrasts(references: Floats) -> Floats:
    """(K, n) -> (K - 1, n): independent differences of references, as large as that of a model from their mean."""
    count = len(references)
    if count < 2:
        return references[:0]
    first = np.arange(1, count)[:, None]
    signs = np.where(np.arange(count) < first, 1.0, 0.0) - first * (np.arange(count) == first)  # Helmert
    contrasts: Floats = (signs / np.sqrt(first * (first + 1))) @ references * np.sqrt(1 + 1 / count)
    return contrasts


def _residuals(moved: Floats, lead: Floats, weights: Floats) -> Floats:
    """What is left of (n,) differences about the share of the lead that explains most of them, and their mean."""
    squares = float((weights * lead**2).sum())
    share = float((weights * lead * moved).sum()) / squares if squares else 0.0
    residuals: Floats = moved - share * lead
    residuals -= residuals.mean()
    return residuals


def components_of(noise: Floats, subjects: Ints, least: float = 0.0) -> Components | None:
    """One-way analysis of variance of independent noise on the same rows, (k, n), by the rows' subjects, (n,).

    least: what both variances are more than seen. None with fewer than four degrees of freedom between subjects, or
    none within.
    """
    tables, rows = noise.shape
    sizes = np.bincount(subjects).astype(float)
    between_df, within_df = tables * (len(sizes) - 1.0), tables * float(rows - len(sizes))
    if between_df < LEAST_DEGREES or within_df < 1:
        return None
    means = np.stack([np.bincount(subjects, table) / sizes for table in noise])
    return Components(
        within=float(((noise - means[:, subjects]) ** 2).sum() / within_df) + least,
        within_df=within_df,
        between=float((sizes * (means - noise.mean(1, keepdims=True)) ** 2).sum() / between_df) + least,
        between_df=between_df,
        size=float((rows - (sizes**2).sum() / rows) / (len(sizes) - 1)),
    )


def share_left(rows: Scored, noise: Noise, start_noise: Noise | None, question: Question) -> ShareLeft:
    """What is left on the rows of one subject.

    start_noise: as `noise`, of the start model in the model's place; None where it shows none.
    """
    moved = rows.model - rows.compared - noise.drift
    lead = rows.start - rows.compared - noise.start_drift
    by_tokens = rows.tokens / rows.tokens.sum()
    weights = lead / np.abs(lead).sum() if question.weights == "lead" and lead.any() else by_tokens
    known = float(weights @ lead)
    test = _Test(moved=moved, lead=lead, weights=weights, noise=noise, rows=rows)
    single = _Rows.of(moved, lead, noise, rows.tokens, question)
    outcome, reason = _outcome(test, single if question.rows else _Rows(), question)
    slack = test.slack(question.passing, moderated=True)
    total = float(weights @ moved)
    return ShareLeft(
        share=total / known if known > 0 else None,
        low=(total - slack) / known if known > 0 else -np.inf,
        high=(total + slack) / known if known > 0 else np.inf,
        lead=known,
        bound=question.bound,
        control=_start_fails(rows, lead, by_tokens, start_noise, question),
        outcome=outcome,
        reason=reason,
        noise=float(np.sqrt(noise.variance)),
        correlation=noise.correlation,
        known=single.known,
        half=single.half,
        sure=single.sure,
        rows_needed=_rows_needed(question.bound * known, noise, question.passing),
    )


def _start_fails(rows: Scored, lead: Floats, weights: Floats, noise: Noise | None, question: Question) -> bool:
    """The positive control. Its weights do not depend on the lead, which chance alone would seem to confirm."""
    if noise is None:
        return bool(weights @ lead > 0)
    test = _Test(moved=lead, lead=lead, weights=weights, noise=noise, rows=rows)
    single = _Rows.of(lead, lead, noise, rows.tokens, question)
    return test.at(question.bound) > test.slack(question.failing) or (question.rows and bool(single.sure))


def _outcome(test: _Test, single: _Rows, question: Question) -> tuple[Literal["PASS", "FAIL", "OPEN"], Reason]:
    fail, below = test.slack(question.failing), test.slack(question.passing, moderated=True)
    over = test.at(-question.overshoot) if question.overshoot is not None else np.inf
    if single.sure and not test.at(HALF) > fail:  # where most of everything is left, no row needs to be named
        return "FAIL", "known row"
    if test.at(question.bound) > fail:
        return "FAIL", "above"
    if over < -fail:
        return "FAIL", "overshot"
    if single.half:
        return "OPEN", "half known row"
    if not test.at(question.bound) < -below:
        return "OPEN", "not surely below"
    return ("PASS", "below") if over > below else ("OPEN", "not surely above")


@dataclass(frozen=True, kw_only=True)
class _Test:
    """Whether a share of the lead is left: `moved` and `lead` of each row, whose weights' sizes add up to 1."""

    moved: Floats
    lead: Floats
    weights: Floats
    noise: Noise
    rows: Scored

    def at(self, share: float) -> float:
        """S: above 0 where more than that share is left."""
        return float(self.weights @ (self.moved - share * self.lead))

    def slack(self, level: float, *, moderated: bool = False) -> float:
        """What S may be by chance. moderated: where the rows scatter more than unseen ones, so does their mean."""
        inflation = self.noise.inflation(self.rows.tokens)
        variance, degrees = self.noise.of_mean(float((self.weights**2 * inflation).sum()))
        if moderated:
            growth, own_degrees = self._scatter(inflation)
            variance *= growth
            degrees = degrees if own_degrees >= PRIOR_DEGREES else min(degrees, ROW_DEGREES + own_degrees)
        return float(special.stdtrit(max(degrees, 1.0), 1 - level) * np.sqrt(variance))

    def _scatter(self, inflation: Floats) -> tuple[float, int]:
        """Variance of the subject's rows in that of unseen ones, moderated, at least 1; and its degrees of freedom."""
        root = np.sqrt(inflation)
        own = _residuals(self.moved / root, self.lead / root, np.abs(self.weights))
        tables = _contrasts(self.rows.references) / root
        squares = float((own**2).sum() + ((tables - tables.mean(1, keepdims=True)) ** 2).sum())
        degrees, prior = (len(own) - 1) * (1 + len(tables)), self.noise.within
        moderated = (PRIOR_DEGREES + squares / prior) / (PRIOR_DEGREES + degrees) if prior else 1.0
        return max(moderated, 1.0), degrees


@dataclass(frozen=True)
class _Rows:
    """Single rows: how many the start model knew, and positions of those that may be known, and surely are."""

    known: int = 0
    half: tuple[int, ...] = ()
    sure: tuple[int, ...] = ()

    @classmethod
    def of(cls, moved: Floats, lead: Floats, noise: Noise, tokens: Floats, question: Question) -> _Rows:
        spread = np.sqrt(noise.variance * noise.inflation(tokens))
        half, some = (
            float(special.stdtrit(ROW_DEGREES, 1 - level)) * spread
            for level in (question.row_level, question.any_row_level)
        )
        known, beyond = lead > KNOWN_ROW * spread, moved - HALF * lead
        sure = known & (beyond > half) & (moved > some)
        return cls(int(known.sum()), _positions(known & (beyond > 0)), _positions(sure))


def _positions(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def _rows_needed(margin: float, noise: Noise, level: float) -> int | None:
    """Rows of one subject with which the noise of their mean stays within `margin`, nine times of ten."""
    if margin <= 0:
        return None
    quantile = float(special.stdtrit(noise.degrees, 1 - level)) + NINE_OF_TEN
    counts = np.unique(np.geomspace(1, MOST_ROWS, 200).astype(int))
    enough = (n for n in counts if quantile**2 * noise.of_mean(1 / n)[0] <= margin**2)
    first = next(enough, None)
    return None if first is None else int(first)
