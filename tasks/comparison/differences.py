"""What differs between recorded runs, and what it did to their metrics."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.comparison.likeness import warnings
from tasks.comparison.runs import RecordedRun

LOWER, HIGHER = {"rmse", "mse", "mae", "loss", "gap"}, {"r2"}
HEADLINES = ("test_rmse", "cv_rmse_mean", "train_rmse", "loss")  # the first that all have


@dataclass(frozen=True)
class Param:
    """A parameter that differs: its value in each run, None where it is not recorded."""

    name: str
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class Metric:
    """A metric that differs.

    Attributes:
        name: its key.
        values: one a run, None where it is not recorded.
        changes: value less the first run's, None where either is missing, and for the first run.
        best: places of the runs with the best value; empty where no direction is better.
    """

    name: str
    values: tuple[float | None, ...]
    changes: tuple[float | None, ...]
    best: tuple[int, ...]


@dataclass(frozen=True)
class Effect:
    """What one parameter goes with: the best of a metric that was reached with a value of it.

    The two values are those with which the best and the least good result was reached. Other
    parameters may differ as well, so this describes the runs and proves nothing.
    """

    param: str
    good_value: str
    good: float
    bad_value: str
    bad: float


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; every tuple of values is in their order.

    Attributes:
        runs: the runs; differences are from the first.
        params: those that differ.
        metrics: those that differ, the ones with a better direction first.
        same: metrics of one value in every finished run, and in at least two.
        headline: the metric that says which run is best; None where none can.
        effects: for the headline, the parameter that goes with the largest difference first.
        warnings: why the runs may not be alike enough to compare.
    """

    runs: tuple[RecordedRun, ...]
    params: tuple[Param, ...]
    metrics: tuple[Metric, ...]
    same: dict[str, float]
    headline: Metric | None
    effects: tuple[Effect, ...]
    warnings: tuple[str, ...]


def compare(runs: Sequence[RecordedRun]) -> Comparison:
    """Compare one run or more; with one, nothing differs."""
    rows = [_metric(name, runs) for name in sorted({n for run in runs for n in run.metrics})]
    differing = [row for row in rows if _differs(row, runs)]
    params = tuple(_params(runs))
    headline = _headline(differing, runs)
    return Comparison(
        tuple(runs),
        params,
        tuple(sorted(differing, key=_place)),
        {row.name: _known(row)[0] for row in rows if row not in differing},
        headline,
        _effects(params, headline),
        tuple(warnings(runs)),
    )


def better(name: str) -> Callable[[Sequence[float]], float] | None:
    """`min` or `max`, whichever is better for a metric; None where neither is.

    Counts, predictions, condition numbers, and how much a score varies have no better direction.
    """
    words = set(name.replace(".", "_").replace("/", "_").split("_"))
    if "std" in words:
        return None
    return min if words & LOWER else max if words & HIGHER else None


def _params(runs: Sequence[RecordedRun]) -> list[Param]:
    names = sorted({name for run in runs for name in run.params})
    rows = [Param(name, tuple(run.params.get(name) for run in runs)) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]


def _metric(name: str, runs: Sequence[RecordedRun]) -> Metric:
    values = tuple(run.metrics.get(name) for run in runs)
    first = values[0]
    changes = [None if None in (value, first) else value - first for value in values]
    return Metric(name, values, (None, *changes[1:]), _best(name, values, runs))


def _best(
    name: str, values: Sequence[float | None], runs: Sequence[RecordedRun]
) -> tuple[int, ...]:
    """The loss of huber and of mse are different things: no best of those."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    choose = better(name)
    if choose is None or len(set(known)) < 2:
        return ()
    if name == "loss" and len({run.params.get("training.loss") for run in runs}) > 1:
        return ()
    best = choose(known)
    return tuple(place for place, value in enumerate(values) if value == best)


def _differs(row: Metric, runs: Sequence[RecordedRun]) -> bool:
    """A run that did not finish may lack what others have in common; that is no difference."""
    lacking = any(
        value is None and run.status == "FINISHED"
        for value, run in zip(row.values, runs, strict=True)
    )
    known = _known(row)
    return lacking or len(known) < min(2, len(runs)) or len(set(known)) > 1


def _known(row: Metric) -> list[float]:
    return [value for value in row.values if value is not None]


def _place(row: Metric) -> tuple[bool, bool, str]:
    return better(row.name) is None, not row.name.startswith("test_"), row.name


def _headline(rows: Sequence[Metric], runs: Sequence[RecordedRun]) -> Metric | None:
    """The first that every finished run has; else the first that tells any two apart."""
    finished = [place for place, run in enumerate(runs) if run.status == "FINISHED"]
    known = {row.name: row for row in rows if row.best}
    candidates = [known[name] for name in HEADLINES if name in known]
    for row in candidates:
        if finished and all(row.values[place] is not None for place in finished):
            return row
    return candidates[0] if candidates else None


def _effects(params: Sequence[Param], headline: Metric | None) -> tuple[Effect, ...]:
    """One a parameter; none where there is only one to look at, or fewer than three runs."""
    if headline is None or sum(value is not None for value in headline.values) < 3:
        return ()
    found = [effect for param in params if (effect := _effect(param, headline))]
    found.sort(key=lambda effect: -abs(effect.bad - effect.good))
    return tuple(found) if len(found) > 1 else ()


def _effect(param: Param, headline: Metric) -> Effect | None:
    choose = better(headline.name)
    reached: dict[str, float] = {}
    for value, result in zip(param.values, headline.values, strict=True):
        if value is not None and result is not None:
            reached[value] = choose((reached.get(value, result), result))
    if len(reached) < 2:
        return None
    ordered = sorted(reached, key=reached.__getitem__, reverse=choose is max)
    good, bad = ordered[0], ordered[-1]
    return Effect(param.name, good, reached[good], bad, reached[bad])
