"""Compares recorded runs: which parameters differ, and how their metrics differ with them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd

from plumbline.config.metrics import HEADLINES, METRICS, RENAMED, better

DIGITS = 8  # shown of a digest or a commit
UNKNOWN = ("", "unknown")
ROUNDING = 1e-12  # relative difference of a computation between numbers of threads
SIGNS = {"lower": 1.0, "higher": -1.0}  # factors that make the best value the smallest


@dataclass(frozen=True)
class RecordedRun:
    """A run as it was recorded, in plain values.

    Attributes:
        id: 32 hexadecimal digits.
        name: its name in the UI; several runs may share it.
        experiment: the name of its experiment.
        status: FINISHED, FAILED, KILLED, RUNNING or, for a trial of a sweep, PRUNED.
        reason: why it did not finish; empty if it did.
        started: local time.
        params: the configuration's values by dotted key, as text.
        metrics: the last value of each.
        tags: data_digest, git_commit, git_dirty and others; any may be missing.
    """

    id: str
    name: str
    experiment: str
    status: str
    reason: str
    started: datetime
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. The columns of the frames are the runs' numbers, from 1.

    Attributes:
        runs: the runs; differences are taken from the first.
        params: a row for each parameter that differs; NaN if a run does not have it.
        metrics: a row for each metric that differs, those with a better direction first.
        best: which values of `metrics` are the best of their row; none if runs are not comparable.
        same: the metrics with one value in all finished runs, and in at least two.
        headline: the metric that says which run is best; None if there is no such metric.
        effects: a row for each parameter, the largest difference first: the value with the best
            headline and that headline (`good_value`, `good`), and the value with the worst one
            (`bad_value`, `bad`). Other parameters may differ as well, so this is a description of
            the runs, not evidence of an effect.
        warnings: why the runs may not be comparable.
    """

    runs: tuple[RecordedRun, ...]
    params: pd.DataFrame
    metrics: pd.DataFrame
    best: pd.DataFrame
    same: pd.Series
    headline: str | None
    effects: pd.DataFrame
    warnings: tuple[str, ...]


def compare(runs: Sequence[RecordedRun]) -> Comparison:
    """Compare one or more runs; a single run has no differences.

    Metrics with a slash in their names are left out: those of columns, such as `drift_shift/x`,
    since a wide table has hundreds and other metrics give their extremes; and `system/...`, which
    are about the machine and not the model.
    """
    params = _frame([run.params for run in runs], object)
    params = params[params.nunique(axis=1, dropna=False) > 1]
    metrics = _frame([run.metrics for run in runs], float)
    metrics = metrics.loc[["/" not in name for name in metrics.index]]
    finished = [number for number, run in enumerate(runs, 1) if run.status == "FINISHED"]
    differs = _differs(metrics, finished)
    same = metrics[~differs].max(axis=1)
    metrics = metrics[differs].sort_index(key=lambda names: names.map(_place))
    best, warnings = _best(metrics), []
    for trait in TRAITS:
        if warning := trait.warning(runs):
            warnings.append(warning)
            best[best.index.isin(trait.spoils)] = False
    headline = _headline(metrics, best, finished)
    effects = _effects(params, metrics, headline)
    return Comparison(tuple(runs), params, metrics, best, same, headline, effects, tuple(warnings))


def _frame(values: Sequence[Mapping], kind: type) -> pd.DataFrame:
    """A frame with a row for each name that any run has and a column for each run."""
    numbered = {number: pd.Series(dict(each), dtype=kind) for number, each in enumerate(values, 1)}
    return pd.DataFrame(numbered, dtype=kind).sort_index()


def _differs(metrics: pd.DataFrame, finished: Sequence[int]) -> pd.Series:
    """Whether each metric differs between runs; it may be missing in runs that did not finish."""
    lacking = metrics[finished].isna().any(axis=1)
    alone = metrics.count(axis=1) < min(2, metrics.shape[1])
    least, largest = metrics.min(axis=1), metrics.max(axis=1)
    # these are 0 but for the rounding of 1
    near_0 = [name.startswith(("drift_", "gain_over_linear")) for name in metrics.index]
    off = ROUNDING * np.array(near_0, dtype=float)
    return lacking | alone | ~np.isclose(least, largest, rtol=ROUNDING, atol=off, equal_nan=True)


def _place(name: str) -> tuple[bool, bool, str]:
    return better(name) is None, not name.startswith("test_"), name


