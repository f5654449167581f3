"""Metrics of several runs side by side: differences, which value is best, which metric decides."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.comparison.runs import RecordedRun

LOWER, HIGHER = {"rmse", "mse", "mae", "loss", "gap"}, {"r2"}
HEADLINES = ("test_rmse", "train_rmse", "loss")  # the first that all have


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


def metrics_of(runs: Sequence[RecordedRun]) -> tuple[tuple[Metric, ...], dict[str, float]]:
    """Those that differ, scores first; and those of one value, by name.

    The latter have it in every finished run, and in at least two.
    """
    rows = [_metric(name, runs) for name in sorted({n for run in runs for n in run.metrics})]
    differing = tuple(sorted((row for row in rows if _differs(row, runs)), key=_place))
    return differing, {row.name: _known(row)[0] for row in rows if row not in differing}


def better(name: str) -> Callable[[Sequence[float]], float] | None:
    """`min` or `max`, whichever is better for a metric; None where neither is.

    Counts, predictions, condition numbers, and how much a score varies have no better direction.
    """
    words = set(name.replace(".", "_").replace("/", "_").split("_"))
    if "std" in words:
        return None
    return min if words & LOWER else max if words & HIGHER else None


def headline_of(rows: Sequence[Metric], runs: Sequence[RecordedRun]) -> Metric | None:
    """The metric that says which run is best; None where none can.

    The first of HEADLINES that every finished run has; else the first that tells any two apart.
    """
    finished = [place for place, run in enumerate(runs) if run.status == "FINISHED"]
    known = {row.name: row for row in rows if row.best}
    candidates = [known[name] for name in HEADLINES if name in known]
    for row in candidates:
        if finished and all(row.values[place] is not None for place in finished):
            return row
    return candidates[0] if candidates else None


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
