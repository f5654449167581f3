"""Measure how today's data differs from the champion's training data, from R factors alone.

R holds the mean and standard deviation of every column and all correlations: with
rows [1, X, y] = Q·R, column j has mean R[0, j] / R[0, 0] and standard deviation
‖R[1:, j]‖ / R[0, 0], and the correlation of two columns is the cosine of the angle between them in
R[1:].
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from plumbline.config.running import Drift
from plumbline.data.encoding import missing_indicator
from plumbline.linear.dataset import Dataset
from plumbline.linear.factor import Factor, merge, triangle
from plumbline.registry.stability import PredictionShares, stability_index

# A column is constant if its standard deviation is at most this share of the champion's.
CONSTANT = 1e-9
ROUNDING = 1e-9  # of shares


@dataclass(frozen=True)
class DataProfile:
    """The profile of a run's data, kept to compare later data with.

    Attributes:
        factor: of all rows, held-out ones included; features, then the target, with an indicator
            for every level of a categorical column (the reference level, too).
        indicators: the names of those indicators and of the ones for missing numbers.
        dropped: rows left out because a value was missing.
        predictions: of the model that was trained on the data; None if unknown.
        log_target: whether the target column holds the logarithm of the target.
    """

    factor: Factor
    indicators: tuple[str, ...]
    dropped: int
    predictions: PredictionShares | None = None
    log_target: bool = False

    @classmethod
    def of(cls, data: Dataset) -> "DataProfile":
        """The profile of a data set; the classes of a target count as levels."""
        factor = merge(list(data.profiled.factors.values()))
        names = [missing_indicator(name) for name in data.encoding.holes]
        classes = {data.target: data.encoding.classes} if data.encoding.classes else {}
        for column, levels in (data.encoding.levels | classes).items():
            indicators = [f"{column}={level}" for level in levels]
            factor = _with_rest(factor, indicators)
            names += indicators
        log_target = data.encoding.log_target
        return cls(factor, tuple(names), data.summary.dropped, log_target=log_target)

    @property
    def missing(self) -> float:
        """The share of rows that were dropped."""
        return self.dropped / max(1, self.factor.rows + self.dropped)

    @property
    def has_classes(self) -> bool:
        """Whether the target is one of classes."""
        return any(name.startswith(f"{self.factor.columns[-1]}=") for name in self.indicators)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        predictions = self.predictions and asdict(self.predictions)
        return {**vars(self), "factor": self.factor.to_dict(), "predictions": predictions}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DataProfile":
        """The inverse of to_dict."""
        factor, indicators = Factor.from_dict(values["factor"]), tuple(values["indicators"])
        known = values.get("predictions")  # older versions have none, and no log_target
        predictions = known and PredictionShares(**known)
        log_target = values.get("log_target", False)
        return cls(factor, indicators, values["dropped"], predictions, log_target)


@dataclass(frozen=True)
class ColumnDrift:
    """The drift of one column; "then" is the champion's data, "now" is today's.

    Attributes:
        name: the column.
        mean_then, mean_now: in units of the column; NaN if the column is absent.
        shift: (mean_now - mean_then) / standard deviation then; infinite if that was 0.
        spread_ratio: standard deviation now / then; infinite likewise. Both are NaN if a mean is.
        state: "new", "vanished", "constant" (and not constant then) or "".
    """

    name: str
    mean_then: float = math.nan
    mean_now: float = math.nan
    shift: float = math.nan
    spread_ratio: float = math.nan
    state: str = ""


@dataclass(frozen=True)
class DriftReport:
    """The comparison of today's data with the champion's.

    Attributes:
        columns: the columns of then in order, followed by the new ones.
        rows_then, rows_now: numbers of rows kept.
        missing_then, missing_now: shares of rows dropped.
        correlation_change: the largest |change| of a correlation of two columns, in [0, 2]; 0 if
            fewer than two columns vary both then and now.
        stability: the stability index of each categorical column that exists both then and now,
            and of the missing values of each numeric one.
        predictions_then: of the champion when it was trained; None if unknown.
    """

    columns: tuple[ColumnDrift, ...]
    rows_then: float
    rows_now: float
    missing_then: float
    missing_now: float
    correlation_change: float
    stability: dict[str, float]
    predictions_then: PredictionShares | None

    def in_state(self, state: str) -> list[str]:
        """The names of the columns in a state."""
        return [column.name for column in self.columns if column.state == state]

    @property
    def furthest(self) -> ColumnDrift:
        """The column whose mean moved furthest."""
        return max(self.columns, key=lambda c: -1.0 if math.isnan(c.shift) else abs(c.shift))

    def metrics(self) -> dict[str, float]:
        """All results as metrics whose names start with `drift_`; some may be infinite or NaN."""
        known = [c.spread_ratio for c in self.columns if not math.isnan(c.spread_ratio)]
        each = {f"drift_shift/{c.name}": c.shift for c in self.columns}
        each |= {f"drift_spread_ratio/{c.name}": c.spread_ratio for c in self.columns}
        each |= {f"drift_stability_index/{name}": found for name, found in self.stability.items()}
        return {
            "drift_rows_ratio": self.rows_now / self.rows_then,
            "drift_missing_share": self.missing_now,
            "drift_missing_change": self.missing_now - self.missing_then,
            "drift_max_shift": abs(self.furthest.shift),
            "drift_spread_ratio_min": min(known, default=math.nan),
            "drift_spread_ratio_max": max(known, default=math.nan),
            "drift_stability_index_max": max(self.stability.values(), default=math.nan),
            "drift_correlation_change": self.correlation_change,
            **{
                f"drift_columns_{state}": float(len(self.in_state(state)))
                for state in ("constant", "vanished", "new")
            },
            **each,
        }


def compare(then: DataProfile, now: DataProfile) -> DriftReport:
    """Compare two profiles of at least one row each.

    The indicator of a level that does not occur counts as a column of zeros, not as vanished. The
    target is left out if only one profile has its logarithm, or its classes.
    """
    old, new = then.factor, now.factor
    if (then.log_target, then.has_classes) != (now.log_target, now.has_classes):
        old, new = _without_target(old), _without_target(new)
    names = [*dict.fromkeys((*old.columns, *new.columns))]
    both = [factor.select(names) for factor in (old, new)]
    before, after = map(_moments, both)
    columns = tuple(_column_drifts(names, before, after, then, now))
    vary = ((before[1] > 0) & (after[1] > 0)).nonzero()[:, 0]
    correlations = [_correlations(factor, vary) for factor in both]
    change = float((correlations[0] - correlations[1]).abs().max()) if len(vary) > 1 else 0.0
    return DriftReport(
        *(columns, old.rows, new.rows, then.missing, now.missing, change),
        stability=_stability(columns, {*then.indicators, *now.indicators}, old.rows, new.rows),
        predictions_then=then.predictions,
    )


def exceeded_limits(report: DriftReport, limits: Drift) -> list[str]:
    """Describe each column that drifted beyond the limits: those that vanished, those whose mean
    moved (the most first), and those that became constant."""
    columns = sorted(report.columns, key=lambda c: -abs(c.shift) if c.shift == c.shift else 0.0)
    gone = [f"column '{name}' has vanished" for name in report.in_state("vanished")]
    flat = [f"column '{name}' has become constant" for name in report.in_state("constant")]
    moved = [
        f"the mean of column '{c.name}' moved from {c.mean_then:.6g} to {c.mean_now:.6g}, "
        f"{abs(c.shift):.3g} standard deviations (drift.max_shift: {limits.max_shift:g})"
        for c in columns
        if abs(c.shift) > limits.max_shift
    ]
    return [*gone, *moved, *flat]


def _stability(
    columns: Sequence[ColumnDrift], indicators: set[str], rows_then: int, rows_now: int
) -> dict[str, float]:
    """The stability index of each column that has indicators both then and now."""
    sides = []
    for side in ("mean_then", "mean_now"):
        means = {c.name: getattr(c, side) for c in columns if not math.isnan(getattr(c, side))}
        shares: dict[str, dict[str, float]] = {name.partition("=")[0]: {} for name in means}
        for name in (each for each in means if each in indicators):
            shares[name.partition("=")[0]][name] = means[name]
        for found in shares.values():
            if (rest := 1 - sum(found.values())) > ROUNDING:
                found[""] = rest  # the rows with a value
        sides.append(shares)
    then, now = sides
    names = dict.fromkeys(c.name.partition("=")[0] for c in columns if c.name in indicators)
    both = [name for name in names if name in then and name in now]
    return {n: stability_index(then[n], now[n], rows_then, rows_now) for n in both}


def _without_target(factor: Factor) -> Factor:
    """A factor without its target and the indicators of the target's classes."""
    target = factor.columns[-1]
    return factor.select([c for c in factor.columns[:-1] if not c.startswith(f"{target}=")])