def _best(metrics: pd.DataFrame) -> pd.DataFrame:
    """Which values are the best of their row; none if the metric has no better direction or its
    finite values are equal."""
    signs = pd.Series({name: SIGNS.get(better(name)) for name in metrics.index}, dtype=float)
    costs = metrics.where(np.isfinite(metrics)).mul(signs, axis=0)
    return costs.eq(costs.min(axis=1).where(costs.nunique(axis=1) > 1), axis=0)


def _headline(metrics: pd.DataFrame, best: pd.DataFrame, finished: Sequence[int]) -> str | None:
    """The first of HEADLINES with a best run that every finished run has, or else that any has."""
    candidates = [name for name in HEADLINES if name in best.index and best.loc[name].any()]
    whole = [n for n in candidates if finished and metrics.loc[n, finished].notna().all()]
    return next(iter([*whole, *candidates]), None)


def _effects(params: pd.DataFrame, metrics: pd.DataFrame, headline: str | None) -> pd.DataFrame:
    """A row for each parameter; none for a single parameter or fewer than three runs."""
    effects = pd.DataFrame(columns=["good_value", "good", "bad_value", "bad"])
    if headline is None or metrics.loc[headline].count() < 3:
        return effects
    sign = SIGNS[better(headline)]
    for name, values in params.iterrows():
        costs = (sign * metrics.loc[headline]).groupby(values, sort=False).min().dropna()
        if len(costs) > 1:
            good, bad = costs.idxmin(), costs.idxmax()
            effects.loc[name] = good, sign * costs[good], bad, sign * costs[bad]
    order = (effects["good"] - effects["bad"]).abs().sort_values(ascending=False, kind="stable")
    return effects.loc[order.index if len(order) > 1 else []]


def numbers(found: Iterable[int]) -> str:
    """List runs by number: `run 2` or `runs 1, 3`."""
    shown = [str(number) for number in found]
    return f"run{'s' if len(shown) > 1 else ''} {', '.join(shown)}"


@dataclass(frozen=True)
class Trait:
    """Something that runs should have in common to be comparable.

    Attributes:
        unlike: the warning if they do not.
        read: returns the value for a run; "" if unknown, for example because the run ended before
            its data was read.
        spoils: the metrics that are then not comparable, so that no value of them is the best.
    """

    unlike: str
    read: Callable[[RecordedRun], str]
    spoils: Sequence[str] = ()

    def warning(self, runs: Sequence[RecordedRun]) -> str:
        """The warning with the values and the runs that have them; "" if known values are equal."""
        values = pd.Series({number: self.read(run) for number, run in enumerate(runs, 1)})
        found = values[values != ""].groupby(values, sort=False).groups
        listed = "; ".join(f"{value} in {numbers(of)}" for value, of in found.items())
        return f"{self.unlike}: {listed}." if len(found) > 1 else ""


def _split(run: RecordedRun) -> str:
    share, folds = run.params.get("data.test_fraction", ""), run.params.get("data.folds")
    if share in ("0", "0.0") and folds in (None, "0"):
        return "none"  # the seed has no effect then
    if share == "cut":
        share = run.params.get("data.split.cut", "")
    by = run.params.get("data.split.by", "rows")
    column = "" if by == "rows" else f", by {by} ({run.params['data.split.column']})"
    seed = run.params.get("data.seed")
    return share and f"test_fraction {share}, folds {folds}, seed {seed}{column}"


def _code(run: RecordedRun) -> str:
    commit = run.tags.get("git_commit", "")
    changed = " with uncommitted changes" if run.tags.get("git_dirty") == "true" else ""
    return "" if commit in UNKNOWN else commit[:DIGITS] + changed


EVERY_METRIC = (*METRICS, *RENAMED)
TRAITS = (
    Trait(
        "The targets differ, so no run is called the best",
        lambda run: run.params.get("data.target", ""),
        EVERY_METRIC,
    ),
    Trait(
        "The data differ, so the metrics are of different rows and no run is called the best",
        lambda run: run.tags.get("data_digest", "")[:DIGITS],
        EVERY_METRIC,
    ),
    Trait("The rows held out differ, so no run is called the best", _split, EVERY_METRIC),
    Trait(
        "`loss` is not the same thing in all runs",
        lambda run: run.params.get("training.loss", ""),
        ("loss", "validation_loss"),
    ),
    Trait("The code differs", _code),
)
