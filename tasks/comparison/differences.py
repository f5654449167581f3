"""What differs between recorded runs, and what it did to their metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.comparison.likeness import warnings
from tasks.comparison.metrics import Metric, better, headline_of, metrics_of
from tasks.comparison.runs import RecordedRun


@dataclass(frozen=True)
class Param:
    """A parameter that differs: its value in each run, None where it is not recorded."""

    name: str
    values: tuple[str | None, ...]


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
    params = tuple(_params(runs))
    metrics, same = metrics_of(runs)
    headline = headline_of(metrics, runs)
    effects = _effects(params, headline)
    return Comparison(tuple(runs), params, metrics, same, headline, effects, tuple(warnings(runs)))


def _params(runs: Sequence[RecordedRun]) -> list[Param]:
    names = sorted({name for run in runs for name in run.params})
    rows = [Param(name, tuple(run.params.get(name) for run in runs)) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]


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