def _with_rest(factor: Factor, indicators: list[str]) -> Factor:
    """Add the first of these indicators to a factor: it is 1 in rows where the others are all 0."""
    rest, others = indicators[0], indicators[1:]
    places = [factor.columns.index(name) for name in others]
    column = factor.r[:, 0] - factor.r[:, 1:][:, places].sum(dim=1)
    column -= factor.r[:, 0] * float(factor.shift[places].sum())
    column *= column.norm() > ROUNDING * factor.r[0, 0]  # no row has it: what is left is rounding
    r = torch.cat([factor.r[:, :-1], column[:, None], factor.r[:, -1:]], dim=1)
    zero = torch.zeros(1, dtype=torch.float64)
    shift = torch.cat([factor.shift[:-1], zero, factor.shift[-1:]])
    columns = (*factor.columns[:-1], rest, factor.columns[-1])
    return replace(factor, columns=columns, r=triangle(r), shift=shift)


def _moments(factor: Factor) -> tuple[Tensor, Tensor]:
    """(means, standard deviations with divisor n) of a factor's columns."""
    return factor.means, factor.r[1:, 1:].norm(dim=0) / factor.r[0, 0]


def _column_drifts(
    names: list[str],
    before: tuple[Tensor, Tensor],
    after: tuple[Tensor, Tensor],
    then: DataProfile,
    now: DataProfile,
) -> Iterator[ColumnDrift]:
    """Yield the drift of each column from its moments on both sides, 0 if the column is absent."""
    today = {*now.indicators, *now.factor.columns}
    columns_today = {name.partition("=")[0] for name in today}
    values = (each.tolist() for each in (*before, *after))
    for name, mean, spread, mean_now, spread_now in zip(names, *values, strict=True):
        level_today = name in then.indicators and name.partition("=")[0] in columns_today
        if name not in then.factor.columns:
            yield ColumnDrift(name, mean_now=mean_now, state="new")
        elif not (name in today or level_today):
            yield ColumnDrift(name, mean, state="vanished")
        else:
            flat = spread_now <= CONSTANT * spread and spread > 0 and name not in then.indicators
            shift, ratio = _ratio(mean_now - mean, spread), _ratio(spread_now, spread, same=1.0)
            yield ColumnDrift(name, mean, mean_now, shift, ratio, "constant" if flat else "")


def _ratio(change: float, unit: float, same: float = 0.0) -> float:
    """change / unit; `same` for 0 / 0, infinite for any other change over 0."""
    if unit == 0:
        return same if change == 0 else math.copysign(math.inf, change)
    return change / unit


def _correlations(factor: Factor, places: Tensor) -> Tensor:
    """The correlations of k of a factor's columns, (k, k); `places` are their positions."""
    columns = factor.r[1:, 1:][:, places]
    unit = columns / columns.norm(dim=0)
    return unit.mT @ unit
